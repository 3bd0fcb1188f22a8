"""Boundary attack: a random walk along the decision boundary that drifts toward the clean input."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.query.walk import asked, directions, first_points, kept, straight, to_boundary, walking
from sparring.attacks.loop import iterate
from sparring.core.problem import Problem
from sparring.core.space import wide
from sparring.threats.balls import box

LOOK = 10
"""Interval in steps at which the sidestep is queried alone, so that its size can be adapted."""
FACTOR = 1.5
"""Factor by which the shares grow if too many steps succeed."""


class State(NamedTuple):
    """Hold the state of the search, one row per sample.

    x: [m, ...], an adversarial point. size: float64 [m], its distance, 0 without one. aside, closer: float64 [m], the next
    steps as shares of the distance.
    """

    x: Tensor
    size: Tensor
    aside: Tensor
    closer: Tensor


@attack(needs={"labels"}, uses={"toward", "steepest"}, cites="Brendel, Rauber, Bethge 2018, arXiv:1712.04248; github.com/bethgelab/foolbox")
def boundary(problem: Problem, *, steps: int = 25000, aside: float = 0.01, closer: float = 0.01, start_tries: int = 100) -> Tensor:
    """Walk at random along the decision boundary, and drift toward the clean input.

    A random step at equal distance is followed by one toward the clean input; both are kept if the point is still adversarial.

    Args:
        steps: Proposals.
        aside: First length of the part of a step at equal distance, as a share of the distance; it adapts. With a few thousand queries 0.1 is better.
        closer: First length of the part toward the clean input, as a share of the distance; it adapts. With a few thousand queries 0.03 is better.
        start_tries: Random inputs tried for a first adversarial point.

    Source: Brendel, Rauber, Bethge 2018, arXiv:1712.04248; github.com/bethgelab/foolbox.

    Differs from the paper: the lengths of every sample follow its own answers after each of them, so that half of the sidesteps and a
    quarter of the whole steps succeed (the official code: from windows of 100 and 30 answers); from 64 coordinates on noise is uniform in
    the cube, which is cheaper; the walk begins at the boundary; a sample within its radius stops; in Linf and L1 distance and sidestep are
    those of the norm.
    """

    def start(live: Problem, restart: int) -> State:
        first = first_points(live, start_tries)
        walk = to_boundary(live, first, first.size / 100)
        return State(*walk, torch.full_like(walk.size, aside), torch.full_like(walk.size, closer))

    def step(live: Problem, state: State, k: int) -> State:
        return walking(live, state, lambda some, here: _move(some, here, k))

    return iterate(problem, start, step, steps=steps)


def _move(problem: Problem, here: State, k: int) -> State:
    x, region, everyone = here.x, cast(Any, problem.region), torch.arange(len(problem), device=here.x.device)
    noise = straight(directions(problem.rng.draw(k), x[0].numel(), x.dtype, 1).reshape(x.shape), x - region.origin)
    low, high = box(problem.victim.domain, x)
    side = (x + wide((here.aside * here.size).to(x.dtype), x) * region.steepest(noise)).clamp(low, high)
    side, aside = region.toward(side, here.size), here.aside
    if k % LOOK == 0:
        hit = asked(problem, side, everyone)
        aside = (aside * torch.where(hit, FACTOR, 1 / FACTOR)).clamp(1e-6, 1.0)
        everyone = problem.unfinished().nonzero().squeeze(1)
        if not len(everyone):
            return here
        region, side = region.take(everyone), side[everyone]
    guess = region.toward(side, (here.size * (1 - here.closer))[everyone])
    hit = asked(problem, guess, everyone)
    closer = here.closer.index_copy(0, everyone, here.closer[everyone] * torch.where(hit, FACTOR, FACTOR ** (-1 / 3))).clamp(1e-6, 0.5)
    return State(*kept(problem, x, here.size, guess[hit], everyone[hit]), aside, closer)
