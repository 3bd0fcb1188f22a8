"""The goal that one class or label disappears from an answer."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from sparring.core.errors import InputError, PlanError
from sparring.core.goal import Criterion, Goal
from sparring.core.registry import register
from sparring.core.rng import Rng
from sparring.core.task import Task
from sparring.tasks.labels import Labels
from sparring.tasks.mask import Mask, MaskCriterion
from sparring.tasks.parts import VOID, at_least

SHARE = 0.99
"""The share from which ALMA prox counts an image as broken (Rony et al. 2022, arXiv:2206.07179)."""


@register("goal", "erase")
@dataclass(frozen=True)
class Erase(Goal):
    """Make a class disappear from a mask, or a label from a set.

    The pixels of the class, by the truth, are answered otherwise; the label is not in the answer.

    Args:
        target: The class or label, by number or by name.
        share: For masks: the share of its pixels that must fall, in (0, 1]. By default it is the share from which ALMA prox counts an image as broken
            (Rony et al. 2022, arXiv:2206.07179).

    A sample without the class or label is skipped. An answer that lacks it already
    counts as wrong without attack.
    """

    target: int | str
    share: float = SHARE

    kind: ClassVar[str] = "erase"
    tasks: ClassVar[frozenset[str]] = frozenset({"labels", "mask"})

    def __post_init__(self) -> None:
        if isinstance(self.target, bool) or not isinstance(self.target, int | str):
            raise PlanError(f"erase({self.target!r}): give a class or label by its number or name")
        if isinstance(self.share, bool) or not isinstance(self.share, int | float) or not 0 < self.share <= 1:
            raise PlanError(f"share={self.share!r}: give the share of the pixels of class {self.target} to erase, above 0 and at most 1")

    @property
    def wish(self) -> str:
        return f"erase class {self.target} from the mask"

    @property
    def sentence(self) -> str:
        return f"A mask in which {100 * self.share:g} % or more of the pixels of class {self.target} are given another class is a success."

    def of(self, task: Task) -> Goal:
        return EraseLabel(self.target, self.share) if isinstance(task, Labels) else self

    def freeze(self, truth: Tensor, task: Task, rng: Rng) -> Criterion:
        if isinstance(task, Labels):
            return self.of(task).freeze(truth, task, rng)
        if not isinstance(task, Mask):
            raise InputError(self.misfit(task))
        chosen = truth == task.number_of(self.target)
        pixels = chosen.flatten(1).sum(1)
        return MaskCriterion(truth.where(chosen, VOID), pixels - at_least(self.share, chosen).clamp_min(0))

    def clean(self) -> "Erase":
        return self

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, "target": self.target, "share": self.share}


@dataclass(frozen=True)
class EraseLabel(Erase):
    """Make a label disappear from a set: what `Erase` means for labels."""

    tasks: ClassVar[frozenset[str]] = frozenset({"labels"})

    @property
    def wish(self) -> str:
        return f"erase label {self.target} from the answer"

    @property
    def sentence(self) -> str:
        return f"An answer without label {self.target}, where the truth has it, is a success."

    def freeze(self, truth: Tensor, task: Task, rng: Rng) -> Criterion:
        if not isinstance(task, Labels):
            raise InputError(self.misfit(task))
        if self.share != SHARE:
            raise InputError(f"erase {self.target} {self.share:g}: a label is in the answer or it is not, so leave out the share")
        return task.changed(truth, self.target, present=True)

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, "target": self.target}
