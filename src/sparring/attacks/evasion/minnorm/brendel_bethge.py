"""Brendel and Bethge: walk along the boundary, from an adversarial point toward the clean input, in steps that trust the gradient so far."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.minnorm.boundary import bisect, boxed, last_look, nearest_plane, wide
from sparring.attacks.loop import climb
from sparring.core.bout import Bout

HALVINGS = 8
"""How often the trusted length halves over the walk (the paper: 20 times over 1000 steps)."""

LOST = 0.98
"""A point before the boundary at less than this share of the smallest size so far has lost it: it goes half the way back."""


class State(NamedTuple):
    """x: [m, ...], the point to ask. found: the smallest point that met the goal, or where the row stands while there is none;
    size: float64 [m], its size, inf for none."""

    x: Tensor
    found: Tensor
    size: Tensor


@attack(
    needs={"gradients", "scores"},
    uses={"onto_plane", "project"},
    cites="Brendel, Rauber, Kuemmerer, Ustyuzhaninov, Bethge 2019, arXiv:1907.01003; github.com/bethgelab/foolbox",
)
def brendel_bethge(bout: Bout, *, steps: int = 100, trust: float = 0.3, overshoot: float = 0.1, start_steps: int = 20, search: int = 10) -> Tensor:
    """Follow the boundary to its nearest point: every step goes to the point of the local boundary nearest to the clean input, as far
    as the linearised model is trusted.

    steps: gradients along the boundary. trust: length of the first steps, as a share of the size of the smallest change so far; it halves
    eight times over the walk. overshoot: margin aimed at beyond the boundary, as a share of that before the step. start_steps: gradients
    to get beyond the boundary at first. search: bisections between the clean input and that point.

    Where we differ: the start comes from steps onto the linearised boundary, not from a sample of another class, so that a target
    needs none. Where the trust does not reach, the step goes so far along the straight way from the projection of the
    point to that of the clean input, both exact within bounds and in the norm of the threat (the paper solves a quadratic programme in
    a Euclidean trust region; where the trust reaches both give the same point). A point that has lost the boundary goes half the
    way back to the smallest change. There is no momentum. Where gradients mislead it stays near its start in L2 and L1: use another beside it.
    """

    def start(live: Bout, restart: int) -> State:
        x, found = live.x, live.x.clone()
        size = torch.full((len(live),), torch.inf, dtype=torch.float64, device=x.device)
        for _ in range(min(start_steps, bout.steps(start_steps))):
            rows = ((size == torch.inf) & live.unfinished()).nonzero().squeeze(1)
            if not len(rows):
                break
            some, here = live.take(rows), found[rows]
            plane = nearest_plane(some, here, None)
            there = boxed(some, cast(Any, some.region).onto_plane(here, plane.normal, (1 + overshoot) * plane.gap(here, here)), here)
            found[rows] = torch.where(wide(plane.done, here), here, there)
            size[rows] = torch.where(plane.done, some.region.size(here), torch.inf)
        x = bisect(live, found, size, search)
        return State(x, x, torch.where(size < torch.inf, live.region.size(x), torch.inf))

    def step(live: Bout, state: State, k: int) -> State:
        if k == wanted:
            last_look(live, state.found)
            return state
        plane = nearest_plane(live, state.x, None)
        here = live.region.size(state.x)
        better = plane.done & (here < state.size)
        found = torch.where(wide(better | (state.size == torch.inf), state.x), state.x, state.found)
        size = torch.where(better, here, state.size)
        region = cast(Any, live.region)
        beyond = overshoot * plane.margin.double().abs()
        near = region.onto_plane(state.x, plane.normal, plane.gap(state.x, state.x) + beyond)
        goal = region.onto_plane(live.x, plane.normal, plane.gap(state.x, live.x) + beyond)
        reach = torch.where(size < torch.inf, size, here) * trust * 0.5 ** (HALVINGS * k / max(wanted, 1))
        used = region.size(live.x + (near - state.x))
        way = region.size(live.x + (goal - near))
        share = ((reach - used) / way.clamp_min(1e-300)).clamp(0, 1)
        moved = near + wide(share, near) * (goal - near)
        length = region.size(live.x + (moved - state.x))
        moved = state.x + wide((reach / length.clamp_min(1e-300)).clamp(max=1), near) * (moved - state.x)
        lost = ~plane.done & (size < torch.inf) & (here < LOST * size)
        return State(boxed(live, torch.where(wide(lost, moved), (moved + found) / 2, moved), state.x), found, size)

    wanted = bout.steps(steps)
    return climb(bout, start, step, steps=wanted + 1)
