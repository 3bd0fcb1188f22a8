"""Defines the adversary's goal, and the frozen criterion that says whether it is met."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, runtime_checkable

from torch import Tensor

from sparring.core.registry import everything
from sparring.core.rng import Rng

if TYPE_CHECKING:
    from sparring.core.task import Task


@runtime_checkable
class Criterion(Protocol):
    """Represent a criterion of success, which a goal freezes before the first query.

    A criterion is a NamedTuple of tensors with the sample first. Nothing else in the code knows what success means.
    """

    def take(self, rows: Tensor) -> Self:
        """Return the criterion of some of the samples (an index tensor or a bool mask)."""
        ...

    def loss(self, scores: Tensor) -> Tensor:
        """Return the values that an attack maximises, float [n].

        They grow toward the goal and are positive exactly where the scores meet it.
        """
        ...

    def met(self, answer: Tensor) -> Tensor:
        """Return bool [n]: whether these answers meet the goal. A missing answer meets no goal."""
        ...

    def aimed(self) -> list[str | None]:
        """Return the target answer per sample as the record writes it, or None."""
        ...


class Goal(ABC):
    """Represent what the adversary wants.

    A goal is frozen. `kind` is its name in plans; `tasks` are the kinds of task that it makes sense for, empty for all of them. `usual` says that
    any wrong answer will do, so that a sentence about a result need not name the goal.
    """

    kind: ClassVar[str]
    tasks: ClassVar[frozenset[str]] = frozenset()
    usual: ClassVar[bool] = False

    def misfit(self, task: "Task", name: str = "the model") -> str:
        """Return why the goal makes no sense for this task, and which goals do; empty where it does.

        `name`: of the model, for the sentence.
        """
        if not self.tasks or task.kind in self.tasks:
            return ""
        fitting = [kind for kind, goal in everything("goal").items() if not goal.tasks or task.kind in goal.tasks]
        needed, known = " or ".join(sorted(self.tasks)), ", ".join(fitting)
        return f"the goal {self.kind} is for answers of the kind {needed}, but {name} answers {task}: choose one of the goals {known}"

    @abstractmethod
    def freeze(self, truth: Tensor, task: "Task", rng: Rng) -> Criterion:
        """Return the criterion of success for samples with these true answers.

        Raises:
            InputError: Where the goal asks for something that the task does not have.
        """

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return the goal as plain JSON that names everything that matters."""

    @property
    def said(self) -> str:
        """Return the goal as a plan writes it: "targeted 3"; settings that are lists are left out."""
        settings = [value for name, value in self.describe().items() if name != "kind" and not isinstance(value, list)]
        return " ".join(map(str, [self.kind, *settings]))

    @property
    def wish(self) -> str:
        """Return what the adversary wants, in a few words: "erase class 1 from the mask"."""
        return self.said

    @property
    def sentence(self) -> str:
        """Return as one sentence which answers are a success."""
        return f"An answer that meets the goal {self.said} is a success."

    def of(self, task: "Task") -> "Goal":
        """Return the goal in the words of a task; itself if it means the same for all tasks."""
        return self

    def take(self, rows: Tensor) -> "Goal":
        """Return the goal for some of the samples."""
        return self

    def clean(self) -> "Goal":
        """Return the goal by which an answer is wrong without any attack."""
        return self
