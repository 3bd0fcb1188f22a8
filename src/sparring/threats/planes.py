"""The cheapest way onto a plane inside a box: exact, in float64, one problem per row.

Coordinate i may go from 0 to room_i along the sign of the normal, and going t gains slope_i * t. Wanted is the smallest
change, in some norm, that gains `gap` (Croce, Hein 2020, arXiv:1907.02044, section 2.2); where the gap is out of reach,
every room is used in full. slope, room: [n, d], at least 0, a room may be infinite; gap: [n], at least 0.

Where we differ: the official code sorts breakpoints and bisects. The gain is concave and piecewise linear in the level, so
Newton's method from below ends on the exact level after a few passes over the row; only L1 sorts, and that a few coordinates.
"""

import torch
from torch import Tensor

FIRST_LOOK = 64
"""Coordinates sorted at first where the cheapest change is sparse; more only in rows that need them."""


def flattest(slope: Tensor, room: Tensor, gap: Tensor) -> Tensor:
    """Return the change whose largest coordinate is smallest, [n, d]."""
    slope, gap = _scaled(slope, gap)
    return torch.minimum(_level(slope, _full(slope, room), gap)[:, None], room).where(slope > 0, 0.0)


def shortest(slope: Tensor, room: Tensor, gap: Tensor) -> Tensor:
    """Return the change of least Euclidean length, [n, d]."""
    slope, gap = _scaled(slope, gap)
    return torch.minimum(_level(slope.square(), _full(slope, room), gap)[:, None] * slope, room).where(slope > 0, 0.0)


def sparsest(slope: Tensor, room: Tensor, gap: Tensor) -> Tensor:
    """Return the change of least sum: the steepest coordinates in full, one in part, [n, d]."""
    slope, gap = _scaled(slope, gap)
    full = _full(slope, room)
    change = _greedy(slope, room, full, gap, min(FIRST_LOOK, slope.shape[1]))
    short = (change * slope).sum(1) < gap * (1 - 1e-9)
    if slope.shape[1] > FIRST_LOOK and bool(short.any()):
        change[short] = _greedy(slope[short], room[short], full[short], gap[short], slope.shape[1])
    return change


def _scaled(slope: Tensor, gap: Tensor) -> tuple[Tensor, Tensor]:
    """The same plane with a largest slope of 1, so that squares of tiny gradients do not vanish."""
    most = slope.amax(1).clamp_min(1e-300)
    return slope / most[:, None], (gap / most).clamp_max(1e300)


def _full(slope: Tensor, room: Tensor) -> Tensor:
    """What each coordinate gains over its whole room; an infinite room on a flat coordinate gains nothing."""
    return slope * room.where(slope > 0, 0.0)


def _level(weight: Tensor, full: Tensor, gap: Tensor) -> Tensor:
    """[n]: where sum(min(level * weight, full)) reaches gap, by Newton's method; 1e300 where it never does."""
    level = gap / weight.sum(1).clamp_min(1e-300)
    before = torch.full_like(gap, -1, dtype=torch.int64)
    for _ in range(weight.shape[1] + 1):
        stuck = level[:, None] * weight >= full
        count = stuck.sum(1)
        if bool((count == before).all()):
            break
        free = torch.where(stuck, 0.0, weight).sum(1)
        rest = gap - torch.where(stuck, full, 0.0).sum(1)
        better = torch.where(free > 0, rest / free.clamp_min(1e-300), torch.where(rest > 0, 1e300, level))
        level = torch.maximum(level, better).clamp_max(1e300).where(count != before, level)
        before = count
    return level


def _greedy(slope: Tensor, room: Tensor, full: Tensor, gap: Tensor, count: int) -> Tensor:
    """The `count` steepest coordinates filled one after the other until the gap is met."""
    steep, order = slope.topk(count, dim=1)
    gain = full.gather(1, order)
    before = torch.cat([torch.zeros_like(gain[:, :1]), gain[:, :-1].cumsum(1)], 1)  # a difference of infinite sums would be none
    part = (gap[:, None] - before).clamp_min(0) / steep.clamp_min(1e-300)
    used = torch.minimum(part, room.gather(1, order)).where(steep > 0, 0.0)
    return torch.zeros_like(slope).scatter(1, order, used)
