"""Goals for values: away from the truth, in one direction, or past a bound."""

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from sparring.core.errors import InputError, PlanError
from sparring.core.goal import Goal
from sparring.core.registry import register
from sparring.core.rng import Rng
from sparring.core.task import Task
from sparring.tasks.values import ValueCriterion, Values


@dataclass(frozen=True)
class ValueGoal(Goal):
    """Move an answer past `bound` in some output, as the goals below define.

    Args:
        bound: A number in the unit of the values.
    """

    bound: float

    tasks: ClassVar[frozenset[str]] = frozenset({"values"})
    distance: ClassVar[bool] = True

    def __post_init__(self) -> None:
        number = isinstance(self.bound, int | float) and not isinstance(self.bound, bool) and math.isfinite(self.bound)
        if not number or (self.distance and self.bound < 0):
            raise PlanError(f"goal {self.kind} {self.bound!r}: give a finite number{' of at least 0' if self.distance else ''}, such as {self.kind} 0.5")

    @property
    def wish(self) -> str:
        return f"an answer {self.where}"

    @property
    def sentence(self) -> str:
        return f"An answer that lies {self.where} in some output is a success."

    @property
    @abstractmethod
    def where(self) -> str:
        """Return where an answer is a success, as words that follow "lies"."""

    def freeze(self, truth: Tensor, task: Task, rng: Rng) -> ValueCriterion:
        if not isinstance(task, Values):
            raise InputError(self.misfit(task))
        return self.interval(truth)

    @abstractmethod
    def interval(self, truth: Tensor) -> ValueCriterion:
        """Return the interval around the true values that an answer must leave."""

    def clean(self) -> Goal:
        """Return the goal by which an answer counts as wrong without attack.

        It does if the task calls it wrong or if it meets this goal already.
        """
        return WrongOrMet(self)

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, "bound": self.bound}


@dataclass(frozen=True)
class WrongOrMet(Goal):
    """Count an answer that the task calls wrong as success, or one that meets another goal."""

    other: ValueGoal

    kind: ClassVar[str] = "wrong or met"
    tasks: ClassVar[frozenset[str]] = frozenset({"values"})

    def freeze(self, truth: Tensor, task: Task, rng: Rng) -> ValueCriterion:
        met = self.other.freeze(truth, task, rng)
        wrong = cast(Values, task).wrong(truth)
        return ValueCriterion(torch.maximum(wrong.low, met.low), torch.minimum(wrong.high, met.high))

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, "other": self.other.describe()}


@register("goal", "away")
@dataclass(frozen=True)
class Away(ValueGoal):
    """Move an answer away from the truth by more than `bound`, which replaces the tolerance.

    Args:
        bound: The distance to exceed, in the unit of the answers.
    """

    kind: ClassVar[str] = "away"

    @property
    def where(self) -> str:
        return f"more than {self.bound:g} away from the truth"

    def interval(self, truth: Tensor) -> ValueCriterion:
        return ValueCriterion(truth - self.bound, truth + self.bound)

    def clean(self) -> Goal:
        return self


@register("goal", "up")
@dataclass(frozen=True)
class Up(ValueGoal):
    """Raise an answer to more than `bound` above the truth.

    Args:
        bound: The distance to exceed, in the unit of the answers.
    """

    kind: ClassVar[str] = "up"

    @property
    def where(self) -> str:
        return f"more than {self.bound:g} above the truth"

    def interval(self, truth: Tensor) -> ValueCriterion:
        return ValueCriterion(torch.full_like(truth, -math.inf), truth + self.bound)


@register("goal", "down")
@dataclass(frozen=True)
class Down(ValueGoal):
    """Lower an answer to more than `bound` below the truth.

    Args:
        bound: The distance to exceed, in the unit of the answers.
    """

    kind: ClassVar[str] = "down"

    @property
    def where(self) -> str:
        return f"more than {self.bound:g} below the truth"

    def interval(self, truth: Tensor) -> ValueCriterion:
        return ValueCriterion(truth - self.bound, torch.full_like(truth, math.inf))


@register("goal", "above")
@dataclass(frozen=True)
class Above(ValueGoal):
    """Raise an answer above `bound`, whatever the truth is.

    Args:
        bound: The value to exceed, in the unit of the answers.
    """

    kind: ClassVar[str] = "above"
    distance: ClassVar[bool] = False

    @property
    def where(self) -> str:
        return f"above {self.bound:g}"

    def interval(self, truth: Tensor) -> ValueCriterion:
        return ValueCriterion(torch.full_like(truth, -math.inf), torch.full_like(truth, self.bound))


@register("goal", "below")
@dataclass(frozen=True)
class Below(ValueGoal):
    """Lower an answer below `bound`, whatever the truth is.

    Args:
        bound: The value to fall below, in the unit of the answers.
    """

    kind: ClassVar[str] = "below"
    distance: ClassVar[bool] = False

    @property
    def where(self) -> str:
        return f"below {self.bound:g}"

    def interval(self, truth: Tensor) -> ValueCriterion:
        return ValueCriterion(torch.full_like(truth, self.bound), torch.full_like(truth, math.inf))
