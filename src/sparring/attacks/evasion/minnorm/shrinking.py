"""What attacks share that shrink a change while it still meets the goal."""

import math
from typing import Any, cast

import torch
from torch import Tensor

from sparring.core.bout import Bout
from sparring.core.victim import label_of
from sparring.threats.balls import BallRegion, box


def met(live: Bout, scores: Tensor) -> Tensor:
    """bool [m]: do points with these scores meet the goal?"""
    return live.threat.goal.done(label_of(scores), live.reference)


def gap(live: Bout, scores: Tensor) -> Tensor:
    """float64 [m]: how much margin is between these scores and the goal, on either side; 0 where there was no answer."""
    return live.threat.goal.margin(scores, live.reference).double().abs().nan_to_num(0.0)


def wide(values: Tensor, x: Tensor) -> Tensor:
    """[m] to [m, 1, ...], with the axes and the type of x."""
    return values.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))


def within(live: Bout, x: Tensor, size: Tensor) -> Tensor:
    """x brought into the box and to at most `size` (float64 [m]) from the clean input."""
    region = cast(Any, live.region)
    return region.within(x, size) if isinstance(region, BallRegion) else live.at(size).region.project(x)  # type: ignore[attr-defined]


def free(live: Bout, x: Tensor, g: Tensor) -> Tensor:
    """g without the coordinates in which x stands at the edge of the box that g points to."""
    low, high = box(live.victim.domain, x)
    return g * torch.where(g > 0, x < high, x > low)


def length(g: Tensor) -> Tensor:
    """float64 [m]: Euclidean length."""
    return torch.linalg.vector_norm(g.flatten(1).double(), dim=1)


def cosine(k: int, steps: int) -> float:
    """From 1 down toward 0 over the steps."""
    return (1 + math.cos(math.pi * k / max(steps, 1))) / 2
