"""Multi-label classification: for every label, whether a sample has it."""

import math
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AnySet
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sparring.core.arguments import shown
from sparring.core.errors import InputError, LoadError, NeedsError, RecordError
from sparring.core.registry import register
from sparring.core.task import Task
from sparring.tasks.parts import VOID, answered, at_least, deciding_loss, enough_met, number_among

MOST_LABELS = 1 << 20
"""The most labels that are unpacked, so that a forged record cannot fill the memory."""

LETTERS = ".x?"
"""How a set is packed, one letter per label: absent, present and, in a truth, not known."""

PACKED = re.compile(r"[.x?]+")

NAMED = 8
"""The most labels of a set that are named for people."""


class LabelsCriterion(NamedTuple):
    """Represent the goal that too few labels are right.

    truth: int64 [n, count], 1 where the label is there, 0 where it is not, VOID where it does not count. spare: int64 [n], the largest number of counted
    labels that may be right if the goal is met.
    """

    truth: Tensor
    spare: Tensor

    def take(self, rows: Tensor) -> "LabelsCriterion":
        """Return the criterion for some of the samples."""
        return LabelsCriterion(self.truth[rows], self.spare[rows])

    @property
    def counted(self) -> Tensor:
        """Return the labels that count, bool [n, count]."""
        return self.truth >= 0

    def gaps(self, scores: Tensor) -> Tensor:
        """Return how far each score is on the side of the truth, [n, count].

        It is positive if a label is right, and -inf if it does not count. A score of 0 says "absent", so it lies on that side by the smallest number.
        """
        below = scores - torch.finfo(scores.dtype).tiny * (scores == 0).to(scores.dtype)
        return (below * (2 * self.truth - 1).to(scores.dtype)).masked_fill(~self.counted, -math.inf)

    def loss(self, scores: Tensor) -> Tensor:
        """Return minus the gap of the deciding label, [n], see `deciding_loss`."""
        return deciding_loss(self.gaps(scores), self.counted, self.spare)

    def met(self, answer: Tensor) -> Tensor:
        """Return whether too few labels are right, bool [n]."""
        return enough_met((answer == self.truth) & self.counted, answer, self.spare)

    def aimed(self) -> list[str | None]:
        """Return the answers to reach: there are none."""
        return [None] * len(self.truth)


@register("task", "labels")
@dataclass(frozen=True)
class Labels(Task):
    """Represent a set of labels per sample, out of `count` labels that are numbered from 0.

    Scores are one logit per label, [n, count]; a label is in the answer if its score is positive. An answer and the truth are int64 [n, count] of 0 and 1.
    Labels with -1 in the truth are not known and do not count. An answer is wrong if less than `share` of the labels that count are right. Its quality is
    the Jaccard index of the two sets, over the labels that count; two empty sets have 1.

    Args:
        count: The number of labels; None if the model determines it.
        share: Share of the counted labels that must be right, in (0, 1]; with 1, the answer must be the exact set.
        names: Names of the labels, in order; empty if they have numbers only.
        threshold: The probability above which a label is in the answer, one number or one per label. None means 0.5, and for a scikit-learn estimator
            the answer of its `predict`.
        probabilities: Whether the model returns probabilities instead of logits.
    """

    count: int | None = None
    share: float = 1.0
    names: tuple[str, ...] = ()
    threshold: float | tuple[float, ...] | None = None
    probabilities: bool = False

    kind: ClassVar[str] = "labels"

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", (self.names,) if isinstance(self.names, str) else tuple(map(str, self.names)))
        if isinstance(self.threshold, list | tuple):
            object.__setattr__(self, "threshold", tuple(self.threshold))
        several = len(self.threshold) if isinstance(self.threshold, tuple) else None
        if self.count is None and (self.names or several):
            object.__setattr__(self, "count", len(self.names) or several)
        if self.count is not None and (isinstance(self.count, bool) or not isinstance(self.count, int) or not 1 <= self.count <= MOST_LABELS):
            raise InputError(f"labels({self.count!r}): give the number of labels, a whole number of at least 1 and at most {MOST_LABELS}")
        if isinstance(self.share, bool) or not isinstance(self.share, int | float) or not 0 < self.share <= 1:
            raise InputError(f"share={self.share!r}: give the share of right labels that an answer needs, above 0 and at most 1")
        if self.names and len(self.names) != self.count:
            raise InputError(f"{len(self.names)} names ({', '.join(self.names[:5])}) for {self.count} labels: give one name per label, or none")
        if len(set(self.names)) != len(self.names):
            twice = next(one for one in self.names if self.names.count(one) > 1)
            raise InputError(f"two labels are called {twice!r}: give every label its own name")
        if several is not None and several != self.count:
            raise InputError(f"{several} thresholds for {self.count} labels: give one number for all labels, or one per label")
        given = self.threshold if isinstance(self.threshold, tuple) else () if self.threshold is None else (self.threshold,)
        for one in given:
            if isinstance(one, bool) or not isinstance(one, int | float) or not 0 < one < 1:
                raise InputError(f"threshold={one!r}: give the probability above which a label is in the answer, above 0 and below 1")
        if not isinstance(self.probabilities, bool):
            raise InputError(f"probabilities={self.probabilities!r}: give true where the model returns probabilities, else false")

    @property
    def score_shape(self) -> tuple[int, ...]:
        if self.count is None:
            raise NeedsError("the number of labels is not known: write labels(5)")
        return (self.count,)

    def name_of(self, number: int) -> str:
        """Return the name of a label."""
        return self.names[number] if 0 <= number < len(self.names) else f"label {number}"

    def number_of(self, written: int | str) -> int:
        """Return the number of the label with this name or number; InputError where there is none."""
        return number_among(written, self.names, self.count, "label", "labels")

    def scores(self, output: Any, name: str) -> Tensor:
        """Return scores [n, count], of which 0 is the threshold.

        Probabilities become logits, and the logit of the threshold is taken off. An object with attributes gives its logits under "logits".
        """
        output = getattr(output, "logits", output) if not isinstance(output, Tensor | np.ndarray) else output
        try:
            scores = output if isinstance(output, Tensor) else torch.as_tensor(output)
        except (TypeError, ValueError, RuntimeError) as error:
            raise LoadError(f"{name} returned a {type(output).__name__}: give one logit per label, [n, labels]") from error
        scores = scores[:, None] if scores.ndim == 1 else scores
        if scores.ndim != 2 or not scores.is_floating_point():
            cure = "" if scores.is_floating_point() else "; give the logits, or say labels_only=True where a function returns 0 and 1"
            raise LoadError(f"{name} returned {scores.dtype} {tuple(scores.shape)}: scores must be floating point [n, labels]{cure}")
        if self.probabilities:
            if bool(((scores < 0) | (scores > 1)).any()):
                wrong = float(scores[(scores < 0) | (scores > 1)][0].detach())
                raise LoadError(f"{name} returned {wrong:g}, which is no probability: leave out probabilities= where it returns logits")
            self._check_width(scores, name)
            return self._of_probabilities(scores)
        self._check_width(scores, name)
        return self.shifted(scores)

    def _of_probabilities(self, given: Tensor) -> Tensor:
        """Scores of which 0 is the threshold, positive exactly where a probability exceeds it in the precision of the model."""
        threshold = torch.tensor(self._thresholds, dtype=torch.float64).to(given)
        scores, least = self.shifted(logits_of(given)), torch.finfo(given.dtype).tiny
        exact = scores.clamp_min(least).where(given > threshold, scores.clamp_max(0)).detach()
        return scores - scores.detach() + exact

    @property
    def _thresholds(self) -> tuple[float, ...]:
        """The thresholds, one or one per label."""
        return self.threshold if isinstance(self.threshold, tuple) else (0.5 if self.threshold is None else self.threshold,)

    @property
    def _shift(self) -> Tensor:
        """The logit of the threshold, float64 [1] or [count]."""
        return torch.logit(torch.tensor(self._thresholds, dtype=torch.float64))

    def shifted(self, logits: Tensor) -> Tensor:
        """Return logits as scores of which 0 is the threshold."""
        return logits if self.threshold is None else logits - self._shift.to(logits)

    def unshifted(self, scores: Tensor) -> Tensor:
        """Return the logits of the model for scores of which 0 is the threshold."""
        return scores if self.threshold is None else scores + self._shift.to(scores)

    def answers_of(self, output: Any, name: str) -> Tensor:
        """Return the output of a model that gives no scores, 0 and 1 per label, as int64 [n, count]."""
        given = torch.as_tensor(output)
        given = given[:, None] if given.ndim == 1 else given
        self._check_width(given, name)
        if given.ndim != 2 or not bool(((given == 0) | (given == 1)).all()):
            raise LoadError(f"{name} returned {given.dtype} {tuple(given.shape)}: answers without scores are 0 or 1 per label, [n, labels]")
        return given.to(torch.int64)

    def _check_width(self, scores: Tensor, name: str) -> None:
        if self.count is not None and scores.ndim == 2 and scores.shape[1] != self.count:
            raise LoadError(f"{name} gives {scores.shape[1]} scores per sample, but the task has {self.count} labels: change one of them")

    def fitted(self, scores: Tensor, name: str) -> "Labels":
        self._check_width(scores, name)
        return replace(self, count=int(scores.shape[1]))

    def measured(self, truth: Tensor) -> "Labels":
        """Return this task with the number of labels of the true answers, unless given."""
        return self if self.count is not None else replace(self, count=int(truth.shape[1]))

    def told(self, known: Task) -> "Labels":
        """Return this task with the names of the labels of the data.

        Raises:
            InputError: Where model and data do not mean the same by a wrong answer.
        """
        if not isinstance(known, Labels):
            return self
        if known.share != self.share:
            raise InputError(
                f"the model's task has share={self.share:g}, but the task of the data has share={known.share:g}: "
                f"give model and data the same task=labels(share=...)"
            )
        if known.threshold not in (None, self.threshold):
            raise InputError(
                f"the model's task has threshold={self.threshold}, but the task of the data has threshold={known.threshold}: "
                f"the model decides by its threshold, so give it this one, or leave it out at the data"
            )
        return replace(self, names=known.names) if not self.names and self.count in (None, known.count) else self

    def as_answer(self, truth: Tensor) -> Tensor:
        return truth.clamp_min(0)

    def answer(self, scores: Tensor) -> Tensor:
        """Return int64 [n, count]; VOID for all labels where one of the scores is NaN or +inf."""
        return (scores > 0).to(torch.int64).where((scores < torch.inf).all(1, keepdim=True), VOID)

    def answered(self, answer: Tensor) -> Tensor:
        return answered(answer)

    def no_answer(self, like: Tensor) -> Tensor:
        count = self.count or (like.shape[1] if like.ndim == 2 else 1)
        return torch.full((len(like), count), VOID, dtype=torch.int64, device=like.device)

    def check(self, truth: Any, count: int) -> Tensor:
        """Return the true sets as int64 [count, labels] of 0 and 1, VOID where it is not known.

        A list of sets of names or numbers is accepted, [{"cat", "dog"}, set()], and so are lists of names.
        """
        table = self._of_sets(truth) if _are_sets(truth) else truth
        try:
            given = table if isinstance(table, Tensor) else torch.as_tensor(np.array(table))
        except (TypeError, ValueError) as error:
            raise InputError(f"labels are not numbers ({shown(truth)}): {HOW}") from error
        if given.ndim == 1:
            seen = f"such as {given[:3].tolist()}" if len(given) else "without samples"
            raise InputError(f"labels have shape {tuple(given.shape)}, {seen}, one number per sample: {HOW}; for one class per sample, leave out task=labels")
        if given.ndim != 2 or not given.shape[1]:
            raise InputError(f"labels have shape {tuple(given.shape)}: {HOW}")
        if len(given) != count:
            raise InputError(f"{len(given)} sets of labels for {count} samples")
        if self.count is not None and given.shape[1] != self.count:
            raise InputError(f"there are {given.shape[1]} labels per sample, but the task has {self.count}: {HOW}")
        strange = (given != 0) & (given != 1) & (given != VOID)
        if bool(strange.any()):
            raise InputError(f"labels hold {given[strange][0].item():g}: write 1 for a label that is there, 0 for one that is not, -1 where it is not known")
        whole = given.to(torch.int64)
        empty = (~(whole >= 0).any(1)).nonzero().flatten().tolist()
        if empty:
            raise InputError(f"sample {empty[0]} has no label that is known ({len(empty)} such samples): leave these samples out")
        return whole

    def _of_sets(self, sets: Sequence[Any]) -> np.ndarray:
        """A table of 0 and 1 from sets of names or numbers."""
        if self.count is None:
            raise InputError("the labels are sets, and their number is not known: write labels(5), or give their names, labels(names=[...])")
        table = np.zeros((len(sets), self.count), dtype=np.int64)
        for row, one in enumerate(sets):
            table[row, [self.number_of(label.item() if isinstance(label, np.generic) else label) for label in one]] = 1
        return table

    def wrong(self, truth: Tensor) -> LabelsCriterion:
        return LabelsCriterion(truth, at_least(self.share, truth >= 0) - 1)

    def changed(self, truth: Tensor, target: int | str, present: bool) -> LabelsCriterion:
        """Return the criterion that one label is answered wrongly, where the truth is `present`.

        Other samples meet it without attack.

        Args:
            truth: The true sets.
            target: The label, by number or by name.
            present: Which truth is asked about: that the label is there, or that it is not.
        """
        chosen = torch.zeros_like(truth, dtype=torch.bool)
        chosen[:, self.number_of(target)] = True
        return LabelsCriterion(truth.where(chosen & (truth == int(present)), VOID), torch.zeros(len(truth), dtype=torch.int64, device=truth.device))

    def quality(self, answer: Tensor, truth: Tensor) -> Tensor:
        """Return the Jaccard index of each set: the labels in both, divided by the labels in either.

        Labels that are not known are left out, and two empty sets have 1.
        """
        counted = truth >= 0
        both, either = ((answer == 1) & (truth == 1)).sum(1), (((answer == 1) | (truth == 1)) & counted).sum(1)
        share = (both.double() / either.clamp_min(1)).where(either > 0, 1.0)
        return share.where(answered(answer), 0.0)

    @property
    def mistake(self) -> str:
        if self.share == 1:
            return "a single label that counts is wrong"
        return f"fewer than {100 * self.share:g} % of the labels that count are right"

    def named(self, packed: str) -> str:
        """Return the labels of a set: "cat, dog" or "none of the labels"."""
        if not packed:
            return "no answer"
        (found,) = self.unpack([packed])
        names = [self.name_of(number) for number in (found == 1).nonzero().flatten().tolist()]
        more = [f"{len(names) - NAMED} more"] if len(names) > NAMED else []
        return ", ".join(names[:NAMED] + more) or "none of the labels"

    def training_loss(self, scores: Tensor, truth: Tensor) -> Tensor:
        """Return the mean binary cross-entropy over the labels that count, [n]."""
        counted = truth >= 0
        each = torch.nn.functional.binary_cross_entropy_with_logits(self.unshifted(scores), truth.clamp_min(0).to(scores.dtype), reduction="none")
        return each.where(counted, 0.0).sum(1) / counted.sum(1).clamp_min(1)

    def pack(self, answer: Tensor) -> list[str]:
        """Return strings such as "x..x", one letter per label."""
        letters = np.array(list(LETTERS))[answer.cpu().numpy()]  # -1 is the last letter
        return ["".join(row) if known else "" for row, known in zip(letters, (answer != VOID).any(1).tolist(), strict=True)]

    def unpack(self, packed: list[str]) -> Tensor:
        given = [one for one in packed if one]
        count = self.count or (len(given[0]) if given else 1)
        for one in given:
            if len(one) != count or len(one) > MOST_LABELS or not PACKED.fullmatch(one):
                cure = "delete the part of the record that holds it and run the same command again"
                raise RecordError(f"{one[:40]!r} is not a packed set of {count} labels: {cure}")
        joined = np.frombuffer("".join(one or "?" * count for one in packed).encode("ascii"), dtype=np.uint8).reshape(len(packed), count)
        table = np.full(256, VOID, dtype=np.int64)
        table[ord(".")], table[ord("x")] = 0, 1
        return torch.from_numpy(table[joined])

    def describe(self) -> dict[str, Any]:
        threshold = list(self.threshold) if isinstance(self.threshold, tuple) else self.threshold
        return {
            "kind": self.kind, "count": self.count, "share": self.share, "names": list(self.names),
            "threshold": threshold, "probabilities": self.probabilities,
        }  # fmt: skip

    @classmethod
    def restore(cls, description: dict[str, Any]) -> "Labels":
        names, threshold = tuple(description["names"]), description.get("threshold")
        return cls(description["count"], description["share"], names, threshold, bool(description.get("probabilities", False)))

    def __str__(self) -> str:
        return "sets of labels" if self.count is None else f"sets of {self.count} label{'' if self.count == 1 else 's'}"


HOW = 'give 0 or 1 per label, [n, labels], -1 where it is not known, or a list of sets, [{"cat"}, {"cat", "dog"}, set()]'


def labels(
    count: int | None = None,
    *,
    share: float = 1.0,
    names: Sequence[str] = (),
    threshold: float | Sequence[float] | None = None,
    probabilities: bool = False,
) -> Labels:
    """Return the task of telling which labels a sample has.

    Args:
        count: The number of labels; the model tells where it is left out.
        share: An answer is wrong where less than this share of the labels that count are right, in (0, 1].
        names: Of the labels, in order.
        threshold: The probability above which a label is in the answer, one number or one per label; 0.5 where it is left out.
        probabilities: Whether the model returns probabilities instead of logits.

    Returns:
        The `Labels`.

    Raises:
        InputError: For settings that do not fit each other.

    Example:
        >>> str(labels(names=["cat", "dog", "bird"]))
        'sets of 3 labels'
    """
    several = tuple(threshold) if isinstance(threshold, Sequence) else threshold
    return Labels(count, share, (names,) if isinstance(names, str) else tuple(names), several, probabilities)


def logits_of(probabilities: Tensor) -> Tensor:
    """Return the logits of probabilities; those of 0 and 1 are finite, and that of 0.5 is 0."""
    return torch.logit(probabilities, eps=torch.finfo(probabilities.dtype).eps / 2)


def _are_sets(truth: Any) -> bool:
    """Whether the true answers are given as sets of names or numbers, or as lists of names."""
    if isinstance(truth, Tensor | str | bytes | Mapping) or not hasattr(truth, "__len__") or not hasattr(truth, "__iter__"):
        return False
    rows = list(truth) if getattr(truth, "ndim", 1) == 1 else []
    kinds = [isinstance(one, AnySet) or (isinstance(one, list | tuple) and all(isinstance(label, str) for label in one)) for one in rows]
    return bool(rows) and all(kinds) and any(len(one) for one in rows)
