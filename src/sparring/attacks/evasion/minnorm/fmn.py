"""FMN: fast minimum norm, a ball around the clean input that shrinks after a success and otherwise grows to the boundary."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.minnorm.shrinking import cosine, free, gap, length, met, wide_as, within
from sparring.attacks.loop import iterate
from sparring.attacks.losses import loss_of
from sparring.core.problem import Problem

LEAST_FACTOR, LEAST_STEP = 0.02, 0.01
"""Final values of the factor on the size and of the step size, as shares of the first."""


class State(NamedTuple):
    """Hold the state of the search, one row per sample.

    x: [m, ...], where each row stands. size: float64 [m], how large its change may be. found: bool [m], has the goal been
    met? stride: float64 [m], Euclidean length of the first steps.
    """

    x: Tensor
    size: Tensor
    found: Tensor
    stride: Tensor


@attack(
    needs={"gradients", "scores"},
    uses={"project", "steepest"},
    cites="Pintor et al. 2021, arXiv:2102.12827; github.com/pralab/Fast-Minimum-Norm-FMN-Attack",
)
def fmn(problem: Problem, *, steps: int = 100, step_size: float = 1.0, factor: float = 0.05, start: float = 3.0, loss: str = "margin") -> Tensor:
    """Take normalised steps, each projected onto a ball whose size follows the successes.

    It serves every norm.

    Args:
        steps: Gradients.
        step_size: Of the first steps, as a multiple of the Euclidean length of the change; it falls to a hundredth
            along a cosine.
        factor: By how much the size of the ball changes in a step at first; it falls to a fiftieth. 0.05 is the paper's; the set
            `minimum` has 0.1.
        start: First size, as a multiple of the distance to the boundary as the clean gradient has it.
        loss: What is climbed.

    Source: Pintor et al. 2021, arXiv:2102.12827; github.com/pralab/Fast-Minimum-Norm-FMN-Attack.

    Differs from the paper: first size and steps are in units of that distance, not of images in [0, 1]; coordinates at an edge of the
    box take no part in a step; before the first success the ball grows by at least twice the factor, so that a
    distance that the gradient calls too small is overcome; the size never exceeds the radius of the threat, so without a wish
    for the smallest change this is an attack at that radius.
    """
    climbed, total = loss_of(loss), problem.steps(steps)

    def begin(live: Problem, restart: int) -> State:
        zeros = torch.zeros(len(live), dtype=torch.float64, device=live.x.device)
        return State(live.x, zeros, zeros.bool(), zeros)

    def step(live: Problem, state: State, k: int) -> State:
        region, share = cast(Any, live.region), cosine(k, total)
        graded = live.gradient(state.x, climbed)
        g, hit = free(live, state.x, graded.grad), met(live, graded.scores)
        found, part = state.found | hit, factor * (LEAST_FACTOR + (1 - LEAST_FACTOR) * share)
        lack = gap(live, graded.scores)
        reach = lack / (g * region.steepest(g)).flatten(1).double().sum(1).clamp_min(1e-30)  # the dual norm of g
        if k:
            smaller = torch.minimum(state.size, live.smallest()) * (1 - part)
            grown = torch.maximum(region.size(state.x) + reach, state.size * (1 + 2 * factor))
            size = torch.where(hit, smaller, torch.where(found, state.size * (1 + part), grown))
            stride = state.stride
        else:
            size, stride = start * reach, start * lack / length(g).clamp_min(1e-30)
        size = size.minimum(region.radius)
        change = length(state.x - live.x)
        pace = step_size * torch.where(found & (change > 0), change, change.maximum(stride)) * (LEAST_STEP + (1 - LEAST_STEP) * share)
        steep = length(g)
        x = state.x + g * wide_as(torch.where(steep > 0, pace / steep.clamp_min(1e-30), 0.0), g)
        return State(within(live, x, size), size, found, stride)

    return iterate(problem, begin, step, steps=steps, last_look=True)
