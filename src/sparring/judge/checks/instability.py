"""D12: do scores jump where the gradient sees nothing? Costs 21 forwards and 1 backward."""

import torch

from sparring.core.dice import Dice
from sparring.core.threat import lead
from sparring.judge.doctor import Opinion, Patient, check
from sparring.judge.trial import is_random
from sparring.threats.balls import box

DRAWS = 20
WIDTH = 8 / 255  # of the cube around the input, as a share of the width of the box
JUMPS = 0.05  # share of the margin


@check(code="D12", title="Instability", needs={"gradients", "scores"}, cost=22)
def instability(patient: Patient) -> Opinion:
    """How much of the margin small random changes move, beyond what the gradient says of them.

    After indicator I2 of IoAF (Pintor et al. 2022, arXiv:2106.09947). Where we differ: the margin stands for the loss and
    the part that the gradient explains is taken off, because cross-entropy near zero changes by large shares in plain
    networks too (0.32 on one of ours, where 0.1 was to be the limit).
    """
    if is_random(patient):
        return Opinion("not applicable", "The answers are random: see D1.")
    low, high = box(patient.victim.domain, patient.x)
    width = WIDTH * torch.where(torch.isfinite(high - low), high - low, torch.ones_like(high))
    y, dice = patient.y.to(patient.x.device), Dice.of(patient.seed, range(len(patient)), patient.x.device)
    graded = patient.gradient("margin")
    moved = torch.zeros(len(patient), dtype=torch.float64, device=patient.x.device)
    for draw in range(DRAWS):
        way = width * (dice.draw(f"cube {draw}").uniform(*patient.x.shape[1:], dtype=patient.x.dtype) - 0.5)
        said = (graded.grad * way).flatten(1).sum(1)
        change = lead(patient.victim.scores(patient.x + way), y) - graded.value - said
        moved += (change.double().abs() / graded.value.double().abs().clamp_min(1e-12)).clamp_max(1) / DRAWS
    value = float(moved.mean())
    seen = f"Changes of at most {WIDTH / 2:.2g} of the width of the box move the margin by {value:.1%} beyond what the gradient says of them."
    if value > JUMPS:
        cure = "The scores jump: let gradients pass the part that steps by a stand-in (BPDA), or average them over random points near by."
        return Opinion("caution", seen, cure, value, JUMPS)
    return Opinion("ok", seen, value=value, threshold=JUMPS)
