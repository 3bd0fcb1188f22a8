"""Certify a radius in which a smoothed classifier keeps its class, with a stated confidence."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from sparring.certification.certificate import Certificate, Verdict
from sparring.certification.certifier import Limit, certifier
from sparring.certification.smoothing.confidence import lower_bound, p_value, sequence_p_value, upper_bound
from sparring.certification.smoothing.float_sound import GridGaussian
from sparring.certification.smoothing.sequential import Look, looks
from sparring.certification.smoothing.smoothed import PIECE, SmoothedVictim
from sparring.core.errors import PlanError
from sparring.core.rng import Rng
from sparring.core.threat import Threat
from sparring.core.victim import Victim
from sparring.tasks.classes import ClassCriterion, of_classes

MOST = 10**9
"""Draws beyond which no advice is given."""


def _misfit(victim: Victim, threat: Threat) -> str:
    if isinstance(victim, SmoothedVictim) and not victim.noise.share(threat.space.kind, 1):
        return f"{victim.noise} certifies {victim.noise.norm}: use gaussian for l2, l1 and linf, uniform for l1, l2 and linf, ablation for l0"
    return ""


@dataclass(frozen=True)
class Effort:
    """Hold how one sample is certified.

    How one sample is certified. alpha: of this sample, after what the family takes.
    """

    n0: int
    n: int
    alpha: float
    joint: bool
    sequential: bool
    family: int


class Evidence(NamedTuple):
    """Hold the evidence of a certificate.

    What a certificate rests on, in its `proof`. label: the smoothed class. hits of draws fell on it. low, high: bounds on its probability and
    on that of any other class. p_value: against the asked radius, for `holm`.
    """

    label: int
    hits: int
    draws: int
    low: float
    high: float
    p_value: float


@certifier(
    "smoothing",
    _misfit,
    victims=Limit((SmoothedVictim,), "it certifies smoothed classifiers: wrap the victim, sp.smoothed(victim, sigma=0.25)"),
    cites="Cohen et al. 2019, arXiv:1902.02918",
    order=40,
    statistical=True,
)
def smoothing(
    victim: Victim,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    rng: Rng,
    *,
    seconds: float | None = None,
    n0: int = 100,
    n: int = 10_000,
    alpha: float = 0.001,
    joint: bool = False,
    sequential: bool = False,
    family: int = 1,
) -> list[Certificate]:
    """Certify each sample of a `SmoothedVictim`.

    n0: copies that choose the class. n: fresh copies that bound its probability, by Clopper and Pearson. alpha: chance that the certificate
    of a sample is false. joint: bound the other classes from above too, each with its share of alpha (half goes to the class itself, the
    other half is divided evenly), which helps where no class has nearly all votes. sequential: look after every some copies and end as soon as
    the asked radius is decided (`looks`); what is said holds all the same. family: number of samples about which all statements together
    are to be true with confidence 1 - alpha; each gets alpha / family (Bonferroni; `holm([one.proof.p_value for one in certificates], alpha)` proves more).

    Proved: the smoothed class meets no goal of the threat, and stays the same within the asked radius. Certificate.radius is what was shown,
    more than asked or, where unknown, less. Refuted: the sample meets the goal as it is, with the same confidence. seconds: a sample
    that is not through by then is unknown; sequentially, what its copies have said stands.
    """
    if any(isinstance(count, bool) or not isinstance(count, int) or count < 1 for count in (n0, n, family)) or not 0 < alpha < 1:
        raise PlanError(f"smoothing(n0={n0}, n={n}, alpha={alpha}, family={family}): give whole counts of at least 1, and alpha between 0 and 1")
    if joint and sequential:
        raise PlanError("smoothing(joint=True, sequential=True): the sequential bound supports one class only; leave out one of the two")
    assert isinstance(victim, SmoothedVictim)  # `check` refuses others
    effort = Effort(n0, n, alpha / family, joint, sequential, family)
    criterion = of_classes(threat.goal.freeze(y, victim.task, rng))
    radii = threat.space.radii(len(x)).tolist()
    found = []
    with victim.session():
        for row, asked in enumerate(radii):
            began, one = time.monotonic(), torch.tensor([row], device=x.device)
            deadline = math.inf if seconds is None else began + seconds
            finding = _one(victim, x[one], criterion.take(one), threat, rng.take(one), asked, effort, deadline)
            found.append(finding(time.monotonic() - began))
    return found


def _one(
    victim: SmoothedVictim, x: Tensor, criterion: ClassCriterion, threat: Threat, rng: Rng, radius: float, effort: Effort, deadline: float
) -> Callable[[float], Certificate]:
    """The certificate of one input [1, ...], still without its seconds."""
    noise, shape, asked = victim.noise, tuple(x.shape[1:]), victim.noise.asked(radius)

    def certificate(verdict: Verdict, reached: float, reason: str = "", evidence: Evidence | None = None) -> Callable[[float], Certificate]:
        more = {"guarantee": _guarantee(victim, effort), "confidence": 1 - effort.alpha, "counterexample": x[0] if verdict is Verdict.REFUTED else None}
        return lambda spent: Certificate(verdict, "smoothing", reached, reason=reason, seconds=spent, proof=evidence, **more)

    if not bool(torch.isfinite(x).all()):
        return certificate(Verdict.UNKNOWN, 0.0, "the input has values that are NaN or infinite")
    if complaint := noise.complaint(x, victim.domain):
        return certificate(Verdict.UNKNOWN, 0.0, complaint)
    chosen = victim.votes(x, rng.draw("choose"), effort.n0)[0, :-1]
    if not int(chosen.max()):
        return certificate(Verdict.UNKNOWN, 0.0, f"none of {effort.n0} copies got an answer: the model gives NaN or abstains")
    label = int(chosen.argmax())
    met = bool(criterion.met(torch.tensor([label], device=criterion.reference_class.device)))
    share, slack, moved = noise.share(threat.space.kind, math.prod(shape)), noise.slack_of(math.prod(shape)), noise.moved(x, victim.domain)

    def ends(low: float, high: float) -> tuple[float, float]:
        """Of the probabilities of the class and of the likeliest other one, under the noise that is meant."""
        return low - slack, min(high, 1 - low) + slack

    def reach(low: float, high: float = 1.0) -> float:
        """The radius in the unit of the threat."""
        return max(0.0, noise.radius(*ends(low, high), shape) - moved) * share

    def enough(low: float, high: float = 1.0) -> bool:
        own, other = ends(low, high)
        return own > other and (met or reach(low, high) >= asked)

    look = _look(victim, x, rng.draw("bound"), label, effort, enough, deadline)
    if not look.draws or (look.late and not effort.sequential):
        return certificate(Verdict.UNKNOWN, 0.0, f"time: the limit was reached after {look.draws} of {effort.n} copies; give more seconds, or fewer copies")
    against = p_value if not effort.sequential else sequence_p_value
    needed = noise.needed(asked / share + moved, shape) + slack
    evidence = Evidence(label, look.hits, look.draws, look.low, look.high, 1.0 if met or needed >= 1 else against(look.hits, look.draws, needed))
    seen, (own, other) = f"{look.hits} of {look.draws} copies are classified as {label}", ends(look.low, look.high)
    if own <= other:
        return certificate(Verdict.UNKNOWN, 0.0, f"abstains: {seen}, which may not be a majority; {_advice(look, effort, enough)}", evidence)
    if met:
        return certificate(Verdict.REFUTED, 0.0, f"class {label} already without a change: {seen}", evidence)
    if enough(look.low, look.high):
        return certificate(Verdict.PROVED, reach(look.low, look.high), evidence=evidence)
    shown = reach(look.low, look.high)
    return certificate(Verdict.UNKNOWN, shown, f"{seen}: certified up to {shown:.4g}, requested {radius:.4g}; {_advice(look, effort, enough)}", evidence)


def _look(victim: SmoothedVictim, x: Tensor, rng: Rng, label: int, effort: Effort, enough: Callable[[float], bool], deadline: float) -> Look:
    """What fresh copies say of the probability of the class, and of the likeliest other."""
    if effort.sequential:
        return looks(lambda turn, count: int(victim.votes(x, rng.draw(turn), count)[0, label]), effort.n, effort.alpha, enough, deadline)
    votes, drawn = torch.zeros(victim.classes + 1, dtype=torch.int64), 0
    while drawn < effort.n and time.monotonic() < deadline:
        count = min(10 * PIECE, effort.n - drawn)
        votes += victim.votes(x, rng.draw(drawn), count)[0]
        drawn += count
    if not drawn:
        return Look(0, 0, 0.0, 1.0, True)
    hits = int(votes[label])
    low = lower_bound(hits, drawn, effort.alpha / (2 if effort.joint else 1))
    others = [count for place, count in enumerate(votes.tolist()) if place != label]
    high = max(upper_bound(count, drawn, effort.alpha / 2 / len(others)) for count in others) if effort.joint else 1 - low
    return Look(hits, drawn, low, high, drawn < effort.n)


def _advice(look: Look, effort: Effort, enough: Callable[[float], bool]) -> str:
    """What more copies would give if the share of votes stayed as it was seen."""
    share = look.hits / look.draws
    if look.hits < look.draws and not enough(share):
        return "at this share, no number of copies would be enough"
    draws = look.draws
    while draws < MOST:
        draws = math.ceil(draws * 1.5)
        if enough(lower_bound(math.floor(share * draws), draws, effort.alpha)):
            return f"at this share, about {draws:.2g} copies would be enough"
    return "a thousand million copies would not be enough"


def _guarantee(victim: SmoothedVictim, effort: Effort) -> str:
    exact = isinstance(victim.noise, GridGaussian)
    where = "every input on the grid within the radius, the model as executed in floating point" if exact else "real arithmetic"
    together = f", and any of {effort.family} samples with at most {effort.alpha * effort.family:.3g}" if effort.family > 1 else ""
    return f"the majority under {victim.noise}, {where}; wrong with probability at most {effort.alpha:.3g} over the random copies{together}"
