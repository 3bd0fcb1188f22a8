"""Sparse-RS for patches: random search over where a patch lies and what it shows, in turn."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.query.sparse_rs import exchange
from sparring.attacks.loop import iterate
from sparring.core.problem import Problem
from sparring.core.rng import Rng

MOVE_EVERY = 2
"""Interval in queries at which the patch moves; all other queries recolour it."""

FIRST_SQUARES = 30
"""Number of overlaid squares in the first patch."""


class State(NamedTuple):
    """Hold the state of the search, one row per sample.

    upper, left: int64 [m], the corner of the patch. colours: [m, channels, height, width], what it shows in its upper left
    part, as shares of the way between the edges. loss: [m].
    """

    upper: Tensor
    left: Tensor
    colours: Tensor
    loss: Tensor


@attack(needs={"scores"}, uses={"stamp", "place", "sides"}, cites="Croce et al. 2022, arXiv:2006.12834, section 5; github.com/fra31/sparse-rs")
def sparse_rs_patch(problem: Problem, *, queries: int = 5000, share: float = 0.4, reach: float = 0.75, restarts: int = 1) -> Tensor:
    """Recolour a square of a patch or move the patch at random, and keep what is not worse.

    Args:
        queries: Per restart and sample.
        share: Part of the patch recoloured at first, falling as for Sparse-RS in L0.
        reach: How far it moves at first, as a share of the side of the image, falling to one pixel.
        restarts: From new patches, for samples that still stand.

    Source: Croce et al. 2022, arXiv:2006.12834, section 5; github.com/fra31/sparse-rs.

    Differs from the paper: everything is drawn for every sample by itself; every second query moves the patch, where in the
    paper one in five does (measured on MNIST: more images broken, and much sooner); once squares are single pixels,
    one channel of the pixel is turned over, so that no query repeats the patch as it was.
    """
    turn = 0

    def start(live: Problem, restart: int) -> State:
        nonlocal turn
        turn = restart
        rng, region = live.rng.draw(f"start {restart}"), cast(Any, live.region)
        upper, left = region.place(rng.draw("place"))
        colours = torch.zeros_like(live.x)
        for number in range(FIRST_SQUARES):
            drawn = rng.draw(number)
            size = (drawn.draw("size").uniform(1, dtype=torch.float64).squeeze(1) * region.count).long() + 1
            square = _square(live, size, drawn)
            colours = torch.where(square, _colour(live, drawn), colours)
        return State(upper, left, colours, live.losses(region.stamp(upper, left, colours)))

    def step(live: Problem, state: State, k: int) -> State:
        rng, region = live.rng.draw(f"step {turn} {k}"), cast(Any, live.region)
        if k % MOVE_EVERY == MOVE_EVERY - 1:
            far = reach * max(1 - k / max(queries, 1), 0.0)
            new = state._replace(
                **{
                    name: _moved(at, side, length, far, rng.draw(name))
                    for name, at, side, length in zip(("upper", "left"), (state.upper, state.left), region.sides(), live.x.shape[2:], strict=True)
                }
            )
        else:
            size = ((exchange(share, k + 1, queries) ** 0.5) * region.count).long().clamp_min(1)
            square = _square(live, size, rng)
            single = (size == 1).reshape(-1, 1, 1, 1)
            channel = torch.arange(live.x.shape[1], device=live.x.device).reshape(1, -1, 1, 1) == rng.draw("channel").integers(live.x.shape[1], 1, 1, 1)
            turned = torch.where(channel, 1 - state.colours, state.colours)
            new = state._replace(colours=torch.where(square, torch.where(single, turned, _colour(live, rng)), state.colours))
        loss = live.losses(region.stamp(new.upper, new.left, new.colours))
        kept = loss >= state.loss
        return State(
            torch.where(kept, new.upper, state.upper),
            torch.where(kept, new.left, state.left),
            torch.where(kept.reshape(-1, 1, 1, 1), new.colours, state.colours),
            torch.where(kept, loss, state.loss),
        )

    return iterate(problem, start, step, steps=max(queries - 1, 0), restarts=restarts)


def _colour(live: Problem, rng: Rng) -> Tensor:
    """[m, channels, 1, 1]: a random corner of the colour cube."""
    return (rng.draw("colour").signs(live.x.shape[1], 1, 1, dtype=live.x.dtype) + 1) / 2


def _square(live: Problem, size: Tensor, rng: Rng) -> Tensor:
    """bool [m, 1, height, width]: a random square of this size (int64 [m]) inside the patch, in its own coordinates."""
    inside = []
    for name, side, length in zip(("top", "start"), cast(Any, live.region).sides(), live.x.shape[2:], strict=True):
        first = rng.draw(name).integers((side - size.minimum(side) + 1).clamp_min(1), 1)
        at = torch.arange(length, device=first.device)
        inside.append((at >= first) & (at < first + size.minimum(side)[:, None]))
    return (inside[0][:, :, None] & inside[1][:, None, :])[:, None]


def _moved(at: Tensor, side: Tensor, length: int, reach: float, rng: Rng) -> Tensor:
    """A place at most `reach` (a share of the length, but at least one pixel) from `at`, and inside the image."""
    most = max(int(reach * length), 1)
    return (at + rng.integers(2 * most + 1, 1).squeeze(1) - most).clamp_min(0).minimum(length - side)
