"""Goals for classes: any wrong class, or one particular class."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from sparring.core.arguments import shown
from sparring.core.errors import InputError, PlanError
from sparring.core.goal import Criterion, Goal
from sparring.core.registry import register
from sparring.core.rng import Rng
from sparring.core.task import Task
from sparring.tasks.classes import ClassCriterion, Classes


@register("goal", "untargeted")
@dataclass(frozen=True)
class Untargeted(Goal):
    """Count any answer that the task calls wrong as success; for classes, any but the true one.

    Example:
        >>> from sparring.threats.threats import linf
        >>> linf(0.1).goal
        Untargeted()
    """

    kind: ClassVar[str] = "untargeted"
    usual: ClassVar[bool] = True

    @property
    def wish(self) -> str:
        return "any answer that counts as wrong"

    @property
    def sentence(self) -> str:
        return "Any answer that counts as wrong is a success."

    def freeze(self, truth: Tensor, task: Task, rng: Rng) -> Criterion:
        return task.wrong(truth)

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind}


@register("goal", "targeted")
@dataclass(frozen=True)
class Targeted(Goal):
    """Count one particular class as success.

    A sample whose label is its target is skipped.

    Args:
        target: A class for all samples, an int64 tensor [n] with one per sample, "next" (the label plus 1, wrapping round) or
            "random" (drawn per sample, never the label).

    Raises:
        PlanError: For another target.

    Example:
        >>> from sparring.threats.threats import linf
        >>> linf(0.1).toward(Targeted(3))
        <threat linf 0.1, targeted 3, gradients>
    """

    target: int | str | Tensor = "next"

    kind: ClassVar[str] = "targeted"
    tasks: ClassVar[frozenset[str]] = frozenset({"classes"})

    def __post_init__(self) -> None:
        number = isinstance(self.target, int) and not isinstance(self.target, bool) and self.target >= 0
        word = isinstance(self.target, str) and self.target in ("next", "random")
        if not (number or word or isinstance(self.target, Tensor)):
            raise PlanError(f'target {shown(self.target)}: give a class, one class per sample, "next" or "random"')

    @property
    def wish(self) -> str:
        said = {"next": "the class after the true one", "random": "a class drawn at random for each sample"}
        return "a class of its own for each sample" if isinstance(self.target, Tensor) else said.get(str(self.target), f"class {self.target}")

    @property
    def sentence(self) -> str:
        return f"Only the answer that the adversary chose is a success: {self.wish}."

    def freeze(self, truth: Tensor, task: Task, rng: Rng) -> ClassCriterion:
        if not isinstance(task, Classes):
            raise InputError(self.misfit(task))
        y, classes = truth, task.count
        if isinstance(self.target, Tensor):
            target = self.target.to(y)
        elif self.target == "random":
            target = (y + 1 + rng.draw("target").integers(classes - 1, 1).squeeze(1)) % classes
        elif self.target == "next":
            target = (y + 1) % classes
        else:
            target = torch.full_like(y, int(self.target))
        if len(target) != len(y):
            raise InputError(f"{len(target)} targets for {len(y)} samples: give one class, or one per sample")
        if len(missing := target[(target < 0) | (target >= classes)]):
            raise InputError(f"the target class {int(missing[0])} does not exist: choose one of the classes 0 to {classes - 1}")
        return ClassCriterion.reaching(y, target)

    def clean(self) -> Untargeted:
        return Untargeted()

    def take(self, rows: Tensor) -> "Targeted":
        return Targeted(self.target[rows]) if isinstance(self.target, Tensor) else self

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, "target": self.target.tolist() if isinstance(self.target, Tensor) else self.target}
