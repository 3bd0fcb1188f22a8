"""D23: do random points break samples that gradient attacks do not? Costs 82 passes with gradients and 100 forwards."""

from sparring.diagnosis.doctor import EVERY_TASK, Opinion, Subject, check
from sparring.diagnosis.probe import SLACK, attempt, notable, standing, unfit

TRIES = 100


@check(code="D23", title="Noise against gradients", needs={"gradients", "scores"}, cost=200, tasks=EVERY_TASK)
def noise_against_gradients(subject: Subject) -> Opinion:
    """Try random points and corners on the samples that PGD did not break.

    PGD runs on cross-entropy and on the margin (Carlini et al. 2019).
    """
    if (no := unfit(subject, "pgd", "noise")) is not None:
        return no
    left = standing(subject)
    if not len(left.rows):
        return Opinion("ok", "Gradient attacks break every sample.", value=0.0, threshold=SLACK)
    extra = int(attempt(subject, f"noise(tries={TRIES})", rows=left.rows).broken.sum())
    seen = f"{TRIES} random points break {extra} of the {len(left.rows)} samples that gradient attacks do not break."
    cure = "Gradients are masked: use query attacks, and repair the gradients with EOT or BPDA."
    if notable(extra, left.count):
        return Opinion("bad", seen, cure, extra / left.count, SLACK)
    return Opinion("caution" if extra else "ok", seen, cure if extra else "Nothing to do.", extra / left.count, SLACK)
