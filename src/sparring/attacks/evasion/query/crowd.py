"""Many points a sample asked in one go: what estimators of gradients and populations share."""

from collections.abc import Callable

import torch
from torch import Tensor

from sparring.attacks.attack import BATCH
from sparring.core.bout import Bout
from sparring.core.threat import Reference

NUMBERS_AT_ONCE = 2**23
"""Numbers in one slice of the points of a full batch; bounds the memory."""


def ask_crowd(
    bout: Bout,
    count: int,
    points: Callable[[Bout, Tensor, range], Tensor],
    *,
    value: Callable[[Tensor, Reference], Tensor] | None = None,
    probe: bool = False,
) -> Tensor:
    """Values [m, count] of `count` points a row: their margins, or `value` of their scores; NaN where nothing was answered.

    points: (the rows still open as a bout, which rows of this bout they are, which of the points) -> [open, points, ...].
    A row that breaks or runs out of budget is asked nothing more. The slices are cut by the number of points, never by
    the rows that happen to be here.
    """
    values = torch.full((len(bout), count), torch.nan, dtype=torch.float64, device=bout.rows.device)
    measured = bout.threat.goal.margin if value is None else value
    slice_ = max(1, NUMBERS_AT_ONCE // (BATCH * max(bout.x[0].numel(), 1)))
    for first in range(0, count, slice_):
        rows = bout.unfinished().nonzero().squeeze(1)
        if not len(rows):
            break
        turns, live = range(first, min(first + slice_, count)), bout.take(rows)
        asked = points(live, rows, turns)
        owner = torch.arange(len(rows), device=rows.device).repeat_interleave(len(turns))
        scores = live.scores(asked.flatten(0, 1), owner, probe=probe)
        answers = measured(scores, live.reference.take(owner)).double().reshape(len(rows), len(turns))
        values[rows[:, None], torch.tensor(turns, device=rows.device)] = answers
    return values


def spread(rows: Tensor, like: Tensor) -> Tensor:
    """[n] to [n, 1, ...] with as many axes as `like`."""
    return rows.reshape(-1, *[1] * (like.ndim - 1))
