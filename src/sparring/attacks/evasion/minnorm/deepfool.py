"""DeepFool: step onto the nearest boundary of the linearised model until the goal is met."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.minnorm.boundary import bisect, boxed, last_look, nearest_plane, rivals_to_leave
from sparring.attacks.loop import drop_finished, take
from sparring.core.problem import Problem

CITES = "Moosavi-Dezfooli, Fawzi, Frossard 2016, arXiv:1511.04599, algorithms 1 and 2; github.com/LTS4/DeepFool"

GROWTH = 5.0
"""Relative growth of the overshoot per step, so that walks that converge to the boundary cross it."""


class State(NamedTuple):
    """Hold the state of the search, one row per sample.

    x: [m, ...], the point to ask. classes: int64 [m, k] or None, see `nearest_plane`. place: int64 [m], which row of the
    problem.
    """

    x: Tensor
    classes: Tensor | None
    place: Tensor


@attack(needs={"gradients", "scores"}, uses={"plain_step", "dual", "project"}, cites=CITES)
def deepfool(problem: Problem, *, steps: int = 50, candidates: int = 10, overshoot: float = 0.02, search: int = 0) -> Tensor:
    """Step onto the nearest boundary of the linearised model until the goal is met.

    Args:
        steps: At most.
        candidates: Wrong classes looked at, the highest of the clean input, a backward each.
        overshoot: Share by which the first step is lengthened; it grows by five times itself a step.
        search: Bisections of the way from the clean input to the point found, a forward each; 0, as in the paper, for none.

    Source: Moosavi-Dezfooli, Fawzi, Frossard 2016, arXiv:1511.04599, algorithms 1 and 2; github.com/LTS4/DeepFool.

    With search=8, as the set `minimum` has it, the point found is brought back to the boundary by bisection, which helps most where the gradient
    at the clean input misleads.

    Differs from the paper: each step is lengthened, more and more, instead of the whole change at the end; coordinates at an
    edge of the box take no part, and the others are clipped there (the paper ignores bounds); L1 too; a target is reached
    over the boundary with its best rival; where the goal was met outside the radius only, the point drawn back into it is tried.
    """
    scores = problem.scores(problem.x)
    classes = rivals_to_leave(problem, scores, candidates)
    reached, size = problem.x.clone(), torch.full((len(problem),), torch.inf, dtype=torch.float64, device=problem.rows.device)
    live, state = drop_finished(problem, State(problem.x, classes, torch.arange(len(problem), device=problem.rows.device)))
    wanted = problem.steps(steps)
    for k in range(wanted):
        if not len(live):
            break
        plane = nearest_plane(live, state.x, state.classes)
        size[state.place] = torch.where(plane.done, live.region.size(state.x), torch.inf)
        on = (~plane.done & live.unfinished()).nonzero().squeeze(1)
        live, state, plane = live.take(on), take(state, on), take(plane, on)
        moved = cast(Any, live.region).plain_step(state.x, plane.normal, plane.gap(state.x, state.x))
        state = state._replace(x=boxed(live, state.x + (1 + overshoot * (1 + GROWTH * k)) * (moved - state.x), state.x))
        reached[state.place] = state.x
    if len(live) and wanted:
        past = live.losses(state.x, probe=True)
        size[state.place] = torch.where(past > 0, live.region.size(state.x), torch.inf)
    bisect(problem, reached, size, search)
    last_look(problem, reached)
    return problem.best()
