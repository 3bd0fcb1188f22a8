"""Sigma-zero: a smooth count of the changed places, and a threshold that removes small changes."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.minnorm.adam import Adam
from sparring.attacks.evasion.minnorm.shrinking import cosine, met, wide_as
from sparring.attacks.loop import iterate
from sparring.attacks.losses import margin
from sparring.core.problem import Problem
from sparring.threats.sparse import on, pixels


class State(NamedTuple):
    """Hold the state of the search, one row per sample.

    x: [m, ...], where each row stands. threshold: float64 [m], changes below it, as shares of the way from edge to edge of
    the box, are taken back.
    """

    x: Tensor
    threshold: Tensor
    adam: Adam


@attack(needs={"gradients", "scores"}, uses={"changed"}, cites="Cinà et al. 2025, arXiv:2402.01879; github.com/sigma0-advx/sigma-zero")
def sigma_zero(
    problem: Problem, *, steps: int = 100, step_size: float = 1.0, softness: float = 1e-3, threshold: float = 0.3, threshold_step: float = 0.01
) -> Tensor:
    """Minimise a smooth count of the changed places, and take small changes back.

    Args:
        steps: Gradients.
        step_size: Largest move of a coordinate in the first step, as a share of its way from edge to edge; it falls to
            a tenth along a cosine.
        softness: Sigma of the count d^2 / (d^2 + sigma).
        threshold: First size of a change that is taken back; it rises by `threshold_step` times the step after a
            success, and falls otherwise.
        threshold_step: Step of that threshold, as a multiple of the step of the coordinates.

    Source: Cinà et al. 2025, arXiv:2402.01879; github.com/sigma0-advx/sigma-zero.

    Differs from the paper: a place with several channels counts once, by its Euclidean length; coordinates are in units of
    their way from edge to edge, so that any box will do.
    """
    total = problem.steps(steps)

    def begin(live: Problem, restart: int) -> State:
        return State(live.x, torch.full((len(live),), threshold, dtype=torch.float64, device=live.x.device), Adam.like(live.x))

    def step(live: Problem, state: State, k: int) -> State:
        region = cast(Any, live.region)
        way = (region.high - region.low).clamp_min(torch.finfo(state.x.dtype).tiny)
        graded = live.gradient(state.x, margin, probe=True)
        hit, change = met(live, graded.scores), (state.x - live.x) / way
        power = pixels(change).square().sum(1, keepdim=True)
        count = 2 * softness * pixels(change) / (power + softness).square() / power.shape[2]
        # the margin is divided by its largest slope; otherwise its weight against the count would depend on the scale of scores
        slope = graded.grad * way
        slope = slope / wide_as(slope.abs().flatten(1).amax(1).clamp_min(1e-30), slope) * wide_as(~hit, slope)
        down = count.reshape(change.shape) - slope
        pace = step_size * (0.1 + 0.9 * cosine(k, total))
        adam = state.adam.seen(down / wide_as(down.abs().flatten(1).amax(1).clamp_min(1e-30), down))
        x = (state.x - adam.direction() * pace * way).clamp(region.low, region.high)
        far = pixels((x - live.x) / way).square().sum(1).sqrt() >= state.threshold.to(x.dtype)[:, None]
        moved = (state.threshold + torch.where(hit, pace, -pace) * threshold_step).clamp(0, 1)
        return State(on(far, x, live.x), moved, adam)

    return iterate(problem, begin, step, steps=steps)
