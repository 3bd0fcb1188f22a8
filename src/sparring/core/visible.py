"""Makes text from outside harmless to show: what controls a terminal becomes a visible escape."""

import unicodedata

OBEYED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Categories of Unicode that a terminal obeys or does not show: controls, marks of direction and of no width, lone surrogates, breaks."""


def visible(text: object, *, lines: bool = False) -> str:
    r"""Return a text with an escape in place of each character that a terminal obeys or hides.

    Args:
        text: Any object; its `str` is taken.
        lines: Keep line breaks, for text that has several lines of its own.

    >>> visible("cat\x1b[2J\ndog\u202e")
    'cat\\x1b[2J\\ndog\\u202e'
    """
    said = str(text)
    if said.isprintable():
        return said
    return "".join(one if (lines and one == "\n") or unicodedata.category(one) not in OBEYED else _escaped(one) for one in said)


def _escaped(one: str) -> str:
    return one.encode("unicode_escape").decode("ascii")
