"""Makes text from outside harmless to show: what controls a terminal becomes a visible escape."""

import re

OBEYED = (
    r"\x00-\x09\x0b-\x1f\x7f-\x9f"  # controls
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks of direction
    r"\xad\u180e\u200b-\u200d\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f"  # of no width
    r"\u2028\u2029\ud800-\udfff"  # breaks, and halves of characters
)
"""Characters that a terminal obeys or does not show, without the line break."""

IN_LINES = re.compile(f"[{OBEYED}]")
IN_ONE_LINE = re.compile(rf"[{OBEYED}\n]")


def visible(text: object, *, lines: bool = False) -> str:
    r"""Return a text with an escape in place of each character that a terminal obeys or hides.

    Args:
        text: Any object; its `str` is taken.
        lines: Keep line breaks, for text that has several lines of its own.

    >>> visible("cat\x1b[2J\ndog\u202e")
    'cat\\x1b[2J\\ndog\\u202e'
    """
    return (IN_LINES if lines else IN_ONE_LINE).sub(_escaped, str(text))


def in_utf_8(text: str) -> str:
    """Return a text with escapes for bytes of paths that are no UTF-8.

    Records and hashes cannot hold them.
    """
    return text.encode("utf-8", "backslashreplace").decode()


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
