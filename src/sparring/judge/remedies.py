"""A second look: where an evaluation is in doubt, the attacks that would have been adaptive are tried, and the best known is told."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch

from sparring.attacks.attack import Attack
from sparring.core.threat import Threat
from sparring.core.victim import Victim
from sparring.data.dataset import Data
from sparring.judge.doctor import MOST, Finding, Patient, look_over, trust
from sparring.judge.trial import DRAWS, attempt, climbing, configured, deployed, is_random, losses, notable, right, square
from sparring.judge.variants import averaged, doubled, passed, twins
from sparring.models.eot import wilson

log = logging.getLogger(__name__)

PLAIN = 'pgd(steps=20, loss="ce")'
QUERIES = 2000
"""Ten times what the check D22 asks."""


class Share(NamedTuple):
    """value: in [0, 1], of n samples; low, high: the ends of its 95 % Wilson interval."""

    value: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, hits: int, n: int) -> "Share":
        value = torch.tensor(hits / n, dtype=torch.float64)
        low, high = wilson(value, n)
        return cls(float(value), float(low), float(high), n)

    def __str__(self) -> str:
        return f"{self.value:.1%} [{self.low:.1%}, {self.high:.1%}]"


class Trying(NamedTuple):
    """One attack of a remedy. victim: whom it searches on; None is the deployed model."""

    say: str
    attack: Attack
    victim: Victim | None


@dataclass(frozen=True)
class Remedy:
    """tried: the attacks in words, none where the remedy does not apply. newly_broken: samples that nothing before broke.
    accuracy: of the samples looked at, after this remedy. forwards, backwards: passes, all samples together."""

    name: str
    tried: tuple[str, ...]
    newly_broken: int
    accuracy: float
    forwards: int
    backwards: int


@dataclass(frozen=True)
class SecondLook:
    """What a second look found. claimed: accuracy under the plain attack; best_known: under everything tried, sample by sample
    the worst. Both are upper bounds of the robust accuracy, with Wilson intervals.

    verdict: "reliable" where no check complains; "caution" where one does, or best_known lies clearly below claimed;
    "unreliable" where a check is bad: then best_known too is a bound that an attack made for this model may undercut.
    """

    model: str
    threat: dict[str, Any]
    plain: str
    clean: Share
    claimed: Share
    remedies: tuple[Remedy, ...]
    best_known: Share
    verdict: Literal["reliable", "caution", "unreliable"]
    findings: tuple[Finding, ...]

    @property
    def fired(self) -> list[str]:
        """Codes of the checks that are not in order."""
        return [one.code for one in self.findings if one.verdict in ("bad", "caution")]

    def describe(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "model": self.model,
            "threat": self.threat,
            "plain": self.plain,
            **{name: getattr(self, name)._asdict() for name in ("clean", "claimed", "best_known")},
            "remedies": [vars(one) | {"tried": list(one.tried)} for one in self.remedies],
            "verdict": self.verdict,
            "checks": [one.describe() for one in self.findings],
        }

    def say(self) -> str:
        """In a few lines."""
        lines = [f"{self.model}: {self.claimed} claimed under {self.plain}, {self.best_known} best known: {self.verdict}"]
        lines += [f"  after {one.name}: {one.accuracy:.1%} ({one.newly_broken} more broken)" for one in self.remedies if one.tried]
        return "\n".join([*lines, f"  checks not in order: {', '.join(self.fired) or 'none'}"])


def second_look(victim: Victim, data: Data, threat: Threat, *, plain: str | Attack = PLAIN, samples: int = MOST, seed: int = 0) -> SecondLook:
    """Attack plainly, make all checks, then try remedies in order on what still stands, and say what is known.

    plain: the attack behind the claim. samples: looked at, 64 at most. The remedies: other losses; a copy in
    double precision; EOT where answers are random; BPDA of suspicious parts; transfer from a repaired twin and
    from inner classifiers; ten times the queries of check D22. The last is left out where no check is bad and
    nothing before it helped; all stop when nothing stands. A point counts if the deployed model, by a majority of
    draws where it is random, is broken by it.
    """
    some = data.take(min(samples, MOST))
    with victim.session(seed):
        patient = Patient(victim, some.x, some.y, threat, seed)
        findings = look_over(patient, deep=True)
        doubtful = any(one.verdict == "bad" for one in findings)
        broken = _claim(patient, plain)
        claimed, remedies = int((~broken).sum()), list(_remedies(patient, broken, doubtful))
    said = plain if isinstance(plain, str) else plain.say()
    count, best = len(some), int((~broken).sum())
    word = trust(findings)
    verdict = "caution" if word == "reliable" and notable(claimed - best, count) else word
    rates = [Share.of(hits, count) for hits in (len(broken), claimed, best)]
    return SecondLook(victim.name, threat.describe(), said, rates[0], rates[1], tuple(remedies), rates[2], verdict, tuple(findings))


def _claim(patient: Patient, plain: str | Attack) -> torch.Tensor:
    """bool [m]: what the plain attack breaks; nothing, where it fails: so would the evaluation behind the claim."""
    try:
        return attempt(patient, plain).broken.clone()
    except Exception:  # as in `_remedies`; the check D6 has told what is wrong
        log.warning("the plain attack on %s failed and is counted as breaking nothing", patient.victim.name, exc_info=True)
        return torch.zeros(len(right(patient)), dtype=torch.bool)


def _remedies(patient: Patient, broken: torch.Tensor, doubtful: bool) -> Iterator[Remedy]:
    """Try one after the other; writes into `broken`."""
    helped = False
    for name, plan in REMEDIES.items():
        tried, newly, passes = [], 0, [0, 0]
        for one in plan(patient) if name != "ten times the queries" or doubtful or helped else ():
            rows = (~broken).nonzero().squeeze(1)
            if not len(rows):
                break
            try:
                found = attempt(patient, one.attack, victim=one.victim, rows=rows)
            except Exception as error:  # a foreign model may fail where it is differentiated; that is told, and the next one tried
                tried.append(f"{one.say} (failed: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})")
                continue
            broken[rows[found.broken]] = True
            newly += int(found.broken.sum())
            passes = [passes[0] + found.forwards, passes[1] + found.backwards]
            tried.append(one.say)
        helped = helped or newly > 0
        yield Remedy(name, tuple(tried), newly, int((~broken).sum()) / len(patient), *passes)


def _searches(patient: Patient, *texts: str) -> list[Attack]:
    """Those of the attacks that fit."""
    return [one for one in map(configured, texts) if one.misfit(patient.victim, patient.threat) is None]


def _goal(patient: Patient) -> list[Attack]:
    """The goal's own margin as the loss, where it is not one of the usual goals."""
    fits = configured("pgd").misfit(patient.victim, patient.threat) is None
    return [climbing("margin of the goal", restarts=2)] if fits and patient.threat.goal.kind not in ("untargeted", "targeted") else []


def _losses(patient: Patient) -> Iterator[Trying]:
    many = patient.victim.classes > 2
    texts = [f'pgd(steps=40, loss="{loss}", restarts=2)' for loss in losses() if loss != "dlr" or many]
    texts += ['apgd(steps=50, loss="dlr")', "apgd_t(steps=30, targets=3)"] if many else []
    yield from (Trying(one.say(), one, None) for one in [*_goal(patient), *_searches(patient, *texts)])


def _double(patient: Patient) -> Iterator[Trying]:
    for variant in doubled(patient):
        for one in _searches(patient, 'pgd(steps=40, loss="ce")', 'pgd(steps=40, loss="margin")'):
            yield Trying(f"{one.say()} on {variant.say}", one, variant.victim)


def _average(patient: Patient) -> Iterator[Trying]:
    for variant in averaged(patient):
        for one in _searches(patient, 'pgd(steps=20, loss="margin")', 'pgd(steps=40, loss="margin", restarts=2)', 'pgd(steps=40, loss="ce")'):
            yield Trying(f"{one.say()} with {variant.say}", one, variant.victim)


def _pass(patient: Patient) -> Iterator[Trying]:
    for variant in passed(patient):
        texts = (
            'pgd(steps=40, loss="margin")',
            'pgd(steps=40, loss="ce", restarts=2)',
            'pgd(steps=20, loss="margin", restarts=2, step_size=0.25)',
            "apgd_t(steps=30, targets=3)",
        )
        for one in [*_goal(patient), *_searches(patient, *texts)]:
            yield Trying(f"{one.say()} with {variant.say}", one, variant.victim)


def _transfer(patient: Patient) -> Iterator[Trying]:
    for variant in twins(patient, inside=True):
        for one in [*_goal(patient), *_searches(patient, 'pgd(steps=40, loss="margin", restarts=2)', 'pgd(steps=40, loss="ce")')]:
            yield Trying(f"{one.say()} by {variant.say}", one, variant.victim)


def _queries(patient: Patient) -> Iterator[Trying]:
    loose = is_random(patient)
    one = square(patient, QUERIES // DRAWS if loose else QUERIES)
    if one is not None:
        yield Trying(one.say(), one, deployed(patient) if loose else None)


REMEDIES: dict[str, Callable[[Patient], Iterator[Trying]]] = {
    "another loss": _losses,
    "double precision": _double,
    "averaging (EOT)": _average,
    "passing suspicious parts (BPDA)": _pass,
    "transfer": _transfer,
    "ten times the queries": _queries,
}
