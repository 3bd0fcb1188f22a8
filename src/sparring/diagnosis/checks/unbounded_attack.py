"""D20: does an attack without limits break every sample? Costs 40 forwards and backwards."""

import math

import torch

from sparring.diagnosis.doctor import EVERY_TASK, Opinion, Subject, check
from sparring.diagnosis.probe import SLACK, attempt, notable, right, unfit
from sparring.threats.balls import Ball, box


@check(code="D20", title="Unbounded attack", needs={"gradients", "scores"}, cost=80, tasks=EVERY_TASK)
def unbounded_attack(subject: Subject) -> Opinion:
    """Run PGD with the whole input range as region, which must break every sample.

    Source: indicator I6 of IoAF, Pintor et al. 2022.
    """
    if (no := unfit(subject, "pgd")) is not None:
        return no
    if not isinstance(subject.threat.space, Ball):
        return Opinion("not applicable", f"The space {subject.threat.space.kind} has no largest radius.")
    low, high = box(subject.victim.domain, subject.x)
    far = torch.where(subject.x - low > high - subject.x, low.expand_as(subject.x), high.expand_as(subject.x))
    if not bool(torch.isfinite(far).all()):
        return Opinion("not applicable", "The inputs have no bounds.")
    size = subject.threat.space.around(subject.x, subject.victim.domain).size(far)
    radii = subject.threat.space.radii(len(subject), size.device).clamp_min(1e-12)
    share = math.ceil(float((size / radii)[right(subject)].max()) * 100) / 100
    broken = attempt(subject, 'pgd(steps=40, loss="ce")', share=share).broken
    count, left = len(broken), int((~broken).sum())
    seen = f"PGD without a radius limit does not break {left} of {count} samples."
    if notable(left, count):
        return Opinion("bad", seen, "Find out what stops the attack: if it fails without limits, its failure within limits means nothing.", left / count, SLACK)
    return Opinion("ok", seen, value=left / count, threshold=SLACK)
