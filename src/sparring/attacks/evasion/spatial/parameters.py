"""Gradient ascent over the parameters of a change (a flow, a map of colours) instead of over the pixels."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from sparring.attacks.loop import iterate
from sparring.core.problem import Loss, Problem

MOMENTUM = 0.9


class State(NamedTuple):
    """Hold the state of the search, one row per sample.

    x: [m, ...], where each row stands. parameters: [m, ...], what made it. velocity: like parameters.
    """

    x: Tensor
    parameters: Tensor
    velocity: Tensor


def climb_parameters(
    problem: Problem,
    start: Callable[[Problem, int], Tensor],
    make: Callable[[Problem, Tensor], Tensor],
    *,
    loss: Loss,
    steps: int,
    restarts: int,
    regulariser: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Ascend `loss` over parameters by signs of a gradient with momentum.

    A step begins at half the radius and ends at none.

    Args:
        start: (problem, restart) to parameters float64 [m, ...].
        make: (problem, parameters) to points, differentiable; it keeps them allowed.
        regulariser: A direction added to the gradient, which has a mean size of 1. Returns the best points.
    """

    def begin(live: Problem, restart: int) -> State:
        parameters = start(live, restart)
        return State(make(live, parameters), parameters, torch.zeros_like(parameters))

    def step(live: Problem, state: State, k: int) -> State:
        with torch.enable_grad():
            parameters = state.parameters.detach().requires_grad_(True)
            x = make(live, parameters)
            upon = live.gradient(x.detach(), loss).grad
            (g,) = torch.autograd.grad(x, parameters, upon.to(x.dtype))
        g = _even(g.nan_to_num(0.0, 0.0, 0.0))
        velocity = MOMENTUM * state.velocity + (g if regulariser is None else g + regulariser(state.parameters))
        length = live.region.radius * (0.5 * (1 - k / max(steps, 1)))  # type: ignore[attr-defined]
        moved = state.parameters + velocity.sign() * length.reshape(-1, *[1] * (g.ndim - 1))
        most = live.region.radius.reshape(-1, *[1] * (g.ndim - 1))  # type: ignore[attr-defined]
        moved = torch.minimum(torch.maximum(moved, -most), most)
        return State(make(live, moved), moved, velocity)

    return iterate(problem, begin, step, steps=steps, restarts=restarts, last_look=True)


def _even(g: Tensor) -> Tensor:
    """Return gradients scaled to a mean absolute value of 1 in every row."""
    return g / g.abs().flatten(1).mean(1).clamp_min(1e-30).reshape(-1, *[1] * (g.ndim - 1))
