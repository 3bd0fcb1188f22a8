"""HopSkipJump: walk along the decision boundary toward the clean input, asking for labels only."""

import math
from typing import Any, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.query.walk import Walk, asked, first_points, normal_at, to_boundary, walking
from sparring.attacks.loop import iterate
from sparring.core.problem import Problem
from sparring.core.space import wide
from sparring.threats.balls import box

PROBES_AT_ONCE = 2**18
"""Numbers in one query on a CPU: arrays that fit the caches are drawn and summed several times faster."""


@attack(needs={"labels"}, uses={"toward", "steepest"}, cites="Chen, Jordan, Wainwright 2020, arXiv:1904.02144; github.com/Jianbo-Lab/HSJA")
def hopskipjump(problem: Problem, *, steps: int = 64, probes: int = 100, most_probes: int = 10000, start_tries: int = 100) -> Tensor:
    """Minimise the distance to the clean input along the boundary, by label queries alone.

    The walk ends once the point is within the radius.

    Args:
        steps: Gradient estimates.
        probes: Random directions of the first estimate; it grows with the square root of the step up to `most_probes`.
        most_probes: The most random directions of one estimate.
        start_tries: Random inputs tried for a first adversarial point.

    Source: Chen, Jordan, Wainwright 2020, arXiv:1904.02144; github.com/Jianbo-Lab/HSJA.

    Differs from the paper: a sample whose distance came below its radius stops. Directions are Gaussian, or from 64 coordinates
    on uniform in the cube, for every norm (the official code: Gaussian, uniform for Linf), and the boundary is met to
    within distance / d^1.5 in all of them (the paper: 1 / d^2 in Linf). The start is one of four kinds of noise in turn
    (the paper: uniform noise), a targeted one too (the paper: an input of the target class, which is not at hand here):
    a target without such a start within `start_tries` is left as it is.
    """

    def start(live: Problem, restart: int) -> Walk:
        first = first_points(live, start_tries)
        return to_boundary(live, first, _tolerance(first))

    def step(live: Problem, state: Walk, k: int) -> Walk:
        def move(some: Problem, here: Walk) -> Walk:
            wanted = min(int(probes * math.sqrt(k + 1)), most_probes)
            count = some.left().clamp(max=wanted + 1) - 1  # a row that is short of queries keeps one for the jump
            reach = here.size / here.x[0].numel()
            direction = normal_at(some, here, reach, count, some.rng.draw(f"probe {k}"), PROBES_AT_ONCE)
            there = _jump(some, here, direction, k)
            return to_boundary(some, there, _tolerance(there))

        return walking(live, state, move)

    return iterate(problem, start, step, steps=steps)


def _tolerance(walk: Walk) -> Tensor:
    return walk.size / max(walk.x[0].numel(), 2) ** 1.5


def _jump(problem: Problem, state: Walk, direction: Tensor, k: int) -> Walk:
    """Step along the direction, halving the step until the goal is met (section 4, geometric progression)."""
    low, high = box(problem.victim.domain, state.x)
    way, x = cast(Any, problem.region).steepest(direction), state.x.clone()
    length = state.size / math.sqrt(k + 1)
    for _ in range(15):
        rows = (problem.unfinished() & (length > 0)).nonzero().squeeze(1)
        if not len(rows):
            break
        guess = (state.x[rows] + wide(length[rows].to(x.dtype), x) * way[rows]).clamp(low, high)
        hit = asked(problem, guess, rows)
        x[rows[hit]] = guess[hit]
        length[rows] = torch.where(hit, 0.0, length[rows] / 2)
    return Walk(x, torch.where(state.size > 0, problem.region.size(x), 0.0))
