"""Where the command line prints: no text is taken for markup, and what controls a terminal is shown as a visible escape."""

import logging
from collections.abc import Iterable
from typing import Any

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from sparring.core.visible import visible


def echo(text: object = "", *, lines: bool = False, err: bool = False) -> None:
    """Print a text on one line.

    Args:
        text: What to print; names in it may come from anywhere.
        lines: The text has several lines of its own.
        err: Print on standard error.
    """
    typer.echo(visible(text, lines=lines), err=err)


class Terminal(Console):
    """Print lines and tables, on standard output unless `stderr` is true.

    A `str`, on its own or in a table, is one line. A `Text` may have several.
    """

    def __init__(self, *, stderr: bool = False):
        super().__init__(stderr=stderr, highlight=False, markup=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:  # type: ignore[override]
        """Return a text for the terminal, on one line."""
        return super().render_str(visible(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Return the pieces of what is printed; also what came in as `Text` controls nothing."""
        for one in super().render(renderable, options):
            yield one if one.control else Segment(visible(one.text, lines=True), one.style)


class Visibly(logging.Formatter):
    """Write warnings of the log like everything else on the terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the message on one line."""
        return visible(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:
        """Return the traceback."""
        return visible(super().formatException(ei), lines=True)
