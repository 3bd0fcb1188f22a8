"""D12: do scores jump although the gradient predicts no change? Costs 21 forwards and 1 backward."""

import torch

from sparring.core.rng import Rng
from sparring.diagnosis.doctor import Opinion, Subject, check
from sparring.diagnosis.probe import is_random
from sparring.tasks.classes import logit_gap
from sparring.threats.balls import box

DRAWS = 20
WIDTH = 8 / 255  # of the cube around the input, as a share of the width of the box
JUMPS = 0.05  # share of the margin


@check(code="D12", title="Instability", needs={"gradients", "scores"}, cost=22)
def instability(subject: Subject) -> Opinion:
    """Measure how much small random changes move the margin beyond the gradient's prediction.

    After indicator I2 of IoAF (Pintor et al. 2022, arXiv:2106.09947). Where we differ: the margin stands for the loss and
    the part that the gradient explains is taken off, because cross-entropy near zero changes by large shares in plain
    networks too (0.32 on one of ours, where 0.1 was to be the limit).
    """
    if is_random(subject):
        return Opinion("not applicable", "The answers are random: see D1.")
    low, high = box(subject.victim.domain, subject.x)
    width = WIDTH * torch.where(torch.isfinite(high - low), high - low, torch.ones_like(high))
    y, rng = subject.y.to(subject.x.device), Rng.of(subject.seed, range(len(subject)), subject.x.device)
    graded = subject.gradient("margin")
    moved = torch.zeros(len(subject), dtype=torch.float64, device=subject.x.device)
    for draw in range(DRAWS):
        way = width * (rng.draw(f"cube {draw}").uniform(*subject.x.shape[1:], dtype=subject.x.dtype) - 0.5)
        said = (graded.grad * way).flatten(1).sum(1)
        change = -logit_gap(subject.victim.scores(subject.x + way), y) - graded.value - said
        moved += (change.double().abs() / graded.value.double().abs().clamp_min(1e-12)).clamp_max(1) / DRAWS
    value = float(moved.mean())
    seen = f"Changes of at most {WIDTH / 2:.2g} of the width of the box move the margin by {value:.1%} more than the gradient predicts."
    if value > JUMPS:
        cure = "The scores jump: give the part with steps a substitute gradient (BPDA), or average gradients over random nearby points."
        return Opinion("caution", seen, cure, value, JUMPS)
    return Opinion("ok", seen, value=value, threshold=JUMPS)
