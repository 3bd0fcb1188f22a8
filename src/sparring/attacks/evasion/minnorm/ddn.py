"""DDN: decoupled direction and norm; the gradient turns the change, and only success or failure decides its length."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.minnorm.shrinking import cosine, free, gap, length, met, wide_as
from sparring.attacks.loop import iterate
from sparring.attacks.losses import loss_of, margin
from sparring.core.problem import Problem

LEAST_FACTOR = 0.02
"""Final value of the factor on the size, as a share of the first."""


class State(NamedTuple):
    """Hold the state of the search, one row per sample.

    x: [m, ...], where each row stands. size: float64 [m], the length its change was to have. found: bool [m], has the goal
    been met?
    """

    x: Tensor
    size: Tensor
    found: Tensor


@attack(needs={"gradients", "scores"}, uses={"onto", "steepest"}, cites="Rony et al. 2019, arXiv:1811.09600; github.com/jeromerony/fast_adversarial")
def ddn(problem: Problem, *, steps: int = 100, factor: float = 0.05, start: float = 3.0, loss: str = "ce") -> Tensor:
    """Turn the change by the gradient, and let success alone decide its length.

    The length shrinks after a success and grows otherwise.

    Args:
        steps: Gradients.
        factor: By how much the length changes in a step at first; it falls to a fiftieth along a cosine. 0.05 is the paper's; the set
            `minimum` has 0.1.
        start: First length, as a multiple of the distance to the boundary as the clean gradient has it.
        loss: What is climbed.

    Source: Rony et al. 2019, arXiv:1811.09600; github.com/jeromerony/fast_adversarial.

    Differs from the paper: the first length and the steps are in units of that distance, not of images in [0, 1]; the length is that
    of the change after it met the box (the paper scales, then clips); coordinates at an edge take no part in a step; before
    the first success the length grows twice as fast; the factor falls; nothing is rounded to grey levels; the length never
    exceeds the radius of the threat, so without a wish for the smallest change this is an attack at that radius.
    """
    climbed, total = loss_of(loss), problem.steps(steps)

    def begin(live: Problem, restart: int) -> State:
        zeros = torch.zeros(len(live), dtype=torch.float64, device=live.x.device)
        return State(live.x, zeros, zeros.bool())

    def step(live: Problem, state: State, k: int) -> State:
        region, share = cast(Any, live.region), cosine(k, total)
        graded = live.gradient(state.x, climbed if k else margin)
        way, hit = region.steepest(free(live, state.x, graded.grad)), met(live, graded.scores)
        found, part = state.found | hit, factor * (LEAST_FACTOR + (1 - LEAST_FACTOR) * share)
        if k:
            smaller, larger = torch.minimum(state.size, live.smallest()) * (1 - part), state.size * torch.where(found, 1 + part, 1 + 2 * factor)
            size = torch.where(hit, smaller, larger)
        else:
            size = start * gap(live, graded.scores) / length(graded.grad).clamp_min(1e-30)
        size = size.minimum(region.radius)
        x = state.x + way * wide_as(size * (0.01 + 0.99 * share), way)
        return State(region.onto(x, size), size, found)

    return iterate(problem, begin, step, steps=steps, last_look=True)
