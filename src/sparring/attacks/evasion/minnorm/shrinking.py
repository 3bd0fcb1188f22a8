"""Steps shared by attacks that shrink a change as long as it meets the goal."""

import math
from typing import Any, cast

import torch
from torch import Tensor

from sparring.core.problem import Problem
from sparring.core.space import wide
from sparring.threats.balls import BallRegion, box


def met(live: Problem, scores: Tensor) -> Tensor:
    """Return bool [m]: whether points with these scores meet the goal."""
    return live.criterion.met(live.victim.task.answer(scores))


def gap(live: Problem, scores: Tensor) -> Tensor:
    """Return the margin between these scores and the goal, on either side, float64 [m].

    It is 0 where there was no answer.
    """
    return live.criterion.loss(scores).double().abs().nan_to_num(0.0)


def wide_as(rows: Tensor, x: Tensor) -> Tensor:
    """Return values per row, [m], as [m, 1, ...] in the type of x (bool stays bool)."""
    return wide(rows, x) if rows.dtype is torch.bool else wide(rows, x).to(x.dtype)


def within(live: Problem, x: Tensor, size: Tensor) -> Tensor:
    """Return x brought into the box and to at most `size` (float64 [m]) from the clean input."""
    region = cast(Any, live.region)
    return region.within(x, size) if isinstance(region, BallRegion) else live.at(size).region.project(x)  # type: ignore[attr-defined]


def free(live: Problem, x: Tensor, g: Tensor) -> Tensor:
    """Return g without the coordinates in which x is at the edge of the box that g points to."""
    low, high = box(live.victim.domain, x)
    return g * torch.where(g > 0, x < high, x > low)


def length(g: Tensor) -> Tensor:
    """Return the Euclidean length, float64 [m]."""
    return torch.linalg.vector_norm(g.flatten(1).double(), dim=1)


def cosine(k: int, steps: int) -> float:
    """Return a factor that falls from 1 toward 0 over the steps."""
    return (1 + math.cos(math.pi * k / max(steps, 1))) / 2
