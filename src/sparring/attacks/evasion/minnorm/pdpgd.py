"""PDPGD: primal-dual proximal gradient descent, steps that lower the loss and shrink the size in turn."""

import math
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.minnorm.shrinking import free, gap, length, met, wide_as, within
from sparring.attacks.loop import iterate
from sparring.attacks.losses import margin
from sparring.core.problem import Problem

MEMORY = 0.9
"""Share of the running average of gradients that a step keeps (Adam's)."""


GROWTH = 1.1
"""Factor by which steps grow before the first success: gradients often underestimate the distance to the boundary."""


class State(NamedTuple):
    """Hold the state of the search, one row per sample.

    x: [m, ...], where each row stands. mean: like x, running average of the gradients, each of length 1, 0 where the goal
    was met. reach: float64 [m], Euclidean distance of the boundary as the clean gradient has it. steep: float64 [m], margin
    gained by a change of size 1 there. dual: float64 [m], logarithm of the weight of the size, as a share of `steep`.
    """

    x: Tensor
    mean: Tensor
    reach: Tensor
    steep: Tensor
    dual: Tensor


@attack(needs={"gradients", "scores"}, uses={"shrunk", "within", "steepest"}, cites="Matyasko, Chau 2021, arXiv:2106.01538; github.com/aam-at/cpgd")
def pdpgd(problem: Problem, *, steps: int = 100, step_size: float = 1.0, weight: float = 0.1, dual_step: float = 0.2) -> Tensor:
    """Alternate gradient steps on the lack of margin with proximal steps of the weighted size.

    Args:
        steps: Gradients.
        step_size: First step, as a multiple of the Euclidean distance to the boundary as the clean gradient has it; it
            falls to a hundredth.
        weight: Of the size against the margin at first, as a share of what a change of size 1 gains.
        dual_step: By how much the logarithm of the weight rises after a success, or falls; it decreases to a tenth.

    Source: Matyasko, Chau 2021, arXiv:2106.01538; github.com/aam-at/cpgd.

    Differs from the paper: steps follow the running average of gradients of length 1 instead of Adam, so that the proximal step is
    exact and needs no inner iterations; while the goal is met no step along the gradient is made (the paper:
    softplus); before the first success every step is a tenth longer than the last; weights and steps are in units of the clean
    gradient; iterates stay within the radius of the threat.
    """
    total = problem.steps(steps)

    def begin(live: Problem, restart: int) -> State:
        zeros = torch.zeros(len(live), dtype=torch.float64, device=live.x.device)
        return State(live.x, torch.zeros_like(live.x), zeros, zeros, zeros + math.log(max(weight, 1e-30)))

    def step(live: Problem, state: State, k: int) -> State:
        region = cast(Any, live.region)
        graded = live.gradient(state.x, margin)
        g, hit = free(live, state.x, graded.grad), met(live, graded.scores)
        reach, steep = state.reach, state.steep
        if k == 0:
            reach = gap(live, graded.scores) / length(g).clamp_min(1e-30)
            steep = (g * region.steepest(g)).flatten(1).double().sum(1) / length(g).clamp_min(1e-30)
        found = live.smallest().isfinite()
        reach = torch.where(found, reach, reach * GROWTH)
        mean = MEMORY * state.mean + (1 - MEMORY) * g * wide_as(~hit / length(g).clamp_min(1e-30), g)
        pace = step_size * reach * 0.01 ** (k / max(total, 1))
        x = region.shrunk(state.x + mean * wide_as(pace / (1 - MEMORY ** (k + 1)), g), pace * steep * state.dual.exp())
        x = within(live, x, region.radius)
        change = dual_step * (1 - 0.9 * k / max(total, 1))
        return State(x, mean, reach, steep, (state.dual + torch.where(hit, change, -change)).clamp(-14, 14))

    return iterate(problem, begin, step, steps=steps, last_look=True)
