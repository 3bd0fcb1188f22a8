"""Margin decomposition: first one logit of the margin alone, then both, against imbalanced gradients."""

from typing import Any, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.gradient.pgd import cosine, descend
from sparring.attacks.losses import margin
from sparring.core.problem import Loss, Problem
from sparring.tasks.classes import ClassCriterion


@attack(
    tasks={"classes"},
    needs={"gradients", "scores"},
    uses={"project", "ascend", "sample"},
    cites="Jiang et al. 2020, arXiv:2006.13726, algorithm 1; github.com/HanxunH/MDAttack",
)
def md(problem: Problem, *, steps: int = 50, restarts: int = 2, step_size: float = 2.0) -> Tensor:
    """Ascend one logit of the margin first and the whole margin afterwards, in each restart.

    Args:
        steps: Per restart; 50 in the official code.
        restarts: By turns the term is the logit to lower and the best of the others to raise.
        step_size: Of the first step of each half, as a share of the radius; it decays by a cosine.

    Source: Jiang et al. 2020, arXiv:2006.13726, algorithm 1; github.com/HanxunH/MDAttack.
    """
    half = steps // 2

    def loss(restart: int, k: int) -> Loss:
        return margin if k >= half else (_anchor, _rival)[restart % 2]

    def share(k: int) -> float:
        return step_size * (cosine(k, half) if k < half else cosine(k - half, steps - half))

    return descend(problem, loss, share, lambda live, restart: cast(Any, live.region).sample(live.rng.draw(restart)), steps=steps, restarts=restarts)


def _anchor(scores: Tensor, criterion: ClassCriterion) -> Tensor:
    """Return the logit of the reference class, signed: it falls to leave the class and rises to reach it."""
    return -criterion.sign * scores.gather(1, criterion.reference_class[:, None]).squeeze(1)


def _rival(scores: Tensor, criterion: ClassCriterion) -> Tensor:
    """Return the highest logit of the other classes, signed: it rises to leave the reference class and falls to reach it."""
    return criterion.sign * scores.scatter(1, criterion.reference_class[:, None], -torch.inf).amax(1)
