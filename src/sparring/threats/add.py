"""The goal that one label appears in an answer."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from sparring.core.errors import InputError, PlanError
from sparring.core.goal import Goal
from sparring.core.registry import register
from sparring.core.rng import Rng
from sparring.core.task import Task
from sparring.tasks.labels import Labels, LabelsCriterion


@register("goal", "add")
@dataclass(frozen=True)
class Add(Goal):
    """Make a label appear in the answer to a sample that does not have it.

    Args:
        target: The label, by number or by name.

    A sample that has the label, or of which that is not known, is skipped. An answer that has it already counts as wrong without attack.
    """

    target: int | str

    kind: ClassVar[str] = "add"
    tasks: ClassVar[frozenset[str]] = frozenset({"labels"})

    def __post_init__(self) -> None:
        if isinstance(self.target, bool) or not isinstance(self.target, int | str):
            raise PlanError(f"add({self.target!r}): give a label by its number or name")

    @property
    def wish(self) -> str:
        return f"add label {self.target} to the answer"

    @property
    def sentence(self) -> str:
        return f"An answer with label {self.target}, where the truth lacks it, is a success."

    def freeze(self, truth: Tensor, task: Task, rng: Rng) -> LabelsCriterion:
        if not isinstance(task, Labels):
            raise InputError(self.misfit(task))
        return task.changed(truth, self.target, present=False)

    def clean(self) -> "Add":
        return self

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, "target": self.target}
