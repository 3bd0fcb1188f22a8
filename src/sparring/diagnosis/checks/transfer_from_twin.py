"""D24: do points found on a repaired copy break samples that gradient attacks do not? Costs 82 passes, and 42 with gradients for each copy."""

from sparring.diagnosis.doctor import EVERY_TASK, Opinion, Subject, check
from sparring.diagnosis.probe import SLACK, attempt, notable, standing, unfit
from sparring.diagnosis.suspects import suspects
from sparring.diagnosis.variants import twins


@check(code="D24", title="Transfer from a repaired twin", needs={"gradients", "scores"}, cost=160, tasks=EVERY_TASK)
def transfer_from_twin(subject: Subject) -> Opinion:
    """Attack the network without its suspicious parts, and evaluate the points on the victim.

    PGD also searches on the classifiers inside it (as the transfer attacks that broke SODEF and MeanSparse).
    """
    if (no := unfit(subject, "pgd")) is not None:
        return no
    made = twins(subject)
    if not made:
        return Opinion("not applicable", "No part is suspicious, so nothing needs repair." if not suspects(subject) else "No copy can be repaired.")
    left = standing(subject)
    if not len(left.rows):
        return Opinion("ok", "Gradient attacks break every sample.", value=0.0, threshold=SLACK)
    broken = {one.label: int(attempt(subject, 'pgd(steps=40, loss="margin")', victim=one.victim, rows=left.rows).broken.sum()) for one in made}
    best = max(broken, key=lambda said: broken[said])
    extra, parts = broken[best], "; ".join(str(one) for one in suspects(subject))
    seen = f"Of the {len(left.rows)} samples that gradient attacks do not break, {best} breaks {extra} ({parts})."
    if notable(extra, left.count):
        return Opinion("bad", seen, "The robustness comes from a broken gradient: attack with BPDA through these parts.", extra / left.count, SLACK)
    return Opinion("ok", seen, value=extra / left.count, threshold=SLACK)
