"""Searches in one direction at a time for goals about values: up or down in one output."""

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from sparring.core.errors import NeedsError
from sparring.core.problem import Problem
from sparring.tasks.values import ValueCriterion


def each_way(problem: Problem, search: Callable[[Problem], Tensor], most: int) -> Tensor:
    """Run a search once per end of the goal's interval, and return the best points.

    Only samples that are not broken yet are searched.

    If a goal can be met above and below, its loss follows the nearer end, and a single ascent never tries the other.

    Args:
        problem: A problem whose goal is about values.
        search: Maximises the loss of a problem.
        most: Number of ends to try, beginning with the end nearest to the clean answer.
    """
    if not isinstance(criterion := problem.criterion, ValueCriterion):
        raise NeedsError(f"the attack needs a goal for values, got {type(criterion).__name__}: use pgd or square, which support every goal")
    ends = _distances(problem, criterion)
    ranked = ends.argsort(dim=1, descending=True, stable=True)[:, :most]
    for turn in range(ranked.shape[1]):
        chosen = ranked[:, turn]
        open_ended = torch.isfinite(ends.gather(1, chosen[:, None]).squeeze(1))
        rows = (problem.unfinished() & open_ended).nonzero().squeeze(1)
        if len(rows):
            search(replace(problem.take(rows), criterion=_one_way(criterion.take(rows), chosen[rows])))
    return problem.best()


def _distances(problem: Problem, criterion: ValueCriterion) -> Tensor:
    """Return how far the clean answer is past each end, float64 [m, 2 * outputs]: upper ends first; -inf if there is no end."""
    scores = problem.scores(problem.x).double().nan_to_num(0.0)
    return torch.cat([scores - criterion.high, criterion.low - scores], 1)


def _one_way(criterion: ValueCriterion, chosen: Tensor) -> ValueCriterion:
    """Return the goal restricted to one end; meeting it meets the whole goal."""
    low, high = criterion
    outputs = torch.arange(low.shape[1], device=low.device)
    up, down = (outputs == chosen[:, None]), (outputs + low.shape[1] == chosen[:, None])
    return ValueCriterion(low.where(down, -math.inf), high.where(up, math.inf))
