"""Classification: one class per sample."""

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sparring.core.arguments import shown
from sparring.core.errors import InputError, LoadError, NeedsError
from sparring.core.goal import Criterion
from sparring.core.registry import register
from sparring.core.task import Task

MOST_CLASSES = 1 << 20
"""Classes that a data set may have: the largest of the field, of faces, have less than a million, and every class has a name in memory."""


class ClassCriterion(NamedTuple):
    """Represent the success of leaving a class, or of reaching one.

    label: int64 [n], the true class. reference_class: int64 [n], the class to leave or to reach. sign: float [n], +1 to
    leave it, -1 to reach it.
    """

    label: Tensor
    reference_class: Tensor
    sign: Tensor

    @classmethod
    def leaving(cls, label: Tensor) -> "ClassCriterion":
        """Return the criterion "any class but the label"."""
        return cls(label, label, torch.ones(len(label), device=label.device))

    @classmethod
    def reaching(cls, label: Tensor, target: Tensor) -> "ClassCriterion":
        """Return the criterion "exactly the class `target`", int64 [n]."""
        return cls(label, target, -torch.ones(len(label), device=label.device))

    def take(self, rows: Tensor) -> "ClassCriterion":
        """Return the criterion of some of the samples."""
        return ClassCriterion(*(part[rows] for part in self))

    def loss(self, scores: Tensor) -> Tensor:
        """Return the loss that attacks maximise, float [n]; positive where the goal is met."""
        return -self.sign * logit_gap(scores, self.reference_class)

    def met(self, answer: Tensor) -> Tensor:
        """Return bool [n]: whether these answers meet the goal."""
        return ((answer == self.reference_class) == (self.sign < 0)) & (answer >= 0)

    def aimed(self) -> list[str | None]:
        """Return the class to reach per sample, as the record writes it; None where there is none."""
        return [str(one) if sign < 0 else None for one, sign in zip(self.reference_class.tolist(), self.sign.tolist(), strict=True)]

    @property
    def untargeted(self) -> bool:
        """Return whether every class but the label is a success, for every sample."""
        return bool((self.sign > 0).all())


def several_labels(labels: Any) -> str:
    """Return what labels of several axes may be, as the end of a message."""
    if labels.ndim != 2:
        return " (not one-hot)"
    array = np.asarray(labels)
    one_hot = array.dtype.kind in "biuf" and bool(((array == 0) | (array == 1)).all()) and bool((array.sum(1) == 1).all())
    cure = ": y.argmax(1) of these rows" if one_hot else ""
    return f" (not one-hot{cure}); where a sample may have several labels, give task=labels({labels.shape[1]})"


def _cure(scores: Tensor) -> str:
    """What makes scores of another form right, as the end of a message."""
    if not scores.is_floating_point():
        return "; where a function returns class numbers, say labels_only=True"
    inner = tuple(scores.shape[1:])
    if len([side for side in inner if side != 1]) <= 1:
        return ", so drop the axes of size 1: torch.nn.Sequential(network, torch.nn.Flatten()), or scores.reshape(len(scores), -1) in a function"
    return f"; where they stand for a class per pixel, give task=sp.tasks.mask({inner[0]})" if len(inner) == 3 else ""


@register("task", "classes")
@dataclass(frozen=True)
class Classes(Task):
    """Represent one of `classes` classes per sample, numbered from 0.

    Args:
        classes: Their number; None where the model will tell.
    """

    classes: int | None = None

    kind: ClassVar[str] = "classes"

    def __post_init__(self) -> None:
        if self.classes is not None and (isinstance(self.classes, bool) or not isinstance(self.classes, int) or self.classes < 2):
            raise InputError(f"classes={self.classes!r}: give a whole number of at least 2")

    @property
    def count(self) -> int:
        """Return the number of classes."""
        if self.classes is None:
            raise NeedsError("the number of classes is unknown: write classes(10)")
        return self.classes

    @property
    def score_shape(self) -> tuple[int, ...]:
        return (self.count,)

    def scores(self, output: Any, name: str) -> Tensor:
        """Return scores [n, classes]; one column (or none) is the score of class 1 against 0."""
        scores = output if isinstance(output, Tensor) else torch.as_tensor(output)
        if scores.ndim not in (1, 2) or not scores.is_floating_point():
            raise LoadError(f"{name} returned {scores.dtype} {tuple(scores.shape)}: scores must be floating point [n, classes]{_cure(scores)}")
        if scores.ndim == 1:
            scores = scores[:, None]
        return torch.cat([torch.zeros_like(scores), scores], 1) if scores.shape[1] == 1 else scores

    def fitted(self, scores: Tensor, name: str) -> "Classes":
        if self.classes is not None and scores.shape[1] != self.classes:
            raise LoadError(f"{name} gives {scores.shape[1]} scores per sample, but the task has {self.classes} classes: change one of them")
        return replace(self, classes=int(scores.shape[1]))

    def answer(self, scores: Tensor) -> Tensor:
        return label_of(scores)

    def answers_of(self, output: Any, name: str) -> Tensor:
        answers = torch.as_tensor(output).to(torch.int64).reshape(-1)
        return answers if self.classes is None else answers.where((answers >= 0) & (answers < self.classes), -1)  # what is no class is no answer

    def answered(self, answer: Tensor) -> Tensor:
        return answer >= 0

    def no_answer(self, like: Tensor) -> Tensor:
        return torch.full((len(like),), -1, dtype=torch.int64, device=like.device)

    def check(self, truth: Any, count: int) -> Tensor:
        """Return `truth` as int64 [count] with values in 0 ... classes - 1.

        There is no upper end where the number of classes is not known.
        """
        try:
            labels = torch.as_tensor(np.array(truth) if not isinstance(truth, Tensor) else truth)
        except (TypeError, ValueError) as error:
            raise InputError(f"labels are not numbers ({shown(truth)}): number the classes from 0 on, or give Data.of their names") from error
        if labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        if labels.ndim != 1:
            raise InputError(f"labels have shape {tuple(labels.shape)}: give one class per sample, [{count}]{several_labels(labels)}")
        if len(labels) != count:
            raise InputError(f"{len(labels)} labels for {count} samples: give one class per sample")
        if labels.is_floating_point() and count and not bool((labels.abs() < 2.0**63).all()):
            raise InputError(f"labels must be whole numbers of at most 64 bits, got {labels[~(labels.abs() < 2.0**63)][:3].tolist()}: number classes from 0 on")
        whole = labels.to(torch.int64)
        if labels.is_complex() or not bool((whole == labels).all()):
            raise InputError(f"labels must be whole numbers, got {labels.dtype} such as {labels[whole != labels][:3].tolist()}: number classes from 0 on")
        if count and int(whole.min()) < 0:
            raise InputError(f"labels must be at least 0, got {int(whole.min())}: number the classes from 0 on")
        if count and self.classes is None and int(whole.max()) >= MOST_CLASSES:
            raise InputError(f"labels reach {int(whole.max())}, the limit is {MOST_CLASSES:,} classes: number the classes from 0 on, without gaps")
        if count and self.classes is not None and int(whole.max()) >= self.classes:
            least, most = int(whole.min()), int(whole.max())
            raise InputError(f"labels lie in [{least}, {most}] but the classes are 0 to {self.classes - 1}: correct the labels or that number")
        return whole

    def wrong(self, truth: Tensor) -> ClassCriterion:
        return ClassCriterion.leaving(truth)

    def quality(self, answer: Tensor, truth: Tensor) -> Tensor:
        return (answer == truth).double()

    @property
    def mistake(self) -> str:
        return "it is any class but the true one"

    def training_loss(self, scores: Tensor, truth: Tensor) -> Tensor:
        return torch.nn.functional.cross_entropy(scores, truth, reduction="none")

    def pack(self, answer: Tensor) -> list[str]:
        return [str(one) if one >= 0 else "" for one in answer.tolist()]

    def unpack(self, packed: list[str]) -> Tensor:
        return torch.tensor([int(one) if one else -1 for one in packed], dtype=torch.int64)

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, "classes": self.classes}

    @classmethod
    def restore(cls, description: dict[str, Any]) -> "Classes":
        return cls(description["classes"])

    def __str__(self) -> str:
        return "classes" if self.classes is None else f"{self.classes} classes"


def of_classes(criterion: Criterion) -> ClassCriterion:
    """Return the criterion as one of classes; NeedsError where it is another."""
    if not isinstance(criterion, ClassCriterion):
        raise NeedsError(f"the method needs a goal for classes, got {type(criterion).__name__}: use an attack or certifier that supports every task")
    return criterion


def label_of(scores: Tensor) -> Tensor:
    """Return the highest class of each row of scores [n, C]; -1 where any score is NaN or +inf."""
    labels = scores.argmax(1)
    return labels.where((scores < torch.inf).all(1), -1)


def logit_gap(scores: Tensor, classes: Tensor) -> Tensor:
    """Return the score of one class per row minus the best other score, [n].

    It is positive where the class wins. Scores are [n, C], classes [n].
    """
    own = scores.gather(1, classes[:, None])
    rest = scores.scatter(1, classes[:, None], -math.inf)
    return (own - rest.amax(1, keepdim=True)).squeeze(1)
