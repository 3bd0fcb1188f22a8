"""`@recipe`: one file adds a loss that `harden` and the command line know by name."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from sparring.core.registry import register
from sparring.core.signature import check_fields
from sparring.defences.training.loop import Initialisation
from sparring.defences.training.step import Loss

LossClass = TypeVar("LossClass", bound=Callable[..., Loss])


TAKEN = frozenset(
    {"module", "model", "weights", "data", "split", "take", "threat", "recipe", "fresh", "epochs", "batch", "rate", "optimiser", "schedule"}
    | {"radius_schedule", "clip", "seed", "folder", "listen", "out"}
)
"""What `harden` and `spar harden` take beside the settings of a recipe, which therefore cannot be called so."""


@dataclass(frozen=True)
class Recipe:
    """Represent a registered recipe.

    loss: makes the loss from its settings; a frozen dataclass. initialisation: how the weights are drawn where training begins afresh, None to
    leave them as they are. cites: paper.
    """

    name: str
    loss: Callable[..., Loss]
    initialisation: Initialisation | None
    cites: str

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """Return the settings of the loss with their defaults."""
        made: Any = self.loss()
        return {one.name: getattr(made, one.name) for one in dataclasses.fields(made)}


def recipe(name: str, *, cites: str, initialisation: Initialisation | None = None) -> Callable[[LossClass], LossClass]:
    """Register the dataclass of a loss as a recipe of `harden`; see `Recipe`."""

    def enter(loss: LossClass) -> LossClass:
        check_fields("recipe", loss, TAKEN)  # type: ignore[arg-type]
        made = Recipe(name, loss, initialisation, cites)
        object.__setattr__(made, "__doc__", loss.__doc__)
        object.__setattr__(made, "__module__", loss.__module__)
        register("recipe", name)(made)
        return loss

    return enter
