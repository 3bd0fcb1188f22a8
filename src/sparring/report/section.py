"""`@section`: one file adds a section to the report."""

from collections.abc import Callable
from dataclasses import dataclass

from sparring.core.registry import everything, register
from sparring.core.signature import check_signature
from sparring.report.view import View

Draw = Callable[[View], str | None]
"""Draws a section as HTML with everything foreign escaped (see `markup`); None where it does not apply."""


@dataclass(frozen=True)
class Section:
    """Represent a registered section.

    order: where it stands; title: its heading; aim: of the cases that it is shown, None for all. shows: the key of the header, of the run or of
    one of its cases, that it is about; a run without it has no such section.
    """

    name: str
    order: float
    title: str
    draw: Draw
    aim: str | None = "evasion"
    shows: str = ""


def section(*, order: float, title: str, aim: str | None = "evasion", shows: str = "") -> Callable[[Draw], Section]:
    """Register a function `(view) -> HTML or None` as a section; see `Section`."""

    def enter(draw: Draw) -> Section:
        check_signature("section", draw, ("view",), settings=False)
        made = Section(draw.__name__, order, title, draw, aim, shows)
        object.__setattr__(made, "__doc__", draw.__doc__)
        object.__setattr__(made, "__module__", draw.__module__)
        return register("section", made.name)(made)

    return enter


def in_order() -> list[Section]:
    """Return all sections in the order of the page."""
    return sorted(everything("section").values(), key=lambda one: (one.order, one.name))
