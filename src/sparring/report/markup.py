"""HTML that is escaped by construction: every value that is not markup is treated as foreign text."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from sparring.core.rate import Rate
from sparring.report.wording import interval, percent

__all__ = ["Column", "Markup", "bar", "by_case", "details", "join", "listing", "markup", "rate_cells", "table", "terms"]

Cell = str | int | float | Markup


@dataclass(frozen=True)
class Column:
    """Describe the head of a column. numeric: right-aligned with figures of equal width."""

    title: str
    numeric: bool = False
    hidden: bool = False  # the title is for screen readers only


def markup(template: str, **values: object) -> Markup:
    """Return the template (trusted, ours) with the values escaped, unless they are markup."""
    return Markup(template).format(**values)


def join(parts: Iterable[object], between: str = "") -> Markup:
    """Return the parts one after the other."""
    return Markup(between).join(parts)  # type: ignore[arg-type]


def table(caption: str, columns: Sequence[Column], rows: Iterable[Sequence[Cell]], *, strong: Sequence[int] = (), quiet: bool = False) -> Markup:
    """Return a table whose first column names the row.

    strong: rows to set in bold. quiet: the caption is for screen readers only.
    """
    heads = join(
        markup(
            '<th scope="col"{kind}>{title}</th>',
            kind=_numeric(column),
            title=markup('<span class="unseen">{title}</span>', title=column.title) if column.hidden else column.title,
        )
        for column in columns
    )
    body = join(_row(columns, cells, place in strong) for place, cells in enumerate(rows))
    return markup(
        '<div class="scroll" tabindex="0" role="region" aria-label="{caption}"><table><caption{unseen}>{caption}</caption>'
        "<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>",
        caption=caption, heads=heads, body=body, unseen=Markup(' class="unseen"') if quiet else "",
    )  # fmt: skip


def _row(columns: Sequence[Column], cells: Sequence[Cell], strong: bool) -> Markup:
    first, *others = cells
    rest = join(markup("<td{kind}>{cell}</td>", kind=_numeric(column), cell=cell) for column, cell in zip(columns[1:], others, strict=True))
    weight = Markup(' class="strong"') if strong else ""
    return markup('<tr{weight}><th scope="row"{kind}>{first}</th>{rest}</tr>', weight=weight, kind=_numeric(columns[0]), first=first, rest=rest)


def _numeric(column: Column) -> Markup:
    return Markup(' class="number"') if column.numeric else Markup("")


def bar(rate: Rate) -> Markup:
    """Return a small bar with the interval as a whisker.

    The numbers stand beside it, so it is hidden from screen readers.
    """
    if rate.n == 0:
        return Markup("")
    value, low, high = (round(100 * share, 2) for share in (rate.value, rate.low, rate.high))
    return markup(
        '<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="track" width="100" height="10"></rect><rect class="fill" width="{value}" height="10"></rect>'
        '<line class="halo" x1="{low}" x2="{high}" y1="5" y2="5"></line><line class="whisker" x1="{low}" x2="{high}" y1="5" y2="5"></line></svg>',
        value=value, low=low, high=high,
    )  # fmt: skip


RATE_COLUMNS = (Column("share right", True), Column("95 % interval", True), Column("bar", hidden=True))


def rate_cells(rate: Rate) -> tuple[Cell, Cell, Cell]:
    """Return a rate as the three cells under `RATE_COLUMNS`."""
    return percent(rate.value), interval(rate), bar(rate)


def terms(pairs: Iterable[tuple[object, object]]) -> Markup:
    """Return a list of words and what they are."""
    return markup("<dl>{body}</dl>", body=join(markup("<div><dt>{name}</dt><dd>{value}</dd></div>", name=name, value=value) for name, value in pairs))


def listing(items: Iterable[object], kind: str = "") -> Markup:
    """Return an unordered list."""
    return markup('<ul class="{kind}">{body}</ul>', kind=kind, body=join(markup("<li>{item}</li>", item=item) for item in items))


def details(summary: object, body: object, *, opened: bool = False, kind: str = "") -> Markup:
    """Return a body folded away behind a line. kind "fold": unfolded in print."""
    state = Markup(" open") if opened else ""
    return markup('<details class="{kind}"{state}><summary>{summary}</summary>{body}</details>', kind=kind, state=state, summary=summary, body=body)


OPEN = 2
"""Number of cases shown in full; the others are collapsed."""


def by_case(parts: Sequence[tuple[object, Markup]]) -> Markup:
    """Return the body alone for one case, else a collapsible block per (heading, body)."""
    if len(parts) == 1:
        return parts[0][1]
    return join(details(markup("<h3>{name}</h3>", name=name), body, opened=turn < OPEN, kind="fold case") for turn, (name, body) in enumerate(parts))
