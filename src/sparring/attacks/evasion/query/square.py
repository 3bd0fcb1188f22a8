"""Square attack: random search over square windows at the edge of the Linf ball."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.loop import iterate
from sparring.core.problem import Problem

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries, of 10,000, after which the share of changed pixels halves (section 3, "the schedule")."""

AHEAD = 32
"""Steps whose windows are drawn at once, which is cheaper."""


class State(NamedTuple):
    """Hold the state of the search, one row per sample.

    x: [m, ...], the best point. loss: [m], how far it is past the goal. drawn: [m, AHEAD, 2 + channels], shares that
    place and colour the windows of the coming steps.
    """

    x: Tensor
    loss: Tensor
    drawn: Tensor


@attack(
    needs={"scores"},
    uses={"paint"},
    cites="Andriushchenko et al. 2020, arXiv:1912.00049, algorithms 1 and 2; github.com/max-andr/square-attack",
)
def square(problem: Problem, *, queries: int = 5000, share: float = 0.8, restarts: int = 1, warm: bool = False) -> Tensor:
    """Recolour one square window at random (Linf), and keep it if the loss grew.

    Args:
        queries: Per restart and sample.
        share: Part of the pixels changed at first.
        restarts: New stripes and windows, for samples that still stand.
        warm: Begin at the best point that is known, if any was asked about, and not with stripes. Inputs without height
            and width are taken as one row of pixels.

    Source: Andriushchenko et al. 2020, arXiv:1912.00049, algorithms 1 and 2; github.com/max-andr/square-attack.

    Differs from the paper: windows and colours are drawn for every sample by itself, and a window may reach the last
    row and column; in the official code a batch shares them and the last ones are never reached.
    """
    turn = 0

    def start(live: Problem, restart: int) -> State:
        nonlocal turn
        turn = restart
        channels, _, width = layout(live.x)
        colours = live.rng.draw(f"stripes {restart}").signs(channels, 1, width, dtype=live.x.dtype)
        x = cast(Any, live.region).paint(colours.expand(-1, *layout(live.x)).reshape(live.x.shape))
        if warm and restart == 0:
            x = warmed(live, x)
        return State(x, live.losses(x), live.x.new_empty(len(live), AHEAD, 2 + channels))

    def step(live: Problem, state: State, k: int) -> State:
        channels, height, width = layout(live.x)
        side = window_side(share, k + 1, queries, height, width)
        if k % AHEAD == 0:
            state = state._replace(drawn=live.rng.draw(f"windows {k // AHEAD} of {turn}").uniform(AHEAD, 2 + channels))
        drawn = state.drawn[:, k % AHEAD]
        rows, columns = (window_at(drawn[:, axis], side, size) for axis, size in enumerate((height, width)))
        inside = rows.reshape(-1, 1, height, 1) & columns.reshape(-1, 1, 1, width)
        signs = torch.where(drawn[:, 2:] < 0.5, -1.0, 1.0).to(live.x.dtype).reshape(-1, channels, 1, 1)
        shape = live.x.shape if live.x.ndim == 4 else (-1, *layout(live.x))
        painted = cast(Any, live.region).paint(signs.expand(-1, *layout(live.x)).reshape(live.x.shape)).reshape(shape)
        x = torch.where(inside, painted, state.x.reshape(shape)).reshape(live.x.shape)
        loss = live.losses(x)
        better = loss > state.loss
        kept = torch.where(better.reshape(-1, *[1] * (x.ndim - 1)), x, state.x)
        return State(kept, torch.where(better, loss, state.loss), state.drawn)

    return iterate(problem, start, step, steps=max(queries - 1, 0), restarts=restarts)


def window_side(share: float, turn: int, queries: int, height: int, width: int) -> int:
    """Return the side of the square window at this query of so many."""
    scaled = turn * 10000 / max(queries, 1)
    halved = share / 2 ** sum(scaled > at for at in HALVINGS)
    return max(1, min(round((halved * height * width) ** 0.5), max(height, width)))


def window_at(share: Tensor, side: int, size: int) -> Tensor:
    """Return a window of that side along one axis.

    A share of 0 begins at the first place, of 1 ends at the last, bool [m, size].
    """
    first = (share * (size - min(side, size) + 1)).to(torch.int64)[:, None]
    place = torch.arange(size, device=share.device)
    return (place >= first) & (place < first + side)


def warmed(problem: Problem, cold: Tensor) -> Tensor:
    """Return the best point known of each row; where nothing was asked yet, the cold one."""
    known = problem.ledger.loss[problem.rows] > -torch.inf
    return torch.where(known.reshape(-1, *[1] * (cold.ndim - 1)), problem.best(), cold)


def layout(x: Tensor) -> tuple[int, int, int]:
    """Return (channels, height, width); flat inputs are one row of pixels."""
    return (x.shape[1], x.shape[2], x.shape[3]) if x.ndim == 4 else (1, 1, x[0].numel())
