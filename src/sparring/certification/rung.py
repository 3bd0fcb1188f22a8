"""`@rung`: one file adds a method to the ladder on which questions about networks are decided."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from sparring.certification.docket import Docket
from sparring.core.registry import register

Climb = Callable[..., None]
"""(docket, **settings): improves bounds, proves or refutes; leaves what it cannot decide open, with a note why."""


class Outlook(NamedTuple):
    """chance: the share of the open questions that a rung is expected to settle, in [0, 1]. seconds: what that is expected to take."""

    chance: float
    seconds: float


@dataclass(frozen=True)
class Rung:
    """climb: the method. order: of the ladder, cheap first. misfit: why it cannot serve these questions, or an empty string. by_default: is it
    climbed where nobody names rungs? outlook: what it promises, asked where time is limited; None: see `outlook.outlook`."""

    name: str
    climb: Climb
    order: int
    misfit: Callable[[Docket], str]
    cites: str
    by_default: bool = True
    outlook: Callable[[Docket], Outlook] | None = None

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """Its settings and their defaults."""
        return {one.name: one.default for one in list(inspect.signature(self.climb).parameters.values())[1:]}


def rung(
    name: str, *, order: int, cites: str, misfit: Callable[[Docket], str] = lambda docket: "", by_default: bool = True,
    outlook: Callable[[Docket], Outlook] | None = None,
) -> Callable[[Climb], Rung]:  # fmt: skip
    """Register a method of the ladder."""

    def enter(climb: Climb) -> Rung:
        made = Rung(name, climb, order, misfit, cites, by_default, outlook)
        register("rung", name)(made)
        return made

    return enter
