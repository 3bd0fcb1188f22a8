"""Defines a threat: space, goal, access, budget and channel of the adversary, frozen in one value."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from sparring.core.arguments import shown
from sparring.core.errors import PlanError
from sparring.core.goal import Goal
from sparring.core.registry import find
from sparring.core.space import Space

ACCESS = ("labels", "scores", "gradients")
"""Access levels, weakest first; each level includes the ones before it."""


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
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if value is not None and not (number and value >= 0 and (name == "seconds" or value == int(value))):
                what = "number" if name == "seconds" else "whole number"
                raise PlanError(f"budget {name}={shown(value)}: give a {what} of at least 0, or None for no limit")

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
        PlanError: Where goal, space, access or budget is not one of ours.

    Example:
        >>> from sparring.threats.threats import linf
        >>> linf(0.1)
        <threat linf 0.1, untargeted, gradients>
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
            raise PlanError(f"the space is {self.space!r}: give a Space, such as sp.linf(0.1).space")
        if self.access not in ACCESS:
            raise PlanError(f"access {self.access!r}: choose one of {', '.join(ACCESS)}")
        if not isinstance(self.budget, Budget):
            raise PlanError(f"the budget is {shown(self.budget)}: give a Budget, or write threat.within(queries=1000)")
        if self.channel is not None or not isinstance(self.minimal, bool):
            raise PlanError(f"channel={shown(self.channel)}, minimal={shown(self.minimal)}: the first is None, the second True or False")

    @property
    def grants(self) -> frozenset[str]:
        """Return the access levels of the adversary: its own and all weaker ones.

        Example:
            >>> from sparring.threats.threats import linf
            >>> sorted(linf(0.1).seeing("scores").grants)
            ['labels', 'scores']
        """
        return frozenset(ACCESS[: ACCESS.index(self.access) + 1])

    def toward(self, goal: Goal) -> "Threat":
        """Return the same threat with another goal.

        Args:
            goal: The goal, such as `sp.Targeted(3)`.

        Returns:
            The new `Threat`.

        Raises:
            PlanError: For what is no goal.

        Example:
            >>> from sparring.threats.threats import linf
            >>> from sparring.threats.goals import Targeted
            >>> linf(0.1).toward(Targeted(3))
            <threat linf 0.1, targeted 3, gradients>
        """
        return dataclasses.replace(self, goal=goal)

    def targeted(self, target: "int | str | Tensor" = "next") -> "Threat":
        """Return the same threat with the goal that samples reach a class.

        Args:
            target: One class for all samples, an int64 tensor [n] with one per sample, "next" or "random".

        Returns:
            The new `Threat`.

        Raises:
            PlanError: For another target.

        Example:
            >>> from sparring.threats.threats import linf
            >>> linf(0.1).targeted("next")
            <threat linf 0.1, targeted next, gradients>
        """
        return self.toward(find("goal", "targeted")(target))

    def untargeted(self) -> "Threat":
        """Return the same threat with the goal that answers are wrong.

        Returns:
            The new `Threat`.

        Example:
            >>> from sparring.threats.threats import linf
            >>> linf(0.1).targeted(3).untargeted()
            <threat linf 0.1, untargeted, gradients>
        """
        return self.toward(find("goal", "untargeted")())

    def seeing(self, access: str) -> "Threat":
        """Return the same threat with less (or more) access.

        Args:
            access: "gradients", "scores" or "labels".

        Returns:
            The new `Threat`.

        Raises:
            PlanError: For another word.

        Example:
            >>> from sparring.threats.threats import linf
            >>> linf(0.1).seeing("labels")
            <threat linf 0.1, untargeted, labels>
        """
        return dataclasses.replace(self, access=access)

    def within(self, *, queries: int | None = None, steps: int | None = None, seconds: float | None = None) -> "Threat":
        """Return the same threat with a budget per sample and attack.

        Args:
            queries: The most answers of the victim, of any kind; None for no limit.
            steps: The most iterations; None for no limit.
            seconds: The most seconds; None for no limit.

        Returns:
            The new `Threat`.

        Raises:
            PlanError: For a limit that is no number of at least 0.

        Example:
            >>> from sparring.threats.threats import linf
            >>> linf(0.1).within(queries=1000)
            <threat linf 0.1, untargeted, gradients, queries 1000>
        """
        return dataclasses.replace(self, budget=Budget(queries, steps, seconds))

    def at(self, radius: float | Tensor) -> "Threat":
        """Return the same threat at another radius.

        Args:
            radius: A number, or a float64 tensor [n] with one per sample.

        Returns:
            The new `Threat`.

        Raises:
            InputError: For what is no finite number of at least 0.

        Example:
            >>> from sparring.threats.threats import linf
            >>> linf(0.1).at(0.2)
            <threat linf 0.2, untargeted, gradients>
        """
        return dataclasses.replace(self, space=self.space.with_radius(radius))

    def smallest(self) -> "Threat":
        """Return the same threat, looking for the smallest change that meets the goal.

        Returns:
            The new `Threat`.

        Example:
            >>> from sparring.threats.threats import linf
            >>> linf(0.1).smallest()
            <threat linf 0.1, untargeted, gradients, smallest change>
        """
        return dataclasses.replace(self, minimal=True)

    def take(self, rows: Tensor) -> "Threat":
        """Return the threat for some of the samples, with their radii and targets.

        Args:
            rows: Positions of the samples, int64 or bool.

        Returns:
            The new `Threat`.

        Example:
            >>> import torch
            >>> from sparring.threats.threats import linf
            >>> linf(torch.tensor([0.1, 0.2])).take(torch.tensor([1])).space.radius
            tensor([0.2000])
        """
        return dataclasses.replace(self, space=self.space.take(rows), goal=self.goal.take(rows))

    def __repr__(self) -> str:
        budget = "".join(f", {name} {value:g}" for name, value in self.budget.describe().items())
        return f"<threat {self.space.label}, {self.goal.said[:80]}, {self.access}{budget}{', smallest change' if self.minimal else ''}>"

    def describe(self) -> dict[str, Any]:
        """Return the threat as plain JSON; equal descriptions are equal threats.

        Returns:
            Space, goal, access, budget and channel.

        Example:
            >>> from sparring.threats.threats import linf
            >>> linf(0.1).describe()["space"]
            {'kind': 'linf', 'radius': 0.1}
        """
        return {
            "space": self.space.describe(),
            "goal": self.goal.describe(),
            "access": self.access,
            "budget": self.budget.describe(),
            "channel": self.channel,
            **({"minimal": True} if self.minimal else {}),
        }
