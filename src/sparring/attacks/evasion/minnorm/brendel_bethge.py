"""Brendel and Bethge: walk along the boundary, from an adversarial point toward the clean input, in steps that trust the gradient so far."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.minnorm.boundary import Plane, bisect, boxed, last_look, nearest_plane
from sparring.attacks.evasion.minnorm.shrinking import free, wide_as
from sparring.attacks.loop import iterate
from sparring.core.problem import Problem

START_GROWTH = 1.3
"""Factor by which the steps grow in the search for a first adversarial point."""

GROWN, SHRUNK = 1.5, 0.5
"""Factors on the trusted length after a success closer to the clean input, and after a step that failed."""


class State(NamedTuple):
    """Hold the state of the search, one row per sample.

    x: [m, ...], the point to ask. found: the smallest point that met the goal, or where the row stands while there is none;
    size: float64 [m], its size, inf for none; normal, loss: of the boundary as seen from there. trust: float64 [m],
    length of a step as a share of the size. missed: int64 [m], questions since the last smaller success.
    """

    x: Tensor
    found: Tensor
    size: Tensor
    normal: Tensor
    loss: Tensor
    trust: Tensor
    missed: Tensor


@attack(
    needs={"gradients", "scores"},
    uses={"onto_plane", "ascend", "dual", "project"},
    cites="Brendel, Rauber, Kuemmerer, Ustyuzhaninov, Bethge 2019, arXiv:1907.01003; github.com/bethgelab/foolbox",
)
def brendel_bethge(problem: Problem, *, steps: int = 1000, trust: float = 0.3, overshoot: float = 1.0, start_steps: int = 30, search: int = 10) -> Tensor:
    """Follow the decision boundary to its point nearest to the clean input.

    Every step goes to the point of the local boundary nearest to the clean input, as far as the linearised model is trusted.

    Args:
        steps: Gradients along the boundary; 1,000 in the official code. The set `minimum` has 100.
        trust: Length of a step along it at most, as a share of the size of the smallest change so far; each row
            shortens it after a failure and lengthens it after a success.
        overshoot: Margin aimed at beyond the boundary, as a share of that before the step.
        start_steps: Gradients to get beyond the boundary at first.
        search: Bisections between the clean input and that point.

    Source: Brendel, Rauber, Kuemmerer, Ustyuzhaninov, Bethge 2019, arXiv:1907.01003; github.com/bethgelab/foolbox.

    Differs from the paper: the start comes from growing steps up the gradient, not from a sample of another class, so that a target needs
    none. Where the trust does not reach, the step goes so far along the straight way from the projection of the point onto
    the boundary to that of the clean input, both exact within bounds and in the norm of the threat (the paper solves a quadratic
    programme in a Euclidean trust region; where the trust reaches both give the same point). The trust adapts to each row (the
    paper: a schedule for all). After a step that is no smaller success one correction goes straight back over the boundary; if that
    is none either, the row goes on from its smallest success with half the trust. There is no momentum.
    """

    def start(live: Problem, restart: int) -> State:
        x, found = live.x, live.x.clone()
        first, size = (torch.full((len(live),), value, dtype=torch.float64, device=x.device) for value in (0.0, torch.inf))
        for k in range(problem.steps(start_steps)):
            rows = ((size == torch.inf) & live.unfinished()).nonzero().squeeze(1)
            if not len(rows):
                break
            some, here = live.take(rows), found[rows]
            region, plane = cast(Any, some.region), nearest_plane(some, here, None)
            if k == 0:
                first[rows] = plane.loss.double().abs().nan_to_num(0.0) / region.dual(plane.normal).clamp_min(1e-30)
            there = boxed(some, region.ascend(here, free(some, here, plane.normal), first[rows] * START_GROWTH**k), here)
            found[rows] = torch.where(wide_as(plane.done, here), here, there)
            size[rows] = torch.where(plane.done, region.size(here), torch.inf)
        x = bisect(live, found, size, search)
        size = torch.where(size < torch.inf, live.region.size(x), torch.inf)
        return State(x, x, size, torch.zeros_like(x), x.new_zeros(len(x)), torch.full_like(size, trust), torch.zeros_like(live.rows))

    def step(live: Problem, state: State, k: int) -> State:
        if k == wanted:
            last_look(live, state.found)
            return state
        region, plane = cast(Any, live.region), nearest_plane(live, state.x, None)
        here = region.size(state.x)
        better = plane.done & (here <= state.size)
        anew = better | (state.size == torch.inf)
        missed = torch.where(anew, 0, state.missed + 1)
        back = missed > 1
        found, size = torch.where(wide_as(anew, state.x), state.x, state.found), torch.where(better, here, state.size)
        normal, loss = torch.where(wide_as(anew, state.x), plane.normal, state.normal), torch.where(anew, plane.loss, state.loss)
        pace = torch.where(back, state.trust * SHRUNK, torch.where(better, (state.trust * GROWN).clamp(max=trust), state.trust))
        x, reach = torch.where(wide_as(back, state.x), found, state.x), torch.where(size < torch.inf, size, here) * pace
        plane = Plane(torch.where(back, loss, plane.loss), torch.where(wide_as(back, x), normal, plane.normal), plane.done, plane.past)
        near, goal = _ends(live, x, plane, overshoot)
        share = (reach / region.size(live.x + (goal - near)).clamp_min(1e-300)).clamp(max=1) * (missed != 1)
        x = boxed(live, near + wide_as(share, near) * (goal - near), x)
        return State(x, found, size, normal, loss, pace, torch.where(back, 0, missed))

    wanted = problem.steps(steps)
    return iterate(problem, start, step, steps=wanted + 1)


def _ends(live: Problem, x: Tensor, plane: Plane, overshoot: float) -> tuple[Tensor, Tensor]:
    """Return the points of the boundary, linearised at x, that are nearest to x and to the clean input."""
    region, beyond = cast(Any, live.region), overshoot * plane.loss.double().abs()
    near, goal = (region.onto_plane(point, plane.normal, plane.gap(x, point) + beyond) for point in (x, live.x))
    return near, goal
