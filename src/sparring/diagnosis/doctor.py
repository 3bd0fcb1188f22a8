"""Checks a victim for faults that would make the result of an attack meaningless.

The plain checks together cost 12 forwards and 3 backwards of at most 64 samples, and some passes of 1 to 4
samples; an adapter that searches on a private copy makes that copy on the first gradient. Deep checks attack
the victim at the radius of the threat, each as dear as its `cost` says.
"""

import math
from collections.abc import Callable, Iterable, Set
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from sparring.attacks.losses import NamedLoss, loss_of
from sparring.core.domain import Batch
from sparring.core.errors import EndpointError
from sparring.core.goal import Criterion
from sparring.core.registry import everything, register
from sparring.core.show import rows_table
from sparring.core.task import Task
from sparring.core.threat import Threat
from sparring.core.victim import Graded, Victim, say_set
from sparring.data.dataset import Data

MOST = 64
"""Number of samples that the checks use."""

Asked = TypeVar("Asked")
Verdict = Literal["ok", "caution", "bad", "not applicable"]


@dataclass(frozen=True, repr=False)
class Finding:
    """Hold the result of one check.

    finding: a sentence with the values; cure: a sentence that says what to do.
    """

    code: str
    name: str
    title: str
    value: float | str | None
    threshold: float | str | None
    verdict: Verdict
    finding: str
    cure: str

    def __repr__(self) -> str:
        return f"<finding {self.code} {self.name}: {self.verdict}>"

    def describe(self) -> dict[str, Any]:
        """Return plain JSON for the record, which has no word for NaN or infinity."""
        return {key: str(one) if isinstance(one, float) and not math.isfinite(one) else one for key, one in asdict(self).items()}


class Findings(list[Finding]):
    """Hold the findings of all checks, in the order of their codes."""

    @property
    def verdict(self) -> str:
        """Return reliable, caution or unreliable, according to the worst finding."""
        return trust(self)

    def __repr__(self) -> str:
        wrong = [f"{one.code} {one.verdict}" for one in self if one.verdict in ("bad", "caution")]
        return f"Findings({self.verdict}; {', '.join(wrong) or 'nothing wrong'} in {len(self)} checks)"

    def _repr_html_(self) -> str:
        """Return a table for notebooks: one row per check."""
        return rows_table(("check", "what", "verdict", "finding", "cure"), [(one.code, one.title, one.verdict, one.finding, one.cure) for one in self])


class Opinion(NamedTuple):
    """Hold the result of a check; its registration provides the rest of the finding."""

    verdict: Verdict
    finding: str
    cure: str = "Nothing to do."
    value: float | str | None = None
    threshold: float | str | None = None


class Answers(NamedTuple):
    """Hold labels and scores of a batch.

    labels: int64 [n], -1 without an answer; for classes the class, for other answers 1 where they are right and 0 where they are wrong.
    scores: [n, ...], None where only labels are exposed. given: the answers in the form of the task.
    """

    labels: Tensor
    scores: Tensor | None
    given: Tensor
    task: Task

    def take(self, count: int) -> "Answers":
        """Return the first of these answers."""
        return self._replace(labels=self.labels[:count], scores=None if self.scores is None else self.scores[:count], given=self.given[:count])


class Decisions(NamedTuple):
    """Hold the choices between classes that answers consist of: samples, pixels or labels.

    scores: [m, C]. truth: int64 [m]. sample: int64 [m], the sample that each belongs to.
    """

    scores: Tensor
    truth: Tensor
    sample: Tensor


class Difference(NamedTuple):
    """Hold the difference between two batches of answers.

    changed: how many labels differ. largest: relative L2 distance of two rows of scores.
    """

    changed: int
    largest: float


LOSSES = {"cross-entropy": "ce", "margin": "margin", "DLR": "dlr"}
"""Losses whose gradients are examined, by the words of the findings; the names are those of the registered losses."""

OWN_LOSS = {"the loss of the goal": "margin"}
"""The same where the losses of LOSSES are no different ones, as for values."""

EVERY_TASK: frozenset[str] = frozenset()
"""Declared by a check that reads answers and scores by way of the task alone."""


@dataclass(frozen=True)
class Subject:
    """Represent a victim and the samples it is examined on, used inside `victim.session()`.

    answers: what was asked so far, by question; what several checks need is asked once. A subject with another victim begins without any.
    """

    victim: Victim
    x: Batch
    y: Tensor
    threat: Threat
    seed: int = 0
    answers: dict[str, Any] = field(default_factory=dict, init=False, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.y)

    def kept(self, key: str, ask: Callable[[], Asked]) -> Asked:
        """Return the answer to a question that several checks have, and ask it the first time only."""
        if key not in self.answers:
            self.answers[key] = ask()
        return self.answers[key]

    @property
    def task(self) -> Task:
        """Return what the victim answers.

        What nobody said, such as the tolerance of values, is taken from these samples.
        """
        return self.kept("task", lambda: self.victim.task.measured(self.y))

    @property
    def criterion(self) -> Criterion:
        """Return the criterion of an answer that counts as wrong."""
        return self.kept("criterion", lambda: self.task.wrong(self.y))

    @property
    def losses(self) -> dict[str, str]:
        """Return the losses whose gradients are examined, from words to names."""
        functions = {_variant(loss_of(name), type(self.criterion)) for name in LOSSES.values()}
        return LOSSES if None not in functions and len(functions) == len(LOSSES) else OWN_LOSS

    def decisions(self, scores: Tensor) -> Decisions | None:
        """Return the choices between classes that scores [n, C, ...] stand for.

        Those count that the truth counts. A score per label is the choice between it and 0. None where answers are no such choices.
        """
        y = self.y.to(scores.device)
        if not y.is_floating_point() and scores.shape == y.shape:
            scores = torch.stack([torch.zeros_like(scores), scores], 1)
        if y.is_floating_point() or scores.ndim != y.ndim + 1:
            return None
        truth, rows = y.reshape(-1), scores.movedim(1, -1).reshape(-1, scores.shape[1])
        sample = torch.arange(len(y), device=y.device).repeat_interleave(truth.numel() // len(y))
        counted = truth >= 0
        return Decisions(rows[counted], truth[counted], sample[counted])

    def right(self, answers: Answers) -> Tensor:
        """Return bool [n]: which answers about the samples are right."""
        return answers.labels.to(self.y.device) == (self.y if self.y.ndim == 1 and not self.y.is_floating_point() else 1)

    def mixture(self, scores: Tensor) -> Tensor:
        """Return one number per sample, [n], in which every score has a part.

        For classes it is the margin, else the sum of the scores with fixed random signs.
        """
        if self.y.ndim == 1 and not self.y.is_floating_point():
            return self.criterion.loss(scores)
        signs = torch.randint(0, 2, scores.shape[1:], generator=torch.Generator().manual_seed(self.seed)) * 2 - 1
        return (scores * signs.to(scores)).flatten(1).sum(1)

    @property
    def offers(self) -> frozenset[str]:
        """Return the access levels that the victim exposes; scores include labels."""
        exposes = self.victim.exposes
        return exposes | {"labels"} if "scores" in exposes else exposes

    @property
    def module(self) -> nn.Module | None:
        """Return the user's own module, where the victim is one."""
        module = getattr(self.victim, "module", None)
        return module if isinstance(module, nn.Module) else None

    def ask(self, x: Batch, truth: Tensor | None = None) -> Answers:
        """Return answers of the deployed model; truth: where x are not the first samples."""
        if "scores" not in self.offers:
            given, scores = self.victim.answer(x), None
        else:
            scores = self.victim.scores(x).detach()
            given = self.task.answer(scores)
        return Answers(self.told(given, truth), scores, given, self.task)

    def told(self, answer: Tensor, truth: Tensor | None = None) -> Tensor:
        """Return answers as labels, see `Answers`.

        truth: where they are not about the first samples.
        """
        if answer.ndim == 1 and not answer.is_floating_point():
            return answer
        right = self.task.right(answer, (self.y[: len(answer)] if truth is None else truth).to(answer.device))
        return right.long().where(self.task.answered(answer), -1)

    @cached_property
    def clean(self) -> Answers:
        """Return the answers for the clean samples, computed once."""
        return self.ask(self.x)

    @property
    def unit(self) -> str:
        """Return what `decisions` are made about: samples, pixels or labels."""
        scores = self.clean.scores
        return "samples" if self.y.ndim == 1 else "labels" if scores is not None and scores.shape == self.y.shape else "pixels"

    @property
    def probabilities(self) -> bool:
        """Return whether all rows of scores look like probabilities."""
        found = None if self.clean.scores is None else self.decisions(self.clean.scores)
        if found is None:
            return False
        scores = found.scores
        slack = max(1e-5, 4 * torch.finfo(scores.dtype).eps)
        within = (scores >= -slack) & (scores <= 1 + slack)
        return bool(within.all()) and bool(((scores.sum(1) - 1).abs() < slack).all())

    @property
    def tolerance(self) -> float:
        """Return the relative difference that rounding alone explains.

        Accelerators multiply with 10-bit mantissas unless told otherwise.
        """
        scores, device = self.clean.scores, getattr(self.victim, "device", None)
        coarse = 2e-3 if device is not None and torch.device(device).type != "cpu" else 1e-4
        return coarse if scores is None else max(coarse, 4 * torch.finfo(scores.dtype).eps)

    def gradient(self, loss: str) -> Graded:
        """Return scores, values and gradients of one of `losses`, computed once."""
        return self._graded(loss)[0]

    @property
    def attached(self) -> bool:
        """Return whether the scores depend on the inputs as far as autograd can see."""
        return self._graded(next(iter(self.losses)))[1]

    def _graded(self, loss: str) -> tuple[Graded, bool]:
        found = self.kept(f"gradient {loss}", lambda: self._ask_gradient(loss))
        if isinstance(found, Exception):
            raise found
        return found

    def _ask_gradient(self, loss: str) -> tuple[Graded, bool] | Exception:
        seen: list[bool] = []

        def objective(scores: Tensor) -> Tensor:
            seen.append(scores.requires_grad)
            return loss_of(self.losses[loss])(scores, self.task.wrong(self.y.to(scores.device)))

        try:
            return self.victim.gradient(self.x, objective), any(seen)
        except Exception as error:  # kept, and raised again in every check that asks
            return error


def differing(one: Answers, two: Answers) -> Tensor:
    """Return bool [n]: which answers to the same question are not the same.

    Classes are the same where they are equal, other answers where one would not count as wrong if the other were true.
    """
    if one.given.ndim == 1 and not one.given.is_floating_point():
        return one.labels != two.labels
    both = one.task.answered(one.given) & one.task.answered(two.given)
    known = both.reshape(-1, *[1] * (one.given.ndim - 1))
    like = torch.zeros_like(one.given)
    return (both & ~one.task.right(two.given.where(known, like), one.given.where(known, like))) | ((one.labels < 0) != (two.labels < 0))


def compare(one: Answers, two: Answers) -> Difference:
    """Return how far two answers to the same question are apart."""
    changed = int(differing(one, two).sum())
    if one.scores is None or two.scores is None:
        return Difference(changed, 0.0)
    a, b = one.scores.double().flatten(1), two.scores.double().flatten(1)
    size = torch.maximum(a.norm(dim=1), b.norm(dim=1)).clamp_min(1e-30)
    apart = ((a - b).norm(dim=1) / size).nan_to_num(0.0, 0.0)  # rows without finite scores: labels and D7 tell
    return Difference(changed, float(apart.max()))


def _variant(loss: Any, kind: type) -> Callable[..., Tensor] | None:
    """The function that a loss is for criteria of a kind; None where it has none."""
    return loss.variant(kind) if isinstance(loss, NamedLoss) and loss.fits(kind) else None


@dataclass(frozen=True)
class Check:
    """Represent a registered check.

    needs: what the victim must expose and the threat grant. cost: passes for each sample, about; 0 where it is one of the
    plain checks, which every evaluation makes. tasks: kinds of task whose answers it can read, empty for all.
    """

    name: str
    code: str
    title: str
    needs: frozenset[str]
    look: Callable[[Subject], Opinion]
    cost: int = 0
    tasks: frozenset[str] = frozenset({"classes"})

    @property
    def deep(self) -> bool:
        """Return whether it runs only on request, or when a plain check is not in order."""
        return self.cost > 0

    def examine(self, subject: Subject) -> Finding:
        """Return the finding for this subject; a check that fails is a bad finding, not a crash."""
        opinion = self._opinion(subject)
        return Finding(self.code, self.name, self.title, opinion.value, opinion.threshold, opinion.verdict, opinion.finding, opinion.cure)

    def _opinion(self, subject: Subject) -> Opinion:
        if self.tasks and subject.victim.task.kind not in self.tasks:
            return Opinion("not applicable", f"The check supports {say_set(self.tasks)}, but {subject.victim.name} answers {subject.victim.task}.")
        if missing := self.needs - subject.offers:
            seen = f"The check needs {say_set(missing)}, but {subject.victim.name} exposes {say_set(subject.victim.exposes)}."
            return Opinion("not applicable", seen)
        if missing := self.needs - subject.threat.grants:
            return Opinion("not applicable", f"The check needs {say_set(missing)}, but the threat grants {subject.threat.access} only.")
        try:
            return self.look(subject)
        except EndpointError:  # nothing can be said about a model that does not answer
            raise
        except Exception as error:
            seen = f"The check could not be carried out: {type(error).__name__}: {error}"
            return Opinion("bad", seen, f"Run the model on the first {len(subject)} samples by hand and fix the failure.")


def check(
    *, code: str, title: str, needs: set[str], cost: int = 0, tasks: Set[str] = frozenset({"classes"})
) -> Callable[[Callable[[Subject], Opinion]], Check]:
    """Register a function `(subject) -> opinion` as a check under its own name.

    cost: passes for each sample of a deep check. tasks: kinds of task whose answers it can read, empty for all.
    """

    def enter(look: Callable[[Subject], Opinion]) -> Check:
        made = Check(look.__name__, code, title, frozenset(needs), look, cost, frozenset(tasks))
        object.__setattr__(made, "__doc__", look.__doc__)
        object.__setattr__(made, "__module__", look.__module__)
        return register("check", made.name)(made)

    return enter


def examine(victim: Victim, data: Data, threat: Threat, *, samples: int = MOST, deep: bool | None = False, seed: int = 0) -> list[Finding]:
    """Run all registered checks in order of their codes, on the first samples of the data.

    Args:
        victim: The model.
        data: Its samples.
        threat: Its radius bounds the checks that attack.
        samples: How many are looked at, 64 at most.
        deep: Also run the checks that attack, at the radius of the threat; None: if a plain check is not in order.
        seed: Of their rng.
    """
    some = data.take(min(samples, MOST))
    with victim.session():
        return look_over(Subject(victim, some.x, some.y, threat, seed), deep=deep)


def look_over(subject: Subject, *, deep: bool | None = False) -> list[Finding]:
    """Run the checks as `examine` does, inside a session that is open."""
    checks: list[Check] = sorted(everything("check").values(), key=lambda one: (len(one.code), one.code))
    findings = [one.examine(subject) for one in checks if not one.deep]
    if deep or (deep is None and trust(findings) != "reliable"):
        findings += [one.examine(subject) for one in checks if one.deep]
    return findings


def trust(findings: Iterable[Finding]) -> Literal["reliable", "caution", "unreliable"]:
    """Return the trust in a robust accuracy; one bad finding makes it unreliable."""
    verdicts = {one.verdict for one in findings}
    return "unreliable" if "bad" in verdicts else "caution" if "caution" in verdicts else "reliable"
