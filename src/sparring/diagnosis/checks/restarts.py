"""D17: do restarts or another step size break more? Costs 140 forwards and backwards."""

from sparring.diagnosis.doctor import EVERY_TASK, Opinion, Subject, check
from sparring.diagnosis.probe import SLACK, attempt, notable, unfit

OTHERS = {
    "four restarts": 'pgd(steps=20, loss="ce", restarts=4)',
    "half the step size": 'pgd(steps=20, loss="ce", step_size=0.0625)',
    "twice the step size": 'pgd(steps=20, loss="ce", step_size=0.25)',
}


@check(code="D17", title="Restarts and step sizes", needs={"gradients", "scores"}, cost=280, tasks=EVERY_TASK)
def restarts(subject: Subject) -> Opinion:
    """Compare PGD with four starts, and with half and twice the step, with a single plain run.

    The loss is cross-entropy (Carlini et al. 2019).
    """
    if (no := unfit(subject, "pgd")) is not None:
        return no
    once = attempt(subject, 'pgd(steps=20, loss="ce")').broken
    gained = {said: int(attempt(subject, text).broken.sum()) - int(once.sum()) for said, text in OTHERS.items()}
    best = max(gained, key=lambda said: gained[said])
    count, extra = len(once), gained[best]
    seen = f"PGD breaks {int(once.sum())} of {count} samples by default, and {int(once.sum()) + extra} with {best}."
    if notable(extra, count):
        return Opinion("caution", seen, f"Attack with {best}, and go further in this direction until the result no longer changes.", extra / count, SLACK)
    return Opinion("ok", seen, value=extra / count, threshold=SLACK)
