"""Margin decomposition: first one logit of the margin alone, then both, against imbalanced gradients."""

from typing import Any, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.gradient.pgd import cosine, descend
from sparring.attacks.losses import margin
from sparring.core.bout import Bout, Loss
from sparring.core.threat import Reference


@attack(
    needs={"gradients", "scores"}, uses={"project", "ascend", "sample"}, cites="Jiang et al. 2020, arXiv:2006.13726, algorithm 1; github.com/HanxunH/MDAttack"
)
def md(bout: Bout, *, steps: int = 20, restarts: int = 2, step_size: float = 2.0) -> Tensor:
    """PGD that climbs one term of the margin in the first half of each restart and the whole margin in the second.

    steps: per restart. restarts: by turns the term is the logit to lower and the best of the others to raise. step_size: of the first
    step of each half, as a share of the radius; it decays by a cosine.
    """
    half = steps // 2

    def loss(restart: int, k: int) -> Loss:
        return margin if k >= half else (_anchor, _rival)[restart % 2]

    def share(k: int) -> float:
        return step_size * (cosine(k, half) if k < half else cosine(k - half, steps - half))

    return descend(bout, loss, share, lambda live, restart: cast(Any, live.region).sample(live.dice.draw(restart)), steps=steps, restarts=restarts)


def _anchor(scores: Tensor, reference: Reference) -> Tensor:
    """The logit of the anchor class: down to leave it, up to reach it."""
    return -reference.sign * scores.gather(1, reference.anchor[:, None]).squeeze(1)


def _rival(scores: Tensor, reference: Reference) -> Tensor:
    """The highest logit of the other classes: up to leave the anchor, down to reach it."""
    return reference.sign * scores.scatter(1, reference.anchor[:, None], -torch.inf).amax(1)
