"""Before an attack is believed: is the victim one that attacks can measure at all?

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

from sparring.attacks.losses import loss_of
from sparring.core.domain import Batch
from sparring.core.errors import EndpointError
from sparring.core.registry import everything, register
from sparring.core.show import rows_table
from sparring.core.threat import Threat
from sparring.core.victim import Graded, Victim, say_set
from sparring.data.dataset import Data
from sparring.tasks.classes import ClassCriterion, label_of

MOST = 64
"""Samples looked at."""

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
    """Hold what all checks saw, in the order of their codes."""

    @property
    def verdict(self) -> str:
        """Return reliable, caution or unreliable: what the worst finding says of an evaluation."""
        return trust(self)

    def __repr__(self) -> str:
        wrong = [f"{one.code} {one.verdict}" for one in self if one.verdict in ("bad", "caution")]
        return f"Findings({self.verdict}; {', '.join(wrong) or 'nothing wrong'} in {len(self)} checks)"

    def _repr_html_(self) -> str:
        """Return a table for notebooks: one row per check."""
        return rows_table(("check", "what", "verdict", "finding", "cure"), [(one.code, one.title, one.verdict, one.finding, one.cure) for one in self])


class Opinion(NamedTuple):
    """Hold what a check returns; the rest of the finding is known from its registration."""

    verdict: Verdict
    finding: str
    cure: str = "Nothing to do."
    value: float | str | None = None
    threshold: float | str | None = None


class Answers(NamedTuple):
    """Hold labels and scores of a batch.

    labels: int64 [n], -1 without an answer. scores: [n, C], None where only labels are exposed.
    """

    labels: Tensor
    scores: Tensor | None


class Difference(NamedTuple):
    """Hold by how much two batches of answers differ.

    changed: how many predicted classes differ. largest: relative L2 distance of two rows of scores.
    """

    changed: int
    largest: float


LOSSES = {"cross-entropy": "ce", "margin": "margin", "DLR": "dlr"}
"""Losses whose gradients are examined, by the words of the findings; the names are those of the registered losses."""


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
    def offers(self) -> frozenset[str]:
        """Return what the victim exposes; a victim that gives scores gives labels."""
        exposes = self.victim.exposes
        return exposes | {"labels"} if "scores" in exposes else exposes

    @property
    def module(self) -> nn.Module | None:
        """Return the user's own module, where the victim is one."""
        module = getattr(self.victim, "module", None)
        return module if isinstance(module, nn.Module) else None

    def ask(self, x: Batch) -> Answers:
        """Return answers of the deployed model."""
        if "scores" not in self.offers:
            return Answers(self.victim.label(x), None)
        scores = self.victim.scores(x).detach()
        return Answers(label_of(scores), scores)

    @cached_property
    def clean(self) -> Answers:
        """Return answers about the samples as they are, asked once."""
        return self.ask(self.x)

    @property
    def probabilities(self) -> bool:
        """Return whether all rows of scores look like probabilities."""
        scores = self.clean.scores
        if scores is None or scores.shape[1] < 2:
            return False
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
        """Return Scores, values and gradients of one of LOSSES, asked once."""
        return self._graded(loss)[0]

    @property
    def attached(self) -> bool:
        """Return whether the scores depend on the inputs as far as autograd can see."""
        return self._graded("cross-entropy")[1]

    def _graded(self, loss: str) -> tuple[Graded, bool]:
        found = self.kept(f"gradient {loss}", lambda: self._ask_gradient(loss))
        if isinstance(found, Exception):
            raise found
        return found

    def _ask_gradient(self, loss: str) -> tuple[Graded, bool] | Exception:
        seen: list[bool] = []

        def objective(scores: Tensor) -> Tensor:
            seen.append(scores.requires_grad)
            return loss_of(LOSSES[loss])(scores, ClassCriterion.leaving(self.y.to(scores.device)))

        try:
            return self.victim.gradient(self.x, objective), any(seen)
        except Exception as error:  # kept, and raised again in every check that asks
            return error


def compare(one: Answers, two: Answers) -> Difference:
    """Return how far two answers to the same question are apart."""
    changed = int((one.labels != two.labels).sum())
    if one.scores is None or two.scores is None:
        return Difference(changed, 0.0)
    a, b = one.scores.double(), two.scores.double()
    size = torch.maximum(a.norm(dim=1), b.norm(dim=1)).clamp_min(1e-30)
    apart = ((a - b).norm(dim=1) / size).nan_to_num(0.0, 0.0)  # rows without finite scores: labels and D7 tell
    return Difference(changed, float(apart.max()))


@dataclass(frozen=True)
class Check:
    """Represent a registered check.

    needs: what the victim must expose and the threat grant. cost: passes for each sample, about; 0 where it is one of the
    plain checks, which every evaluation makes. tasks: kinds of task whose answers it can read.
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
        if subject.victim.task.kind not in self.tasks:
            return Opinion("not applicable", f"This reads {say_set(self.tasks)}; {subject.victim.name} answers {subject.victim.task}.")
        if missing := self.needs - subject.offers:
            seen = f"This needs {say_set(missing)}; {subject.victim.name} exposes {say_set(subject.victim.exposes)}."
            return Opinion("not applicable", seen)
        if missing := self.needs - subject.threat.grants:
            return Opinion("not applicable", f"This concerns {say_set(missing)}; the threat grants {subject.threat.access} only.")
        try:
            return self.look(subject)
        except EndpointError:  # nothing can be said about a model that does not answer
            raise
        except Exception as error:
            seen = f"The check could not be carried out: {type(error).__name__}: {error}"
            return Opinion("bad", seen, f"Ask the model for the first {len(subject)} samples by hand and mend what fails.")


def check(
    *, code: str, title: str, needs: set[str], cost: int = 0, tasks: Set[str] = frozenset({"classes"})
) -> Callable[[Callable[[Subject], Opinion]], Check]:
    """Register a function `(subject) -> opinion` as a check under its own name.

    cost: passes for each sample of a deep check. tasks: kinds of task whose answers it can read.
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
    """Return what the findings say about a robust accuracy; one bad finding makes it unreliable."""
    verdicts = {one.verdict for one in findings}
    return "unreliable" if "bad" in verdicts else "caution" if "caution" in verdicts else "reliable"
