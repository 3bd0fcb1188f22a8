"""Sparse-RS: random search over which few pixels change, and to which corner of the colour cube."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.loop import iterate
from sparring.core.problem import Problem
from sparring.threats.sparse import pixels, top

DIVISORS = ((0, 2), (50, 4), (200, 5), (500, 6), (1000, 8), (2000, 10), (4000, 12), (6000, 15), (8000, 20))
"""After so many queries of 10,000 the first share of exchanged pixels is divided by this (appendix, "schedule of alpha")."""


class State(NamedTuple):
    """Hold the state of the search, one row per sample.

    chosen: bool [m, places]. colours: [m, channels, places], shares of the way between the edges. loss: [m].
    """

    chosen: Tensor
    colours: Tensor
    loss: Tensor


@attack(needs={"scores"}, uses={"recolour"}, cites="Croce et al. 2022, arXiv:2006.12834, algorithm 1, section 4; github.com/fra31/sparse-rs")
def sparse_rs(problem: Problem, *, queries: int = 5000, share: float = 0.3, restarts: int = 1) -> Tensor:
    """Exchange some changed pixels for others of new colours at random, and keep improvements.

    Args:
        queries: Per restart and sample.
        share: Part of the changed pixels that is exchanged at first; at least one is.
        restarts: From new pixels, for samples that still stand.

    Source: Croce et al. 2022, arXiv:2006.12834, algorithm 1, section 4; github.com/fra31/sparse-rs.

    Differs from the paper: pixels and colours are drawn for every sample by itself; an exchange that leaves the margin as it
    was is kept, so that saturated scores do not stop the search; where so many pixels may change that none is left to
    exchange them for, they get new colours in place.
    """
    turn = 0

    def start(live: Problem, restart: int) -> State:
        nonlocal turn
        turn = restart
        rng, (channels, places) = live.rng.draw(f"start {restart}"), pixels(live.x).shape[1:]
        chosen = top(rng.draw("places").uniform(places, dtype=torch.float64), cast(Any, live.region).count)
        colours = (rng.draw("colours").signs(channels, places, dtype=live.x.dtype) + 1) / 2
        return State(chosen, colours, live.losses(cast(Any, live.region).recolour(chosen, colours)))

    def step(live: Problem, state: State, k: int) -> State:
        rng, places = live.rng.draw(f"step {turn} {k}"), state.chosen.shape[1]
        count = cast(Any, live.region).count.clamp(max=places)
        exchanged = (count * exchange(share, k + 1, queries)).long().clamp_min(1).minimum(count)
        uniform = rng.draw("places").uniform(2, places, dtype=torch.float64)
        leaving = top(uniform[:, 0] + state.chosen, exchanged) & state.chosen
        coming = top(uniform[:, 1] - 3.0 * (state.chosen & ~leaving) - 1.0 * leaving, exchanged)
        chosen = (state.chosen & ~leaving) | coming
        drawn = (rng.draw("colours").signs(*state.colours.shape[1:], dtype=live.x.dtype) + 1) / 2
        colours = torch.where(coming[:, None], drawn, state.colours)
        loss = live.losses(cast(Any, live.region).recolour(chosen, colours))
        kept = loss >= state.loss
        return State(
            torch.where(kept[:, None], chosen, state.chosen), torch.where(kept[:, None, None], colours, state.colours), torch.where(kept, loss, state.loss)
        )

    return iterate(problem, start, step, steps=max(queries - 1, 0), restarts=restarts)


def exchange(share: float, turn: int, queries: int) -> float:
    """Return the share of the changed pixels exchanged at this query of so many."""
    scaled = turn * 10000 / max(queries, 1)
    passed = [divisor for after, divisor in DIVISORS if scaled > after]
    return share / passed[-1] if passed else share
