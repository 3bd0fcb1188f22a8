"""Defines a threat: space, goal, access, budget and channel of the adversary, frozen in one value."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from sparring.core.errors import PlanError
from sparring.core.goal import Goal
from sparring.core.registry import find
from sparring.core.space import Space

ACCESS = ("labels", "scores", "gradients")
"""What a victim can be asked for, weakest first; each level includes the ones before it."""


@dataclass(frozen=True)
class Budget:
    """Hold limits per sample and attack; None is no limit.

    queries: answers of the victim, of any kind. steps: iterations of an attack. seconds: wall clock.
    """

    queries: int | None = None
    steps: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if value is not None and not value >= 0:
                raise PlanError(f"budget {name}={value}: must be at least 0")

    def describe(self) -> dict[str, Any]:
        """Return the limits as plain JSON, without those that are None."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}


@dataclass(frozen=True, repr=False)
class Threat:
    """Describe what the adversary may do and what it wants.

    Args:
        space: What may change.
        goal: What counts as success.
        access: "gradients", "scores" or "labels".
        budget: Limits per sample.
        channel: What the world does to a point before the victim sees it; None: nothing (the place is kept for print, camera and room).
        minimal: Whether the smallest change within the radius is wanted, so that a search goes on after its first success;
            else any change will do.

    Raises:
        PlanError: Where goal, space or access is not one of ours.
    """

    space: Space
    goal: Goal
    access: str = "gradients"
    budget: Budget = field(default_factory=Budget)
    channel: None = None
    minimal: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.goal, Goal):
            raise PlanError(f"the goal is {self.goal!r}: give a Goal, such as sp.Targeted(3), or write sp.linf(0.1).targeted(3)")
        if not isinstance(self.space, Space):
            raise PlanError(f"the space is {self.space!r}: give a Space, as sp.linf(0.1).space is one")
        if self.access not in ACCESS:
            raise PlanError(f"access {self.access!r}: choose one of {', '.join(ACCESS)}")

    @property
    def grants(self) -> frozenset[str]:
        """Return what the adversary may ask for: its access and everything weaker."""
        return frozenset(ACCESS[: ACCESS.index(self.access) + 1])

    def toward(self, goal: Goal) -> "Threat":
        """Return the same threat with another goal."""
        return dataclasses.replace(self, goal=goal)

    def targeted(self, target: "int | str | Tensor" = "next") -> "Threat":
        """Return the same threat with the goal that samples reach a class.

        target: one number, one per sample, "next" or "random".
        """
        return self.toward(find("goal", "targeted")(target))

    def untargeted(self) -> "Threat":
        """Return the same threat with the goal that answers are wrong."""
        return self.toward(find("goal", "untargeted")())

    def seeing(self, access: str) -> "Threat":
        """Return the same threat with less (or more) access."""
        return dataclasses.replace(self, access=access)

    def within(self, *, queries: int | None = None, steps: int | None = None, seconds: float | None = None) -> "Threat":
        """Return the same threat with a budget."""
        return dataclasses.replace(self, budget=Budget(queries, steps, seconds))

    def at(self, radius: float | Tensor) -> "Threat":
        """Return the same threat at another radius."""
        return dataclasses.replace(self, space=self.space.with_radius(radius))

    def smallest(self) -> "Threat":
        """Return the same threat, looking for the smallest change that meets the goal."""
        return dataclasses.replace(self, minimal=True)

    def take(self, rows: Tensor) -> "Threat":
        """Return the threat for some of the samples, with their radii and targets."""
        return dataclasses.replace(self, space=self.space.take(rows), goal=self.goal.take(rows))

    def __repr__(self) -> str:
        budget = "".join(f", {name} {value:g}" for name, value in self.budget.describe().items())
        return f"<threat {self.space.label}, {self.goal.said[:80]}, {self.access}{budget}{', smallest change' if self.minimal else ''}>"

    def describe(self) -> dict[str, Any]:
        """Return the threat as plain JSON; equal descriptions are equal threats."""
        return {
            "space": self.space.describe(),
            "goal": self.goal.describe(),
            "access": self.access,
            "budget": self.budget.describe(),
            "channel": self.channel,
            **({"minimal": True} if self.minimal else {}),
        }
