"""What the adversary wants of a classifier: any other class, or one particular class."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from sparring.core.dice import Dice
from sparring.core.errors import InputError, PlanError
from sparring.core.registry import register
from sparring.core.threat import Goal, Reference


@register("goal", "untargeted")
@dataclass(frozen=True)
class Untargeted(Goal):
    """Success is any class but the true one."""

    kind: ClassVar[str] = "untargeted"

    def reference(self, y: Tensor, dice: Dice, classes: int) -> Reference:
        return Reference(y, y, torch.ones(len(y), device=y.device))

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind}


@register("goal", "targeted")
@dataclass(frozen=True)
class Targeted(Goal):
    """Success is one particular class.

    target: a class for all samples; an int64 tensor with one a sample; "next" (label + 1, wrapping
    round) or "random" (drawn per sample, never the label). A sample whose label is its target is skipped.
    """

    target: int | str | Tensor = "next"

    kind: ClassVar[str] = "targeted"

    def __post_init__(self) -> None:
        whole = isinstance(self.target, int | Tensor) and not isinstance(self.target, bool)
        if not whole and self.target not in ("next", "random"):
            raise PlanError(f'target {self.target!r}: give a class, one class a sample, "next" or "random"')

    def reference(self, y: Tensor, dice: Dice, classes: int) -> Reference:
        if isinstance(self.target, Tensor):
            target = self.target.to(y)
        elif self.target == "random":
            target = (y + 1 + dice.draw("target").integers(classes - 1, 1).squeeze(1)) % classes
        elif self.target == "next":
            target = (y + 1) % classes
        else:
            target = torch.full_like(y, int(self.target))
        if len(target) != len(y):
            raise InputError(f"{len(target)} targets for {len(y)} samples: give one class, or one a sample")
        if len(target) and not (int(target.min()) >= 0 and int(target.max()) < classes):
            raise InputError(f"targets lie in [{target.min()}, {target.max()}] but the classes are 0 to {classes - 1}")
        return Reference(y, target, -torch.ones(len(y), device=y.device))

    def take(self, rows: Tensor) -> "Targeted":
        return Targeted(self.target[rows]) if isinstance(self.target, Tensor) else self

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, "target": self.target.tolist() if isinstance(self.target, Tensor) else self.target}
