"""Backtracking: gradient ascent that shortens the step of a sample if the loss did not increase."""

from typing import NamedTuple

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.gradient.ascent import along
from sparring.attacks.loop import iterate
from sparring.attacks.losses import loss_of
from sparring.core.problem import Problem

from .line import next_share


class State(NamedTuple):
    """Hold the state of the search, one row per sample.

    x: [m, ...], the best point. grad: like x, the gradient there. loss: [m], its loss. share: [m], of the radius, for the next step.
    """

    x: Tensor
    grad: Tensor
    loss: Tensor
    share: Tensor


@attack(needs={"gradients", "scores"}, uses={"project", "ascend", "sample"}, cites="Armijo 1966, Pacific Journal of Mathematics 16 (1)")
def backtracking(problem: Problem, *, steps: int = 40, step_size: float = 1.0, loss: str = "margin", restarts: int = 1) -> Tensor:
    """Ascend the loss by steepest steps, and halve the step after one that did not help.

    Args:
        steps: Gradients taken per restart.
        step_size: First step, as a share of the radius.
        loss: A name that `spar ls losses` lists.
        restarts: The first begins at the clean input, the others at random points of the region.

    Source: Armijo 1966, Pacific Journal of Mathematics 16 (1), for the rule; any growth is enough here.

    Differs from the paper: each step is the steepest of the region and ends in it, and a step that helped is not lengthened again.
    """
    climbed = loss_of(loss)

    def start(live: Problem, restart: int) -> State:
        x = live.region.sample(live.rng.draw(restart)) if restart else live.x  # type: ignore[attr-defined]
        found = live.gradient(x, climbed)
        return State(x, found.grad, found.value, torch.full_like(found.value, step_size))

    def step(live: Problem, state: State, k: int) -> State:
        tried = along(live, state.x, state.grad, state.share)
        found = live.gradient(tried, climbed)
        better = found.value > state.loss
        rows = better.reshape(-1, *[1] * (tried.ndim - 1))
        return State(tried.where(rows, state.x), found.grad.where(rows, state.grad), found.value.where(better, state.loss), next_share(state.share, better))

    return iterate(problem, start, step, steps=steps, restarts=restarts)
