"""Blind: a control that infers membership without the model."""

import torch
from torch import Tensor

from sparring.attacks.membership.probe import Probe
from sparring.attacks.method import method


@method(aim="membership", cites="Das, Zhang, Tramer 2024, arXiv:2406.16201", control=True)
def blind(probe: Probe, *, neighbours: int = 5) -> Tensor:
    """Score each record by its distance to data known to be outside, without the model.

    Where this separates members from others, the two were not drawn alike, and every attack looks better than it is.

    Args:
        probe: The records and the background data.
        neighbours: How many of the nearest records outside are averaged.

    Returns:
        float64 [n]: the mean distance to the nearest records of the background.
    """
    x, other = (torch.as_tensor(part.x).flatten(1).double() for part in (probe.data, probe.background))
    nearest = torch.cdist(x, other).topk(min(neighbours, len(other)), largest=False).values
    return nearest.mean(1)
