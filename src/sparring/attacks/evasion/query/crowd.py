"""Queries about many points per sample at once, which gradient estimators and populations share."""

from collections.abc import Callable

import torch
from torch import Tensor

from sparring.attacks.attack import BATCH
from sparring.attacks.losses import loss_of
from sparring.core.problem import Loss, Problem

NUMBERS_AT_ONCE = 2**23
"""Numbers in one slice of the points of a full batch, which limits the memory."""


def ask_crowd(
    problem: Problem,
    count: int,
    points: Callable[[Problem, Tensor, range], Tensor],
    *,
    value: Loss | None = None,
    probe: bool = False,
) -> Tensor:
    """Return values [m, count] of `count` points per row; NaN where nothing was answered.

    They are the margins of the points, or `value` of their scores.

    Args:
        points: (the rows still open as a problem, which rows of this problem they are, which of the points) -> [open,
            points, ...]. A row that breaks or runs out of budget is asked nothing more. The slices are cut by the
            number of points, never by the rows that happen to be here.
    """
    values = torch.full((len(problem), count), torch.nan, dtype=torch.float64, device=problem.rows.device)
    measured = loss_of("margin") if value is None else value
    slice_ = max(1, NUMBERS_AT_ONCE // (BATCH * max(problem.x[0].numel(), 1)))
    for first in range(0, count, slice_):
        rows = problem.unfinished().nonzero().squeeze(1)
        if not len(rows):
            break
        turns, live = range(first, min(first + slice_, count)), problem.take(rows)
        asked = points(live, rows, turns)
        owner = torch.arange(len(rows), device=rows.device).repeat_interleave(len(turns))
        scores = live.scores(asked.flatten(0, 1), owner, probe=probe)
        answers = measured(scores, live.criterion.take(owner)).double().reshape(len(rows), len(turns))
        values[rows[:, None], torch.tensor(turns, device=rows.device)] = answers
    return values
