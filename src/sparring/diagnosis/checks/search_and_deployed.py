"""D21: does what the search breaks also break the deployed model? Costs 21 forwards and backwards, and 2 forwards."""

import torch

from sparring.diagnosis.doctor import EVERY_TASK, Opinion, Subject, check
from sparring.diagnosis.probe import SLACK, attempt, notable, right, unfit


@check(code="D21", title="Search against deployed model", needs={"gradients", "scores"}, cost=44, tasks=EVERY_TASK)
def search_and_deployed(subject: Subject) -> Opinion:
    """Count successes of PGD that the deployed model denies when it is queried afresh.

    Points about which the model under differentiation says something else count too (indicator I5 of IoAF, Pintor et al. 2022).
    """
    if (no := unfit(subject, "pgd")) is not None:
        return no
    tried = attempt(subject, 'pgd(steps=20, loss="ce")')
    denied = tried.alone & ~tried.broken
    truth = subject.y[right(subject)]
    graded = subject.victim.gradient(tried.points, lambda scores: scores.flatten(1).sum(1))
    other = (subject.told(subject.task.answer(graded.scores), truth) != subject.ask(tried.points, truth).labels).cpu()
    count, apart = len(denied), int(torch.maximum(denied, other).sum())
    seen = f"{int(denied.sum())} of {int(tried.alone.sum())} successes of the search are none for the deployed model; "
    seen += f"on {int(other.sum())} of {count} points they disagree."
    if notable(apart, count):
        cure = "Search on what is deployed: the same precision, preprocessing and votes; draw often and judge by majority where answers are random."
        return Opinion("bad", seen, cure, apart / count, SLACK)
    return Opinion("ok", seen, value=apart / count, threshold=SLACK)
