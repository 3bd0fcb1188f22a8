"""SegPGD: PGD on masks that weights first correct pixels, then all pixels."""

from typing import Any, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.gradient.pgd import descend
from sparring.core.problem import Loss, Problem
from sparring.tasks.mask import MaskCriterion, pixel_gaps


@attack(
    tasks={"mask"},
    needs={"gradients", "scores"},
    uses={"project", "ascend", "sample"},
    cites="Gu et al. 2022, arXiv:2207.12391",
)
def segpgd(problem: Problem, *, steps: int = 20, step_size: float = 0.0, restarts: int = 1) -> Tensor:
    """Ascend a cross-entropy that weights first correct pixels, then all pixels.

    The weight of wrong pixels rises from 0 to that of correct pixels.

    Args:
        steps: Gradient steps per restart.
        step_size: As a share of the radius; 0 means 2.5 / steps, as in `pgd`.
        restarts: Restarts from new random points, for unbroken samples.

    Source: Gu et al. 2022, arXiv:2207.12391.

    Differs from the paper: the step is that of `pgd`, pixels that do not count have no weight, a sample that meets the goal stops,
    and of all points visited the best is returned, not the last.
    """
    share = step_size or 2.5 / max(steps, 1)

    def loss(restart: int, k: int) -> Loss:
        return weighted(k / (2 * max(steps, 1)))

    return descend(problem, loss, lambda k: share, lambda live, restart: cast(Any, live.region).sample(live.rng.draw(restart)), steps=steps, restarts=restarts)


def weighted(wrong: float) -> Loss:
    """Return the mean cross-entropy of pixels, the wrong ones with weight `wrong`.

    Right ones have the rest: the weights add up to 1, so that with 0.5 all pixels weigh the same.
    """

    def loss(scores: Tensor, criterion: MaskCriterion) -> Tensor:
        counted = criterion.counted
        right = pixel_gaps(scores.detach(), criterion.truth) > 0
        weight = torch.where(right, 1 - wrong, wrong) * counted
        values = torch.nn.functional.cross_entropy(scores, criterion.truth.clamp_min(0), reduction="none")
        return (values * weight.to(values.dtype)).flatten(1).sum(1) / counted.flatten(1).sum(1).clamp_min(1)

    return loss
