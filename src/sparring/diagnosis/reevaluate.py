"""An adaptive re-evaluation: tries adaptive attacks and reports the lowest robust accuracy found."""

import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from sparring.attacks.attack import Attack
from sparring.core.rate import Rate
from sparring.core.threat import Threat
from sparring.core.victim import Victim
from sparring.core.visible import visible
from sparring.data.dataset import Data
from sparring.diagnosis.doctor import MOST, Finding, Subject, look_over, trust
from sparring.diagnosis.probe import attempt, notable, right
from sparring.diagnosis.remedy import remedies

log = logging.getLogger(__name__)

PLAIN = 'pgd(steps=20, loss="ce")'


@dataclass(frozen=True)
class RemedyResult:
    """Hold the result of one remedy.

    tried: the attacks in words, none where the remedy does not apply. newly_broken: samples that nothing before broke.
    accuracy: of the samples looked at, after this remedy. forwards, backwards: passes, all samples together.
    """

    name: str
    tried: tuple[str, ...]
    newly_broken: int
    accuracy: float
    forwards: int
    backwards: int


@dataclass(frozen=True, repr=False)
class Reevaluation:
    """Hold the result of an adaptive re-evaluation.

    claimed: accuracy under the plain attack; best_known: under everything tried, sample by sample
    the worst. Both are upper bounds of the robust accuracy, with Wilson intervals.

    verdict: "reliable" where no check complains; "caution" where one does, or best_known lies clearly below claimed;
    "unreliable" where a check is bad: then best_known too is a bound that an attack made for this model may undercut.
    """

    model: str
    threat: dict[str, Any]
    plain: str
    clean: Rate
    claimed: Rate
    remedies: tuple[RemedyResult, ...]
    best_known: Rate
    verdict: Literal["reliable", "caution", "unreliable"]
    findings: tuple[Finding, ...]

    @property
    def fired(self) -> list[str]:
        """Return the codes of the checks that are not in order."""
        return [one.code for one in self.findings if one.verdict in ("bad", "caution")]

    def describe(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {
            "model": self.model,
            "threat": self.threat,
            "plain": self.plain,
            **{name: asdict(getattr(self, name)) for name in ("clean", "claimed", "best_known")},
            "remedies": [vars(one) | {"tried": list(one.tried)} for one in self.remedies],
            "verdict": self.verdict,
            "checks": [one.describe() for one in self.findings],
        }

    def __repr__(self) -> str:
        return f"<re-evaluation of {self.model}: {_brief(self.claimed)} claimed, {_brief(self.best_known)} best known, {self.verdict}>"

    def __str__(self) -> str:
        """In a few lines."""
        lines = [f"{visible(self.model)}: {_brief(self.claimed)} claimed under {self.plain}, {_brief(self.best_known)} best known: {self.verdict}"]
        lines += [f"  after {one.name}: {one.accuracy:.1%} ({one.newly_broken} more broken)" for one in self.remedies if one.tried]
        return "\n".join([*lines, f"  failed checks: {', '.join(self.fired) or 'none'}"])


def _brief(rate: Rate) -> str:
    """The rate with its interval, without the number of samples."""
    return f"{rate.value:.1%} [{rate.low:.1%}, {rate.high:.1%}]"


def reevaluate(victim: Victim, data: Data, threat: Threat, *, plain: str | Attack = PLAIN, samples: int = MOST, seed: int = 0) -> Reevaluation:
    """Attack plainly, run all checks, and try remedies in order on the samples that still hold.

    plain: the attack behind the claim. samples: looked at, 64 at most. The remedies: other losses; a copy in
    double precision; EOT where answers are random; BPDA of suspicious parts; transfer from a repaired twin and
    from inner classifiers; ten times the queries of check D22. The last is left out where no check is bad and
    nothing before it helped; all stop when nothing stands. A point counts if the deployed model, by a majority of
    draws where it is random, is broken by it.
    """
    some = data.take(min(samples, MOST))
    with victim.session(seed):
        subject = Subject(victim, some.x, some.y, threat, seed)
        findings = look_over(subject, deep=True)
        doubtful = any(one.verdict == "bad" for one in findings)
        broken = _claim(subject, plain)
        claimed, remedies = int((~broken).sum()), list(_remedies(subject, broken, doubtful))
    said = plain if isinstance(plain, str) else str(plain)
    count, best = len(some), int((~broken).sum())
    word = trust(findings)
    verdict = "caution" if word == "reliable" and notable(claimed - best, count) else word
    rates = [Rate.of(hits, count) for hits in (len(broken), claimed, best)]
    return Reevaluation(victim.name, threat.describe(), said, rates[0], rates[1], tuple(remedies), rates[2], verdict, tuple(findings))


def _claim(subject: Subject, plain: str | Attack) -> torch.Tensor:
    """bool [m]: what the plain attack breaks; nothing, where it fails: so would the evaluation behind the claim."""
    try:
        return attempt(subject, plain).broken.clone()
    except Exception:  # as in `_remedies`; the check D6 has told what is wrong
        log.warning("the plain attack on %s failed and is counted as breaking no sample", subject.victim.name, exc_info=True)
        return torch.zeros(len(right(subject)), dtype=torch.bool)


def _remedies(subject: Subject, broken: torch.Tensor, doubtful: bool) -> Iterator[RemedyResult]:
    """Try one after the other; writes into `broken`."""
    helped = False
    for remedy in remedies():
        tried, newly, passes = [], 0, [0, 0]
        for one in remedy.attempts(subject) if doubtful or helped or not remedy.only_if_doubtful else ():
            rows = (~broken).nonzero().squeeze(1)
            if not len(rows):
                break
            try:
                found = attempt(subject, one.attack, victim=one.victim, rows=rows)
            except Exception as error:  # a foreign model may fail where it is differentiated; that is told, and the next one tried
                tried.append(f"{one.label} (failed: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})")
                continue
            broken[rows[found.broken]] = True
            newly += int(found.broken.sum())
            passes = [passes[0] + found.forwards, passes[1] + found.backwards]
            tried.append(one.label)
        helped = helped or newly > 0
        yield RemedyResult(remedy.name, tuple(tried), newly, int((~broken).sum()) / len(subject), *passes)
