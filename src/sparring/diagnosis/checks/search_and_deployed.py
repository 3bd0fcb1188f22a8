"""D21: do the successes of the search also break the deployed model? Costs 21 forwards and backwards, and 2 forwards."""

import torch

from sparring.diagnosis.doctor import EVERY_TASK, Opinion, Subject, check
from sparring.diagnosis.probe import SLACK, attempt, notable, right, unfit


@check(code="D21", title="Search against deployed model", needs={"gradients", "scores"}, cost=44, tasks=EVERY_TASK)
def search_and_deployed(subject: Subject) -> Opinion:
    """Count successes of PGD that a fresh query to the deployed model does not confirm.

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
    seen = f"{int(denied.sum())} of {int(tried.alone.sum())} successes of the search fail on the deployed model; "
    seen += f"on {int(other.sum())} of {count} points they disagree."
    if notable(apart, count):
        cure = "Search on the deployed model with the same precision, preprocessing and votes. If answers are random, judge by a majority of many draws."
        return Opinion("bad", seen, cure, apart / count, SLACK)
    return Opinion("ok", seen, value=apart / count, threshold=SLACK)
