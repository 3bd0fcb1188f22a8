"""Before an attack is believed: is the victim one that attacks can measure at all?

The plain checks together cost 12 forwards and 3 backwards of at most 64 samples, and some passes of 1 to 4
samples; an adapter that searches on a private copy makes that copy on the first gradient. Deep checks attack
the victim at the radius of the threat, each as dear as its `cost` says.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from sparring.core.domain import Batch
from sparring.core.errors import EndpointError
from sparring.core.registry import everything, register
from sparring.core.threat import Threat, lead
from sparring.core.victim import Graded, Victim, label_of, say_set
from sparring.data.dataset import Data

MOST = 64
"""Samples looked at."""

Verdict = Literal["ok", "caution", "bad", "not applicable"]


@dataclass(frozen=True)
class Finding:
    """What one check saw. finding: a sentence with the values; cure: a sentence that says what to do."""

    code: str
    name: str
    title: str
    value: float | str | None
    threshold: float | str | None
    verdict: Verdict
    finding: str
    cure: str

    def describe(self) -> dict[str, Any]:
        """Plain JSON for the record, which has no word for NaN or infinity."""
        return {key: str(one) if isinstance(one, float) and not math.isfinite(one) else one for key, one in asdict(self).items()}


class Opinion(NamedTuple):
    """What a check returns; the rest of the finding is known from its registration."""

    verdict: Verdict
    finding: str
    cure: str = "Nothing to do."
    value: float | str | None = None
    threshold: float | str | None = None


class Answers(NamedTuple):
    """labels: int64 [n], -1 without an answer. scores: [n, C], None where only labels are exposed."""

    labels: Tensor
    scores: Tensor | None


class Difference(NamedTuple):
    """changed: how many predicted classes differ. largest: relative L2 distance of two rows of scores."""

    changed: int
    largest: float


def cross_entropy(scores: Tensor, y: Tensor) -> Tensor:
    """[n]: the usual loss, taking scores for logits."""
    return nn.functional.cross_entropy(scores, y, reduction="none")


def dlr(scores: Tensor, y: Tensor) -> Tensor:
    """[n]: difference of logits ratio (Croce and Hein 2020, equation 6); needs three classes."""
    ranked = scores.sort(1, descending=True).values
    return lead(scores, y) / (ranked[:, 0] - ranked[:, 2] + 1e-12)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"cross-entropy": cross_entropy, "margin": lead, "DLR": dlr}


@dataclass(frozen=True)
class Patient:
    """A victim and the samples it is examined on. What several checks need is asked once. Use inside `victim.session()`."""

    victim: Victim
    x: Batch
    y: Tensor
    threat: Threat
    seed: int = 0

    def __len__(self) -> int:
        return len(self.y)

    @property
    def offers(self) -> frozenset[str]:
        """What the victim exposes; who gives scores gives labels."""
        exposes = self.victim.exposes
        return exposes | {"labels"} if "scores" in exposes else exposes

    @property
    def module(self) -> nn.Module | None:
        """The user's own module, where the victim is one."""
        module = getattr(self.victim, "module", None)
        return module if isinstance(module, nn.Module) else None

    def ask(self, x: Batch) -> Answers:
        """Answers of the deployed model."""
        if "scores" not in self.offers:
            return Answers(self.victim.label(x), None)
        scores = self.victim.scores(x).detach()
        return Answers(label_of(scores), scores)

    @cached_property
    def clean(self) -> Answers:
        """Answers about the samples as they are."""
        return self.ask(self.x)

    @property
    def probabilities(self) -> bool:
        """Do all rows of scores look like probabilities?"""
        scores = self.clean.scores
        if scores is None or scores.shape[1] < 2:
            return False
        slack = max(1e-5, 4 * torch.finfo(scores.dtype).eps)
        within = (scores >= -slack) & (scores <= 1 + slack)
        return bool(within.all()) and bool(((scores.sum(1) - 1).abs() < slack).all())

    @property
    def tolerance(self) -> float:
        """Relative difference that rounding alone explains. Accelerators multiply with 10-bit mantissas unless told otherwise."""
        scores, device = self.clean.scores, getattr(self.victim, "device", None)
        coarse = 2e-3 if device is not None and torch.device(device).type != "cpu" else 1e-4
        return coarse if scores is None else max(coarse, 4 * torch.finfo(scores.dtype).eps)

    def gradient(self, loss: str) -> Graded:
        """Scores, values and gradients of one of LOSSES, asked once."""
        return self._graded(loss)[0]

    @property
    def attached(self) -> bool:
        """Do the scores depend on the inputs as far as autograd can see?"""
        return self._graded("cross-entropy")[1]

    def _graded(self, loss: str) -> tuple[Graded, bool]:
        kept: dict[str, Any] = self.__dict__.setdefault("_kept", {})
        if loss not in kept:
            kept[loss] = self._ask_gradient(loss)
        if isinstance(kept[loss], Exception):
            raise kept[loss]
        return kept[loss]

    def _ask_gradient(self, loss: str) -> tuple[Graded, bool] | Exception:
        seen: list[bool] = []

        def objective(scores: Tensor) -> Tensor:
            seen.append(scores.requires_grad)
            return LOSSES[loss](scores, self.y.to(scores.device))

        try:
            return self.victim.gradient(self.x, objective), any(seen)
        except Exception as error:  # kept, and raised again in every check that asks
            return error


def compare(one: Answers, two: Answers) -> Difference:
    """How far two answers to the same question are apart."""
    changed = int((one.labels != two.labels).sum())
    if one.scores is None or two.scores is None:
        return Difference(changed, 0.0)
    a, b = one.scores.double(), two.scores.double()
    size = torch.maximum(a.norm(dim=1), b.norm(dim=1)).clamp_min(1e-30)
    apart = ((a - b).norm(dim=1) / size).nan_to_num(0.0, 0.0)  # rows without finite scores: labels and D7 tell
    return Difference(changed, float(apart.max()))


@dataclass(frozen=True)
class Check:
    """A registered check. needs: what the victim must expose and the threat grant. cost: passes for each sample, about;
    0 where it is one of the plain checks, which every evaluation makes."""

    name: str
    code: str
    title: str
    needs: frozenset[str]
    look: Callable[[Patient], Opinion]
    cost: int = 0

    @property
    def deep(self) -> bool:
        """Made only when asked for, or when a plain check is not in order."""
        return self.cost > 0

    def examine(self, patient: Patient) -> Finding:
        """The finding for this patient; a check that fails is a bad finding, not a crash."""
        opinion = self._opinion(patient)
        return Finding(self.code, self.name, self.title, opinion.value, opinion.threshold, opinion.verdict, opinion.finding, opinion.cure)

    def _opinion(self, patient: Patient) -> Opinion:
        if missing := self.needs - patient.offers:
            seen = f"This needs {say_set(missing)}; {patient.victim.name} exposes {say_set(patient.victim.exposes)}."
            return Opinion("not applicable", seen)
        if missing := self.needs - patient.threat.grants:
            return Opinion("not applicable", f"This concerns {say_set(missing)}; the threat grants {patient.threat.access} only.")
        try:
            return self.look(patient)
        except EndpointError:  # nothing can be said about a model that does not answer
            raise
        except Exception as error:
            seen = f"The check could not be carried out: {type(error).__name__}: {error}"
            return Opinion("bad", seen, f"Ask the model for the first {len(patient)} samples by hand and mend what fails.")


def check(*, code: str, title: str, needs: set[str], cost: int = 0) -> Callable[[Callable[[Patient], Opinion]], Check]:
    """Register a function `(patient) -> opinion` as a check under its own name. cost: passes for each sample of a deep check."""

    def enter(look: Callable[[Patient], Opinion]) -> Check:
        made = Check(look.__name__, code, title, frozenset(needs), look, cost)
        object.__setattr__(made, "__doc__", look.__doc__)
        object.__setattr__(made, "__module__", look.__module__)
        return register("check", made.name)(made)

    return enter


def examine(victim: Victim, data: Data, threat: Threat, *, samples: int = MOST, deep: bool | None = False, seed: int = 0) -> list[Finding]:
    """All registered checks in order of their codes, on the first samples of the data (64 at most).

    deep: also those that attack, at the radius of the threat; None: if a plain check is not in order. seed: of their dice.
    """
    some = data.take(min(samples, MOST))
    with victim.session():
        return look_over(Patient(victim, some.x, some.y, threat, seed), deep=deep)


def look_over(patient: Patient, *, deep: bool | None = False) -> list[Finding]:
    """As `examine`, inside a session that is open."""
    checks: list[Check] = sorted(everything("check").values(), key=lambda one: (len(one.code), one.code))
    findings = [one.examine(patient) for one in checks if not one.deep]
    if deep or (deep is None and trust(findings) != "reliable"):
        findings += [one.examine(patient) for one in checks if one.deep]
    return findings


def trust(findings: Iterable[Finding]) -> Literal["reliable", "caution", "unreliable"]:
    """What the findings together say about a robust accuracy: one bad finding and it is unreliable."""
    verdicts = {one.verdict for one in findings}
    return "unreliable" if "bad" in verdicts else "caution" if "caution" in verdicts else "reliable"
