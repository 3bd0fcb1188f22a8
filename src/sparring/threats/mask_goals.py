"""Goals for masks: one class disappears."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from sparring.core.errors import InputError, PlanError
from sparring.core.goal import Goal
from sparring.core.registry import register
from sparring.core.rng import Rng
from sparring.core.task import Task
from sparring.tasks.mask import VOID, Mask, MaskCriterion, at_least


@register("goal", "erase")
@dataclass(frozen=True)
class Erase(Goal):
    """Make a class disappear from a mask.

    Its pixels, by the truth, are answered otherwise.

    Args:
        target: The class, by number or by name.
        share: The share of its pixels that must fall, in (0, 1]. By default it is the share from which ALMA prox counts an image as broken
            (Rony et al. 2022, arXiv:2206.07179).

    A sample without the class is skipped. An answer that lacks the class already
    counts as wrong without attack.
    """

    target: int | str
    share: float = 0.99

    kind: ClassVar[str] = "erase"
    tasks: ClassVar[frozenset[str]] = frozenset({"mask"})

    def __post_init__(self) -> None:
        if isinstance(self.target, bool) or not isinstance(self.target, int | str):
            raise PlanError(f"erase({self.target!r}): give a class by its number or name")
        if isinstance(self.share, bool) or not isinstance(self.share, int | float) or not 0 < self.share <= 1:
            raise PlanError(f"share={self.share!r}: give the share of the pixels of class {self.target} to erase, above 0 and at most 1")

    @property
    def wish(self) -> str:
        return f"erase {self._named} from the mask"

    @property
    def sentence(self) -> str:
        return f"A mask in which {100 * self.share:g} % or more of the pixels of {self._named} are given another class is a success."

    @property
    def _named(self) -> str:
        return f"class {self.target}"

    def freeze(self, truth: Tensor, task: Task, rng: Rng) -> MaskCriterion:
        if not isinstance(task, Mask):
            raise InputError(self.misfit(task))
        chosen = truth == task.number_of(self.target)
        pixels = chosen.flatten(1).sum(1)
        return MaskCriterion(truth.where(chosen, VOID), pixels - at_least(self.share, chosen).clamp_min(0))

    def clean(self) -> "Erase":
        return self

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, "target": self.target, "share": self.share}
