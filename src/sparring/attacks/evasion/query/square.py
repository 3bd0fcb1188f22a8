"""Square attack: random search over square windows at the edge of the Linf ball."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.loop import climb
from sparring.core.bout import Bout

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries, of 10,000, after which the share of changed pixels halves (section 3, "the schedule")."""

AHEAD = 32
"""Steps whose windows are drawn at once, which is cheaper."""


class State(NamedTuple):
    """x: [m, ...], the best point. margin: [m], how far it is past the goal. drawn: [m, AHEAD, 2 + channels], shares that
    place and colour the windows of the coming steps."""

    x: Tensor
    margin: Tensor
    drawn: Tensor


@attack(
    needs={"scores"},
    uses={"paint"},
    cites="Andriushchenko et al. 2020, arXiv:1912.00049, algorithms 1 and 2; github.com/max-andr/square-attack",
)
def square(bout: Bout, *, queries: int = 5000, share: float = 0.8, restarts: int = 1, warm: bool = False) -> Tensor:
    """Random search for Linf: recolour one square window, keep it if the margin grew.

    queries: per restart and sample. share: part of the pixels changed at first. restarts: new stripes and windows,
    for samples that still stand. warm: begin at the best point that is known, if any was asked about, and not with
    stripes. Inputs without height and width are taken as one row of pixels.

    Where we differ: windows and colours are drawn for every sample by itself, and a window may reach the last
    row and column; in the official code a batch shares them and the last ones are never reached.
    """
    turn = 0

    def start(live: Bout, restart: int) -> State:
        nonlocal turn
        turn = restart
        channels, _, width = layout(live.x)
        colours = live.dice.draw(f"stripes {restart}").signs(channels, 1, width, dtype=live.x.dtype)
        x = cast(Any, live.region).paint(_painted(live.x, colours.expand(-1, *layout(live.x))))
        if warm and restart == 0:
            x = warmed(live, x)
        return State(x, live.margins(x), live.x.new_empty(len(live), AHEAD, 2 + channels))

    def step(live: Bout, state: State, k: int) -> State:
        channels, height, width = layout(live.x)
        side = window_side(share, k + 1, queries, height, width)
        if k % AHEAD == 0:
            state = state._replace(drawn=live.dice.draw(f"windows {k // AHEAD} of {turn}").uniform(AHEAD, 2 + channels))
        drawn = state.drawn[:, k % AHEAD]
        rows, columns = (window_at(drawn[:, axis], side, size) for axis, size in enumerate((height, width)))
        inside = rows.reshape(-1, 1, height, 1) & columns.reshape(-1, 1, 1, width)
        signs = torch.where(drawn[:, 2:] < 0.5, -1.0, 1.0).to(live.x.dtype).reshape(-1, channels, 1, 1)
        shape = live.x.shape if live.x.ndim == 4 else (-1, *layout(live.x))
        painted = cast(Any, live.region).paint(_painted(live.x, signs.expand(-1, *layout(live.x)))).reshape(shape)
        x = _painted(live.x, torch.where(inside, painted, state.x.reshape(shape)))
        margin = live.margins(x)
        better = margin > state.margin
        kept = torch.where(better.reshape(-1, *[1] * (x.ndim - 1)), x, state.x)
        return State(kept, torch.where(better, margin, state.margin), state.drawn)

    return climb(bout, start, step, steps=max(queries - 1, 0), restarts=restarts)


def window_side(share: float, turn: int, queries: int, height: int, width: int) -> int:
    """Side of the square window at this query of so many."""
    scaled = turn * 10000 / max(queries, 1)
    halved = share / 2 ** sum(scaled > at for at in HALVINGS)
    return max(1, min(round((halved * height * width) ** 0.5), max(height, width)))


def window_at(share: Tensor, side: int, size: int) -> Tensor:
    """bool [m, size]: a window of that side along one axis; a share of 0 begins at the first place, of 1 ends at the last."""
    first = (share * (size - min(side, size) + 1)).to(torch.int64)[:, None]
    place = torch.arange(size, device=share.device)
    return (place >= first) & (place < first + side)


def warmed(bout: Bout, cold: Tensor) -> Tensor:
    """The best point known of each row; where nothing was asked yet, the cold one."""
    known = bout.ledger.margin[bout.rows] > -torch.inf
    return torch.where(known.reshape(-1, *[1] * (cold.ndim - 1)), bout.best(), cold)


def layout(x: Tensor) -> tuple[int, int, int]:
    """(channels, height, width); flat inputs are one row of pixels."""
    return (x.shape[1], x.shape[2], x.shape[3]) if x.ndim == 4 else (1, 1, x[0].numel())


def _painted(x: Tensor, colours: Tensor) -> Tensor:
    return colours.reshape(x.shape)
