"""RayS: search over corner directions for the one in which the decision boundary is nearest in Linf."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.query.walk import asked
from sparring.attacks.loop import iterate
from sparring.core.problem import Problem
from sparring.core.space import wide
from sparring.threats.balls import box

PRECISION = 1 / 128
"""Tolerance of the bisection, as a share of the distance at which a direction was first queried."""


class State(NamedTuple):
    """Hold the state of the search, one row per sample.

    signs: [m, ...], the best direction. size: float64 [m], distance of the boundary along it; infinite until one is found.
    """

    signs: Tensor
    size: Tensor


@attack(needs={"labels"}, uses={"paint", "toward"}, cites="Chen, Gu 2020, arXiv:2006.12792, algorithms 2 and 3; github.com/uclaml/RayS")
def rays(problem: Problem, *, flips: int = 10000) -> Tensor:
    """Flip the signs of blocks of coordinates, and keep a flip that brings the boundary nearer.

    The blocks have half the length in every round.

    Args:
        flips: Blocks tried, the plain direction included. Blocks are runs of coordinates in the order of the input.

    Source: Chen, Gu 2020, arXiv:2006.12792, algorithms 2 and 3; github.com/uclaml/RayS.

    Differs from the paper: distance is Linf (the official code: the L2 length of the same ray before the box cuts it); bisection
    goes no nearer than the radius, where the sample is broken, unless the smallest change is wanted, and stops at 1/128 of the distance; where a column has
    no bounds, a ray reaches as far as (1 + |value|), further with every flip until one succeeds. There is no randomness.
    """

    def start(live: Problem, restart: int) -> State:
        return State(torch.ones_like(live.x), torch.full((len(live),), torch.inf, dtype=torch.float64, device=live.x.device))

    def step(live: Problem, state: State, k: int) -> State:
        first, last = block_of(k, live.x[0].numel())
        flat = state.signs.flatten(1).clone()
        flat[:, first:last] *= -1
        signs = flat.reshape(live.x.shape)
        edge = _edge(live, signs, k)
        size = torch.minimum(state.size, live.region.size(edge))
        region = cast(Any, live.region)
        everyone = torch.arange(len(live), device=live.x.device)
        better = everyone[asked(live, region.toward(edge, size), everyone)]
        if not len(better):
            return state
        nearest = _bisect(live.take(better), signs[better], edge[better], size[better])
        return State(state.signs.index_copy(0, better, signs[better]), state.size.index_copy(0, better, nearest))

    return iterate(problem, start, step, steps=flips)


def block_of(turn: int, dimensions: int) -> tuple[int, int]:
    """Return the bounds of the block that is flipped at this turn; an empty block at turn 0.

    They are the first and one past the last coordinate.

    Round r has 2^r blocks; once blocks hold one coordinate, rounds go over all of them again and again.
    """
    turn -= 1
    if turn < 0:
        return 0, 0
    blocks = 1
    while True:
        length = -(-dimensions // blocks)
        filled = -(-dimensions // length)
        if turn < filled:
            return turn * length, min((turn + 1) * length, dimensions)
        turn -= filled
        if length == 1:
            turn %= dimensions
        else:
            blocks *= 2


def _edge(problem: Problem, signs: Tensor, k: int) -> Tensor:
    """Return where the ray leaves the box; a distant point if the box is unbounded."""
    low, high = box(problem.victim.domain, signs)
    edge = torch.where(signs > 0, high.expand_as(signs), low.expand_as(signs))
    return torch.where(edge.isfinite(), edge, problem.x + signs * (1 + problem.x.abs()) * 1.25 ** min(k, 62))


def _bisect(problem: Problem, signs: Tensor, edge: Tensor, size: Tensor) -> Tensor:
    """Return the distance of the boundary along each ray that is adversarial at `size`, float64 [m]."""
    region, radius = cast(Any, problem.region), cast(Any, problem.region).radius
    nearest = torch.zeros_like(size) if problem.threat.minimal else radius  # no nearer, unless the smallest change is wanted
    low, high, tolerance = torch.zeros_like(size), size.clone(), size * PRECISION
    while bool((open_ := (high - low > tolerance) & problem.unfinished()).any()):
        rows = open_.nonzero().squeeze(1)
        middle = torch.maximum((low + high) / 2, torch.minimum(nearest, high))[rows]
        part = region.take(rows)
        inside = wide(middle <= nearest[rows], signs)
        hit = asked(problem, torch.where(inside, part.paint(signs[rows]), part.toward(edge[rows], middle)), rows)
        low[rows] = torch.where(hit & (middle < high[rows]), low[rows], middle)
        high[rows] = torch.where(hit, middle, high[rows])
    return high
