"""Projected gradient ascent on a differentiable function: the bare loop, for code that is no attack on a victim."""

from collections.abc import Callable

import torch
from torch import Tensor


def ascend(
    x: Tensor,
    objective: Callable[[Tensor], Tensor],
    move: Callable[[Tensor, Tensor, int], Tensor],
    *,
    steps: int,
    enough: Callable[[], bool] | None = None,
) -> Tensor:
    """Move points again and again along the gradient of an objective.

    Attacks on victims use `iterate` instead, which meters every query, keeps the best points and lets finished samples leave.

    Args:
        x: The first points, float [n, ...].
        objective: From points to values that grow toward the aim, a number or a tensor; their sum is differentiated.
        move: `(x, gradient, k)` to the points after step k; the step size and the projection are its affair.
        steps: How many steps to take.
        enough: Asked after every call of the objective; where it is true, the loop ends there, before the move.

    Returns:
        The last points, float [n, ...], without a gradient.

    Example:
        >>> inside = lambda x, g, k: (x + 0.5 * g.sign()).clamp(-1, 1)
        >>> ascend(torch.zeros(1, 2), lambda x: x @ torch.tensor([3.0, -1.0]), inside, steps=5)
        tensor([[ 1., -1.]])
    """
    x = x.detach()
    for k in range(steps):
        point = x.detach().requires_grad_(True)
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(objective(point).sum(), point)
        if enough is not None and enough():
            break
        x = move(x, gradient, k)
    return x
