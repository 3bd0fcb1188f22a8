"""What gradient attacks climb: functions (scores [n, C], reference) -> values [n] that grow toward the goal.

Each reads the reference the same way: away from the anchor class where the sign is +1, toward it
where the sign is -1. They work on logits; `doctor` warns when a model gives probabilities.
"""

import torch
from torch import Tensor

from sparring.core.bout import Loss
from sparring.core.registry import find, register
from sparring.core.threat import Reference, lead


@register("loss", "ce")
def cross_entropy(scores: Tensor, reference: Reference) -> Tensor:
    """Cross-entropy of the anchor class, signed (Goodfellow et al. 2015)."""
    logs = torch.log_softmax(scores, dim=1).gather(1, reference.anchor[:, None]).squeeze(1)
    return -reference.sign * logs


@register("loss", "margin")
def margin(scores: Tensor, reference: Reference) -> Tensor:
    """Best other class against the anchor, in logits (Carlini, Wagner 2017, f6 without its clip)."""
    return reference.sign * lead(scores, reference.anchor)


@register("loss", "pm")
def probability_margin(scores: Tensor, reference: Reference) -> Tensor:
    """The margin in probabilities, which weighs targeted and untargeted cross-entropy by itself (PMA, Xie et al. 2024)."""
    return reference.sign * lead(torch.softmax(scores, dim=1), reference.anchor)


@register("loss", "dlr")
def difference_of_logits_ratio(scores: Tensor, reference: Reference) -> Tensor:
    """The margin divided by a spread of the highest logits, so that their scale does not matter
    (Croce, Hein 2020, arXiv:2003.01690, equations 6 and 8).

    Where we differ: with three classes the targeted form divides by z1 - z3, with two classes there is no
    third logit and the plain margin is used; the original is undefined there.
    """
    top = scores.topk(min(4, scores.shape[1]), dim=1).values
    if top.shape[1] < 3:
        return margin(scores, reference)
    third = top[:, 2]
    away = lead(scores, reference.anchor) / (top[:, 0] - third + 1e-12)
    own = scores.gather(1, reference.label[:, None]).squeeze(1)
    aimed = scores.gather(1, reference.anchor[:, None]).squeeze(1)
    base = third if top.shape[1] < 4 else (third + top[:, 3]) / 2
    toward = (aimed - own) / (top[:, 0] - base + 1e-12)
    return torch.where(reference.sign > 0, away, toward)


@register("loss", "mifpe")
def scaled_cross_entropy(scores: Tensor, reference: Reference) -> Tensor:
    """The gradient of cross-entropy with the logits divided by the gap of the highest two, so that no scale of them can make
    it vanish in floating point (MIFPE, Yu, Xu 2023); the value is the margin.

    Where we differ: the division is not differentiated, and values are margins, so that two points can be compared.
    """
    top = scores.detach().topk(min(2, scores.shape[1]), dim=1).values
    gap = (top[:, 0] - top[:, -1]).clamp_min(torch.finfo(scores.dtype).tiny * 1e6)
    slope = cross_entropy(scores / gap[:, None], reference)
    return slope - slope.detach() + margin(scores, reference).detach()


def loss_of(name: str) -> Loss:
    """The registered loss of that name."""
    return find("loss", name)
