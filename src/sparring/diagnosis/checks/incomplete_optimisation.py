"""D15: does an attack stop while its loss is still increasing? Costs 40 forwards and backwards."""

from sparring.diagnosis.doctor import EVERY_TASK, Opinion, Subject, check
from sparring.diagnosis.probe import curve, notable, unfit

STEPS = 40
LAST = 10
RISES = 0.15  # share of the whole rise


@check(code="D15", title="Incomplete optimisation", needs={"gradients", "scores"}, cost=80, tasks=EVERY_TASK)
def incomplete_optimisation(subject: Subject) -> Opinion:
    """Measure the share of the total loss increase that PGD makes in its last quarter.

    The loss is cross-entropy, on samples that PGD did not break (indicator I4 of IoAF, Pintor et al. 2022).

    Differs from the paper: a mean over samples, and three times their threshold, because a constant step
    circles around the best point of healthy networks too.
    """
    if (no := unfit(subject, "pgd")) is not None:
        return no
    seen = curve(subject, STEPS)
    left = ~seen.broken
    if not notable(int(left.sum()), len(left)):
        said = f"PGD with {STEPS} steps broke {int(seen.broken.sum())} of {len(left)} samples, so the optimisation works."
        return Opinion("ok", said, value=0.0, threshold=RISES)
    best = seen.values[:, left].cummax(0).values
    whole = (best[-1] - best[0]).clamp_min(1e-12)
    value = float(((best[-1] - best[-1 - LAST]) / whole).mean())
    said = f"The last {LAST} of {STEPS} steps bring {value:.1%} of the total increase of the loss on {int(left.sum())} unbroken samples (mean)."
    if value > RISES:
        return Opinion("caution", said, "Double the steps of the attacks, or use an adaptive step size (apgd).", value, RISES)
    return Opinion("ok", said, value=value, threshold=RISES)
