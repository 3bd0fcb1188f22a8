"""D10: do gradients predict how the scores change? Costs 38 forwards and 2 backwards."""

import torch
from torch import Tensor

from sparring.core.rng import Rng
from sparring.diagnosis.doctor import EVERY_TASK, Opinion, Subject, check
from sparring.diagnosis.probe import is_random
from sparring.threats.balls import box

STEPS = (1e-3, 1e-2)  # Euclidean length, as a share of the width of the box
WAYS = 9
WRONG = 0.5


@check(code="D10", title="Gradients against differences", needs={"gradients", "scores"}, cost=40, tasks=EVERY_TASK)
def gradient_consistency(subject: Subject) -> Opinion:
    """Compare directional derivatives with finite differences of the deployed scores.

    The directions are the sign of the gradient and eight random ones.

    Where we differ from taking the median ratio of single ways: the ways of a sample are taken together, because the
    slope along one random way may be nearly zero in a healthy network.
    """
    if is_random(subject):
        return Opinion("not applicable", "The answers are random, so finite differences are meaningless: see D1.")
    value, at = max((_error(subject, step), step) for step in STEPS)
    seen = f"Finite differences with a step of {at:g} differ from the gradient by {value:.2g} of the slope (median over {len(subject)} samples)."
    if value > WRONG:
        cure = "The gradient does not belong to the scores: give the part with steps or a false gradient a substitute (BPDA), or use query attacks."
        return Opinion("bad", seen, cure, value, WRONG)
    return Opinion("ok", seen, value=value, threshold=WRONG)


def _error(subject: Subject, step: float) -> float:
    low, high = box(subject.victim.domain, subject.x)
    width = torch.where(torch.isfinite(high - low), high - low, torch.ones_like(high))
    h = step * width
    x = torch.minimum(torch.maximum(subject.x, low + h), high - h)  # both ends inside the box
    slope = subject.victim.gradient(x, subject.mixture).grad.double() * width
    size = slope[0].numel() ** 0.5
    rng, apart, total = Rng.of(subject.seed, range(len(x)), x.device), torch.zeros(len(x)).to(slope), torch.zeros(len(x)).to(slope)
    for way in range(WAYS):
        u = slope.sign() / size if way == 0 else _unit(rng.draw(way).normal(*x.shape[1:], dtype=torch.float64))
        move = (h * u).to(x)
        ahead, behind = (subject.mixture(subject.victim.scores(point)).double() for point in (x + move, x - move))
        said = (slope * u).flatten(1).sum(1)
        apart, total = apart + ((ahead - behind) / (2 * step) - said).square(), total + said.square()
    error = (apart.sqrt() / total.sqrt().clamp_min(1e-12)).where(apart > 0, 0.0)
    return float(error.clamp_max(1e6).median())


def _unit(way: Tensor) -> Tensor:
    return way / way.flatten(1).norm(dim=1).reshape(-1, *[1] * (way.ndim - 1))
