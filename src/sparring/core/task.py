"""Defines what a model answers, what the truth is, and how good an answer is."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

from torch import Tensor

from sparring.core.errors import NeedsError
from sparring.core.goal import Criterion


class Task(ABC):
    """Describe one kind of answer. A task is frozen, and equal tasks describe equal answers.

    Scores are what a model computes (logits, values, a map of logits), float [n, *score_shape]. An answer is what it
    says as deployed (a class, the values, a mask). The truth has the form of an answer. All of them have the sample first.
    """

    kind: ClassVar[str]
    """Name in the registry; `describe()["kind"]` leads back here."""

    @property
    @abstractmethod
    def score_shape(self) -> tuple[int, ...]:
        """Return the shape of the scores of one sample.

        Raises:
            NeedsError: Where the task does not know it yet (see `fitted`).
        """

    @abstractmethod
    def scores(self, output: Any, name: str) -> Tensor:
        """Return the output of the model `name` as scores.

        Raises:
            LoadError: Where the output cannot be the scores of this task.
        """

    @abstractmethod
    def fitted(self, scores: Tensor, name: str) -> Self:
        """Return this task with the sizes taken from scores of the model `name`.

        Raises:
            LoadError: Where the scores do not fit the task.
        """

    def measured(self, truth: Tensor) -> Self:
        """Return this task with properties taken from the true answers, such as their scale."""
        return self

    def told(self, known: "Task") -> Self:
        """Return this task with its open settings filled in from a task of the same kind.

        The other task is that of the data.
        """
        return self

    def as_answer(self, truth: Tensor) -> Tensor:
        """Return the answer of a model that is right everywhere.

        It differs from the truth where parts of the truth do not count, such as the ignored pixels of a mask.
        """
        return truth

    @abstractmethod
    def answer(self, scores: Tensor) -> Tensor:
        """Return what a model with these scores answers as deployed."""

    def answers_of(self, output: Any, name: str) -> Tensor:
        """Return the answers of the model `name` that gives no scores, from its output.

        By default the output is taken as scores.

        Raises:
            LoadError: Where the output cannot be answers of this task.
        """
        return self.answer(self.scores(output, name))

    @abstractmethod
    def answered(self, answer: Tensor) -> Tensor:
        """Return bool [n]: whether there is an answer."""

    @abstractmethod
    def no_answer(self, like: Tensor) -> Tensor:
        """Return `len(like)` answers that say nothing, on the device of `like`."""

    @abstractmethod
    def check(self, truth: Any, count: int) -> Tensor:
        """Return `truth` as the true answers to `count` samples.

        Raises:
            InputError: where they do not fit the task or the number of samples.
        """

    @abstractmethod
    def wrong(self, truth: Tensor) -> Criterion:
        """Return the criterion of the untargeted goal: an answer that counts as wrong."""

    def right(self, answer: Tensor, truth: Tensor) -> Tensor:
        """Return bool [n]: whether there is an answer, and it does not count as wrong."""
        return self.answered(answer) & ~self.wrong(truth).met(answer)

    @abstractmethod
    def quality(self, answer: Tensor, truth: Tensor) -> Tensor:
        """Return the quality of each answer, float64 [n]: 1 for the truth, 0 without an answer."""

    @property
    def mistake(self) -> str:
        """Return which answers count as wrong, as a clause: "it is any class but the true one"."""
        return "it is not the truth"

    def named(self, packed: str) -> str:
        """Return in a few words, for people, an answer that `pack` wrote."""
        return packed or "no answer"

    def training_loss(self, scores: Tensor, truth: Tensor) -> Tensor:
        """Return the differentiable loss [n] that a fit minimises.

        By default the mean squared error of scores of the form of the truth.

        Raises:
            NeedsError: where the truth is no array of numbers like the scores.
        """
        if not truth.is_floating_point() or truth.shape != scores.shape:
            raise NeedsError(f"{self} have no training loss: scores are {tuple(scores.shape[1:])}, the truth is {truth.dtype} {tuple(truth.shape[1:])}")
        return (scores - truth).square().flatten(1).mean(1)

    @abstractmethod
    def pack(self, answer: Tensor) -> list[str]:
        """Return each answer as a short string for the record; an empty one where there is none."""

    @abstractmethod
    def unpack(self, packed: list[str]) -> Tensor:
        """Return the answers that `pack` wrote; `no_answer` for empty strings."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return plain JSON, with "kind"; `restore` is its inverse."""

    @classmethod
    @abstractmethod
    def restore(cls, description: dict[str, Any]) -> "Task":
        """Return the task that `describe` wrote as this JSON."""

    @abstractmethod
    def __str__(self) -> str:
        """Return the task in words: "3 classes"."""
