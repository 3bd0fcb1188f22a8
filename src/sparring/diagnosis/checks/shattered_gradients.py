"""D11: does the gradient change direction when the input moves a little? Costs 3 forwards and 3 backwards."""

from typing import Any, cast

import torch
from torch import Tensor

from sparring.core.rng import Rng
from sparring.core.victim import Objective
from sparring.diagnosis.doctor import EVERY_TASK, Opinion, Subject, check

NEAR = 0.1  # share of the radius
TURNED = 0.1  # cosine


@check(code="D11", title="Shattered gradients", needs={"gradients", "scores"}, cost=6, tasks=EVERY_TASK)
def shattered_gradients(subject: Subject) -> Opinion:
    """Measure the cosine between the gradients at an input and at a random point near it.

    This is the statistic of GradAlign (Andriushchenko and Flammarion 2020); the gradient is that of the runner-up's logit gap, for answers
    other than classes that of a fixed mixture of the scores.
    """
    if "sample" not in subject.threat.space.offers():
        return Opinion("not applicable", f"The space {subject.threat.space.kind} has no intermediate random points.")
    scores = subject.clean.scores
    assert scores is not None  # granted by `needs`
    objective = _runner_up(subject, scores) if subject.y.ndim == 1 and not subject.y.is_floating_point() else subject.mixture

    def slope(x: Tensor) -> Tensor:
        return subject.victim.gradient(x, objective).grad.flatten(1).double()

    rng = Rng.of(subject.seed, range(len(subject)), subject.x.device).draw("near")
    point = cast(Any, subject.threat.space.around(subject.x, subject.victim.domain)).sample(rng)
    here = slope(subject.x)
    near, far = (torch.cosine_similarity(here, slope(subject.x + share * (point - subject.x)), dim=1) for share in (NEAR, 1.0))
    if not bool(here.any()):
        return Opinion("not applicable", "All gradients are zero: see D6 and D8.")
    value = float(near.median())
    seen = f"Gradients at a tenth of the radius have a cosine of {value:.2f} with those at the input, {float(far.median()):.2f} at the radius (medians)."
    if value < TURNED:
        cure = "Average gradients over random nearby points (EOT with noise), or give the part that breaks them a substitute (BPDA)."
        return Opinion("bad", seen, cure, value, TURNED)
    return Opinion("ok", seen, value=value, threshold=TURNED)


def _runner_up(subject: Subject, scores: Tensor) -> Objective:
    """How far the class that came second, or the wrong winner, is above the true one."""
    y = subject.y.to(scores.device)[:, None]
    second = scores.scatter(1, y, -torch.inf).argmax(1, keepdim=True)
    return lambda z: (z.gather(1, second) - z.gather(1, y)).squeeze(1)
