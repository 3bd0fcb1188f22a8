"""D20: does an attack that may do anything break everything? Costs 40 forwards and backwards."""

import math

import torch

from sparring.judge.doctor import Opinion, Patient, check
from sparring.judge.trial import SLACK, attempt, notable, right, unfit
from sparring.threats.balls import Ball, box


@check(code="D20", title="Unbounded attack", needs={"gradients", "scores"}, cost=80)
def unbounded_attack(patient: Patient) -> Opinion:
    """PGD with the whole box to move in must leave nothing standing (indicator I6 of IoAF, Pintor et al. 2022)."""
    if (no := unfit(patient, "pgd")) is not None:
        return no
    if not isinstance(patient.threat.space, Ball):
        return Opinion("not applicable", f"A space of kind {patient.threat.space.kind} has no largest radius.")
    low, high = box(patient.victim.domain, patient.x)
    far = torch.where(patient.x - low > high - patient.x, low.expand_as(patient.x), high.expand_as(patient.x))
    if not bool(torch.isfinite(far).all()):
        return Opinion("not applicable", "The inputs have no bounds.")
    size = patient.threat.space.around(patient.x, patient.victim.domain).size(far)
    radii = patient.threat.space.radii(len(patient), size.device).clamp_min(1e-12)
    share = math.ceil(float((size / radii)[right(patient)].max()) * 100) / 100
    broken = attempt(patient, 'pgd(steps=40, loss="ce")', share=share).broken
    count, left = len(broken), int((~broken).sum())
    seen = f"With the whole box to move in, PGD leaves {left} of {count} samples standing."
    if notable(left, count):
        return Opinion("bad", seen, "An attack that cannot win without limits proves nothing within them: find out what stops it.", left / count, SLACK)
    return Opinion("ok", seen, value=left / count, threshold=SLACK)
