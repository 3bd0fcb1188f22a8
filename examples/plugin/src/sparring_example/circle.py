"""Arithmetic of angles in degrees, where 359 and 1 are two degrees apart."""

import torch
from torch import Tensor


def apart(one: Tensor, other: Tensor) -> Tensor:
    """Return how many degrees lie between two angles, the shorter way round, in [0, 180]."""
    return ((one - other + 180) % 360 - 180).abs()


def direction(vector: Tensor) -> Tensor:
    """Return the direction of vectors [n, 2] in degrees, float64 [n].

    It is counted counterclockwise from the first axis, and NaN where a vector has no direction.
    """
    x, y = vector.double().unbind(1)
    angle = torch.rad2deg(torch.atan2(y, x)) % 360
    return angle.where(torch.isfinite(x) & torch.isfinite(y) & ((x != 0) | (y != 0)), torch.nan)
