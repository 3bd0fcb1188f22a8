"""Coordinate search for tables and trees: try every allowed one-column change, keep the best, repeat."""

from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.loop import iterate
from sparring.core.problem import Problem, turn_of


class State(NamedTuple):
    """Hold the state of the search, one row per sample.

    x: [m, d], where each row stands. loss: [m], how far it is past the goal.
    """

    x: Tensor
    loss: Tensor


@attack(needs={"labels"}, uses={"moves", "sample"}, cites="coordinate descent over feasible moves; thresholds as in Kantchelian et al. 2016, arXiv:1509.07892")
def coordinate(problem: Problem, *, steps: int = 20, restarts: int = 4) -> Tensor:
    """Change one column at a time, by the allowed move that raises the loss most.

    Args:
        steps: Columns changed one after the other.
        restarts: The first from the clean row, later ones from random allowed rows. Where the adversary sees the model
            (access "gradients") and it is a tree or forest, the values tried are the two sides of its thresholds; then
            one step is exhaustive over single columns. On a plateau, as for labels alone, a random move of equal margin
            is taken.

    Source: coordinate descent over feasible moves; thresholds as in Kantchelian et al. 2016, arXiv:1509.07892.
    """

    def start(live: Problem, restart: int) -> State:
        x = live.x.clone() if restart == 0 else cast(Any, live.region).sample(live.rng.draw(f"start {restart}"))
        return State(x, live.losses(x))

    def step(live: Problem, state: State, k: int) -> State:
        owner, points = cast(Any, live.region).moves(state.x, knots_of(live))
        if not len(owner):
            return state
        losses = live.losses(points, owner).double()
        turns = turn_of(owner)
        uniform = live.rng.draw(f"luck {k}").uniform(int(turns.max()) + 1)[owner, turns]
        best = _best_of(owner, losses.where(~losses.isnan(), -torch.inf), uniform, len(live))
        has = best >= 0
        found = losses[best.clamp_min(0)]
        go = has & (found >= state.loss)
        x = torch.where(go[:, None], points[best.clamp_min(0)], state.x)
        return State(x, torch.where(go, found, state.loss.double()))

    return iterate(problem, start, step, steps=steps, restarts=restarts)


def knots_of(problem: Problem) -> list[Tensor] | None:
    """Return both sides of every threshold of a tree model, where the adversary may see it.

    A tree compares in float32 and sends x <= threshold left, so the sides are neighbours in float32.
    """
    thresholds = getattr(problem.victim, "thresholds", None)
    if thresholds is None or "gradients" not in problem.threat.grants:
        return None
    knots = []
    for values in thresholds:
        near = np.asarray(values, dtype=np.float32)
        left = np.where(near.astype(np.float64) <= values, near, np.nextafter(near, np.float32(-np.inf)))
        right = np.nextafter(left, np.float32(np.inf))
        knots.append(torch.from_numpy(np.concatenate([left, right]).astype(np.float64)))
    return knots


def _best_of(owner: Tensor, losses: Tensor, uniform: Tensor, count: int) -> Tensor:
    """Return the place of the best move of each row, int64 [count]; ties are broken at random, -1 means no moves."""
    order = torch.from_numpy(np.lexsort((uniform.numpy(), losses.numpy(), owner.numpy())))
    rows, ordered = torch.arange(count), owner[order]
    last = (torch.searchsorted(ordered, rows, right=True) - 1).clamp_min(0)
    return torch.where(ordered[last] == rows, order[last], -1)
