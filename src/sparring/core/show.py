"""Small HTML tables for notebooks; everything is escaped."""

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

LONGEST = 300
"""Characters of one value that are shown."""


def facts_table(facts: Mapping[str, Any]) -> str:
    """Return a table of two columns, name and value.

    >>> facts_table({"model": "a < b"})
    '<table><tbody><tr><th>model</th><td>a &lt; b</td></tr></tbody></table>'
    """
    rows = "".join(f"<tr><th>{_shown(name)}</th><td>{_shown(value)}</td></tr>" for name, value in facts.items())
    return f"<table><tbody>{rows}</tbody></table>"


def rows_table(titles: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table with a line of titles."""
    head = "".join(f"<th>{_shown(title)}</th>" for title in titles)
    body = "".join("<tr>" + "".join(f"<td>{_shown(value)}</td>" for value in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _shown(value: Any) -> str:
    text = str(value)
    return html.escape(text if len(text) <= LONGEST else text[: LONGEST - 1] + "…")
