"""Minimises many smooth functions together by L-BFGS, each with its own line search."""

from collections.abc import Callable

import torch
from torch import Tensor

Function = Callable[[Tensor], Tensor]
"""[m, p] to [m]: value i depends on row i alone, differentiably."""

ENOUGH = 1e-4
"""Share of the promised decrease that a step must bring (Nocedal, Wright 2006, equation 3.4)."""


def smallest(function: Function, start: Tensor, *, steps: int = 200, memory: int = 10, tolerance: float = 1e-7) -> Tensor:
    """Return the minimiser of each function.

    Liu, Nocedal 1989, doi:10.1007/BF01589116, with backtracking.

    A row stops where the largest entry of its gradient is below the tolerance, or where no step along its direction makes its value smaller.

    Args:
        function: What to make small.
        start: float64 [m, p].
        steps: Iterations at most.
        memory: Pairs of steps and changes of the gradient that the direction is made of.
        tolerance: Of the gradient.
    """
    at = start.detach().clone()
    value, slope = _graded(function, at)
    moves: list[tuple[Tensor, Tensor, Tensor]] = []
    live = slope.abs().amax(1) > tolerance
    for _ in range(steps):
        if not bool(live.any()):
            break
        direction = -_curved(slope, moves)
        fall = (slope * direction).sum(1)
        uphill = fall >= 0
        direction, fall = torch.where(uphill[:, None], -slope, direction), torch.where(uphill, -slope.square().sum(1), fall)
        length = torch.ones_like(value) if moves else (1 / slope.abs().sum(1).clamp_min(1.0))
        found = ~live
        there, new, new_slope = at, value, slope
        for _ in range(30):
            tried = torch.where(found[:, None], there, at + length[:, None] * direction)
            tried_value, tried_slope = _graded(function, tried)
            good = ~found & (tried_value <= value + ENOUGH * length * fall)
            there = torch.where(good[:, None], tried, there)
            new, new_slope = torch.where(good, tried_value, new), torch.where(good[:, None], tried_slope, new_slope)
            found = found | good
            if bool(found.all()):
                break
            length = length / 2
        step, change = there - at, new_slope - slope
        moves = [*moves, (step, change, (step * change).sum(1))][-memory:]
        at, value, slope = there, new, new_slope
        live = live & found & (slope.abs().amax(1) > tolerance)
    return at


def _graded(function: Function, at: Tensor) -> tuple[Tensor, Tensor]:
    point = at.detach().requires_grad_()
    value = function(point)
    (slope,) = torch.autograd.grad(value.sum(), point)
    return value.detach(), slope


def _curved(slope: Tensor, moves: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """The gradient times the inverse curvature that the moves show (the two-loop recursion); moves without curvature are passed over."""
    rest, kept = slope, []
    for step, change, product in reversed(moves):
        weight = torch.where(product > 1e-300, (step * rest).sum(1) / product.clamp_min(1e-300), 0.0)
        rest = rest - weight[:, None] * change
        kept.append(weight)
    scale = torch.ones(len(slope), dtype=slope.dtype)
    for _, change, product in moves:
        scale = torch.where(product > 1e-300, product / change.square().sum(1).clamp_min(1e-300), scale)
    rest = rest * scale[:, None]
    for (step, change, product), weight in zip(moves, reversed(kept), strict=True):
        other = torch.where(product > 1e-300, (change * rest).sum(1) / product.clamp_min(1e-300), 0.0)
        rest = rest + (weight - other)[:, None] * step
    return rest
