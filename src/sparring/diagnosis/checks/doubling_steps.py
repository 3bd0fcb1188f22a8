"""D16: do twice the steps break more? Costs 60 forwards and backwards."""

from sparring.diagnosis.doctor import EVERY_TASK, Opinion, Subject, check
from sparring.diagnosis.probe import SLACK, attempt, notable, unfit


@check(code="D16", title="Doubling the steps", needs={"gradients", "scores"}, cost=120, tasks=EVERY_TASK)
def doubling_steps(subject: Subject) -> Opinion:
    """Compare PGD of 40 steps with PGD of 20, on cross-entropy.

    Source: Carlini et al. 2019, arXiv:1902.06705.
    """
    if (no := unfit(subject, "pgd")) is not None:
        return no
    once, twice = (attempt(subject, f'pgd(steps={steps}, loss="ce")').broken for steps in (20, 40))
    count, extra = len(once), int(twice.sum()) - int(once.sum())
    seen = f"PGD breaks {int(once.sum())} of {count} samples in 20 steps and {int(twice.sum())} in 40."
    if notable(extra, count):
        return Opinion("caution", seen, "Increase the steps of the attacks until the result no longer changes.", extra / count, SLACK)
    return Opinion("ok", seen, value=extra / count, threshold=SLACK)
