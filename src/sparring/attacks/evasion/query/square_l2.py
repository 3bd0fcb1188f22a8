"""Square attack for L2: random search over windows with a bump in the middle, each paid for by another."""

from functools import lru_cache
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.query.square import AHEAD, layout, warmed, window_at, window_side
from sparring.attacks.loop import iterate
from sparring.core.problem import Problem
from sparring.core.rng import Rng


class State(NamedTuple):
    """Hold the state of the search, one row per sample.

    x: [m, ...], the best point. loss: [m], how far it is past the goal. drawn: [m, AHEAD, 5 + channels], shares that
    place, turn and sign the windows of the coming steps.
    """

    x: Tensor
    loss: Tensor
    drawn: Tensor


@attack(
    needs={"scores"},
    uses={"stretch"},  # offered by the L2 ball only
    cites="Andriushchenko et al. 2020, arXiv:1912.00049, algorithms 1 and 3, equation 2; github.com/max-andr/square-attack",
)
def square_l2(problem: Problem, *, queries: int = 5000, share: float = 0.8, restarts: int = 1, warm: bool = False) -> Tensor:
    """Move the L2 length of two random windows into one, in the shape of two opposite bumps.

    Args:
        queries: Per restart and sample.
        share: Part of the pixels in a window at first.
        restarts: New tiles and windows, for samples that still stand.
        warm: Begin at the best point that is known, if any was asked about, and not with tiles. Inputs without height
            and width are taken as one row of pixels.

    Source: Andriushchenko et al. 2020, arXiv:1912.00049, algorithms 1 and 3, equation 2; github.com/max-andr/square-attack.

    Differs from the paper: every sample draws windows of its own, which may reach the last row and column; what the
    edge of the box cuts off a change goes to the coordinates that still have room, so that each point
    has the full radius (the original clips, and makes up for it in later windows). The first share is that of
    AutoAttack; the paper's 0.1 broke fewer MNIST images.
    """
    return bumpy_search(problem, 2, 2, queries, share, restarts, warm)


def bumpy_search(problem: Problem, order: int, fall: int, queries: int, share: float, restarts: int, warm: bool) -> Tensor:
    """Return the search in the norm of this order, with bumps whose rings fall with that power.

    For the rest see `square_l2`.
    """
    turn = 0

    def start(live: Problem, restart: int) -> State:
        nonlocal turn
        turn = restart
        x = stretched(live, _tiles(live.x, live.rng.draw(f"tiles {restart}"), order, fall), order)
        if warm and restart == 0:
            x = warmed(live, x)
        return State(x, live.losses(x), live.x.new_empty(len(live), AHEAD, 5 + layout(live.x)[0]))

    def step(live: Problem, state: State, k: int) -> State:
        channels, height, width = layout(live.x)
        side = max(window_side(share, k + 1, queries, height, width), 3) | 1
        tall, wide = min(side, height), min(side, width)
        if k % AHEAD == 0:
            state = state._replace(drawn=live.rng.draw(f"windows {k // AHEAD} of {turn}").uniform(AHEAD, 5 + channels))
        drawn = state.drawn[:, k % AHEAD]
        here, there = (_window(drawn[:, first : first + 2], height, width, tall, wide) for first in (0, 2))
        delta = (state.x - live.x).reshape(-1, channels, height, width)
        mine = delta * here
        signs = torch.where(drawn[:, 5:] < 0.5, -1.0, 1.0).to(delta.dtype)[:, :, None, None]
        new = signs * _bumps(drawn, height, width, tall, wide, order, fall, delta) + mine / _length(mine, order).clamp_min(1e-10)
        left = delta.masked_fill(here | there, 0.0)
        total, outside = (_length(part, order).double() ** order for part in (delta, left))
        unused = (cast(Any, live.region).radius.reshape(-1, 1, 1, 1) ** order - total.sum(1, keepdim=True)).clamp_min(0) / channels
        held = ((total - outside).clamp_min(0) + unused) ** (1 / order)
        delta = left + new * (held.to(delta.dtype) / _length(new, order).clamp_min(1e-10))
        x = stretched(live, delta, order)
        loss = live.losses(x)
        better = loss > state.loss
        kept = torch.where(better.reshape(-1, *[1] * (x.ndim - 1)), x, state.x)
        return State(kept, torch.where(better, loss, state.loss), state.drawn)

    return iterate(problem, start, step, steps=max(queries - 1, 0), restarts=restarts)


def stretched(problem: Problem, delta: Tensor, order: int) -> Tensor:
    """Move the clean input along delta until the change has the radius for its length.

    Each number goes min(t |d|, room) with one
    t per row. The numbers at the edge only become more from round to round, so few rounds suffice.
    """
    region, x = cast(Any, problem.region), problem.x
    d = delta.reshape(x.shape)
    far, room = (part.flatten(1).abs() for part in (d, torch.where(d > 0, region.high - x, region.low - x)))
    if order != 1:
        far, room = far**order, room**order
    limit = ((region.radius * (1 - 4 * torch.finfo(x.dtype).eps)) ** order).to(x.dtype)[:, None]
    t = limit / far.sum(1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny * 1e6)
    for _ in range(far.shape[1]):
        stuck = t * far >= room
        free = far.masked_fill(stuck, 0.0).sum(1, keepdim=True)
        rest = (limit - (room * stuck).nan_to_num(posinf=0.0).sum(1, keepdim=True)).clamp_min(0)
        further = torch.where(free > 0, rest / free.clamp_min(torch.finfo(x.dtype).tiny * 1e6), t)
        longer = further > t * 1.0001
        if not bool(longer.any()):
            break
        t = torch.where(longer, further, t)  # a row that is done stays as it is while others go on
    t = (t ** (1 / order)).clamp_max(1e30).reshape(-1, *[1] * (x.ndim - 1))
    return torch.addcmul(x, d, t).clamp(region.low, region.high)


def bump(height: int, width: int, order: int = 2, fall: int = 2) -> Tensor:
    """Return equation 2, rings that fall from the middle outward.

    Of length 1 in the norm of that order, float64 [height, width].
    """
    down, right = torch.arange(height) - height // 2, torch.arange(width) - width // 2
    ring = torch.maximum(down.abs()[:, None], right.abs()[None, :])
    sums = torch.cat([torch.zeros(1, dtype=torch.float64), torch.arange(1, max(height, width) // 2 + 2, dtype=torch.float64).pow(-fall).cumsum(0)])
    drawn = sums[-1] - sums[ring]
    return drawn / torch.linalg.vector_norm(drawn, ord=order).clamp_min(1e-30)


def two_bumps(height: int, width: int, order: int = 2, fall: int = 2) -> Tensor:
    """Return one half up, the other down, cut across the longer side.

    Of length 1, float64 [height, width].
    """
    if width > height:
        return two_bumps(width, height, order, fall).T
    half = height // 2
    drawn = torch.cat([bump(half, width, order, fall), -bump(height - half, width, order, fall)])
    return drawn / torch.linalg.vector_norm(drawn, ord=order).clamp_min(1e-30)


@lru_cache(maxsize=64)
def _placed(height: int, width: int, tall: int, wide: int, order: int, fall: int) -> Tensor:
    """float64 [2, height - tall + 1, width - wide + 1, height, width], a view: the two bumps, standing and lying (where not
    square: standing twice), at every place of an otherwise empty image, the last place first."""
    drawn = two_bumps(tall, wide, order, fall)
    down, right = height - tall, width - wide
    canvas = torch.zeros(2, height + down, width + right, dtype=torch.float64)
    for layer, shape in enumerate((drawn, drawn.T if tall == wide else drawn)):
        canvas[layer, down : down + tall, right : right + wide] = shape
    return canvas.unfold(1, height, 1).unfold(2, width, 1)


def _bumps(drawn: Tensor, height: int, width: int, tall: int, wide: int, order: int, fall: int, like: Tensor) -> Tensor:
    """[m, 1, height, width]: two bumps in the window, in a square one lying as often as standing."""
    places = _placed(height, width, tall, wide, order, fall).to(like.device)
    down, right = (places.shape[axis] - 1 - (drawn[:, axis - 1] * places.shape[axis]).to(torch.int64) for axis in (1, 2))
    return places[(drawn[:, 4] < 0.5).to(torch.int64), down, right][:, None].to(like.dtype)


def _window(shares: Tensor, height: int, width: int, tall: int, wide: int) -> Tensor:
    """bool [m, 1, height, width]: the pixels of a window; shares [m, 2] say where it begins."""
    down, right = window_at(shares[:, 0], tall, height), window_at(shares[:, 1], wide, width)
    return (down[:, :, None] & right[:, None, :])[:, None]


def _tiles(x: Tensor, rng: Rng, order: int, fall: int) -> Tensor:
    """[m, channels, height, width]: five by five pairs of bumps, every channel of each with a random sign."""
    channels, height, width = layout(x)
    tall, wide = max(height // 5, 1), max(width // 5, 1)
    down, right = min(5, height // tall), min(5, width // wide)
    top, left = (height - down * tall) // 2, (width - right * wide) // 2
    signs = rng.signs(channels, down, right, dtype=x.dtype).repeat_interleave(tall, 2).repeat_interleave(wide, 3)
    tiled = torch.zeros(len(x), channels, height, width, dtype=x.dtype, device=x.device)
    tiled[:, :, top : top + down * tall, left : left + right * wide] = signs * two_bumps(tall, wide, order, fall).to(x).repeat(down, right)
    return tiled


def _length(delta: Tensor, order: int) -> Tensor:
    """[m, channels, 1, 1]: the length of each channel."""
    return torch.linalg.vector_norm(delta, ord=order, dim=(2, 3), keepdim=True)
