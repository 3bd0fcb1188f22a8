"""D24: do points of a repaired twin break what gradients leave standing? Costs 82 passes, and 42 with gradients for each twin."""

from sparring.diagnosis.doctor import EVERY_TASK, Opinion, Subject, check
from sparring.diagnosis.probe import SLACK, attempt, notable, standing, unfit
from sparring.diagnosis.suspects import suspects
from sparring.diagnosis.variants import twins


@check(code="D24", title="Transfer from a repaired twin", needs={"gradients", "scores"}, cost=160, tasks=EVERY_TASK)
def transfer_from_twin(subject: Subject) -> Opinion:
    """Attack the network without its suspicious parts, and put the points to the victim.

    PGD also searches on the classifiers inside it (as the transfer attacks that broke SODEF and MeanSparse).
    """
    if (no := unfit(subject, "pgd")) is not None:
        return no
    made = twins(subject)
    if not made:
        return Opinion("not applicable", "No part is suspicious, so there is nothing to repair." if not suspects(subject) else "No twin can be made.")
    left = standing(subject)
    if not len(left.rows):
        return Opinion("ok", "Gradients leave nothing standing.", value=0.0, threshold=SLACK)
    broken = {one.label: int(attempt(subject, 'pgd(steps=40, loss="margin")', victim=one.victim, rows=left.rows).broken.sum()) for one in made}
    best = max(broken, key=lambda said: broken[said])
    extra, parts = broken[best], "; ".join(str(one) for one in suspects(subject))
    seen = f"By {best} {extra} of the {len(left.rows)} samples fall that gradients left standing ({parts})."
    if notable(extra, left.count):
        return Opinion("bad", seen, "The robustness is that of a broken gradient: attack with BPDA of these parts.", extra / left.count, SLACK)
    return Opinion("ok", seen, value=extra / left.count, threshold=SLACK)
