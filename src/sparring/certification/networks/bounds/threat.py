"""The input set of a threat: its region, rounded outward."""

import math

import torch
from torch import Tensor

from sparring.certification.networks.bounds.inputs import InputSet
from sparring.core.domain import Domain
from sparring.core.space import Space
from sparring.threats.balls import BallRegion, Linf


def input_set(space: Space, origin: Tensor, domain: Domain) -> InputSet:
    """Return float64 sets around origin [n, *in] that hold every point inside the space.

    Points that the check lets pass by a rounding are included. Linf gives boxes, L2 and L1 balls cut with the box of the domain.

    Raises:
        TypeError: For other spaces.
    """
    region = space.around(origin, domain)
    if not isinstance(region, BallRegion):
        raise TypeError(f"{space.kind} is not a ball: use linf, l2 or l1")
    center, reach = origin.double(), region.reach()
    wide = reach.reshape(-1, *[1] * (origin.ndim - 1))
    low, high = (torch.as_tensor(edge, dtype=torch.float64, device=origin.device).expand_as(center) for edge in (domain.low, domain.high))  # type: ignore[attr-defined]
    low, high = torch.maximum(low, _outward(center - wide, -math.inf)), torch.minimum(high, _outward(center + wide, math.inf))
    still = wide == 0
    low, high = torch.where(still, center, low), torch.where(still, center, high)
    if isinstance(space, Linf):
        return InputSet(low, high)
    return InputSet(low, high, center, _outward(reach, math.inf), region.order)


def _outward(x: Tensor, way: float) -> Tensor:
    return torch.nextafter(x, torch.full_like(x, way))
