"""HopSkipJump: walk along the decision boundary toward the clean input, asking for labels only."""

import math
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import BATCH, attack
from sparring.attacks.loop import climb, take
from sparring.core.bout import Bout
from sparring.threats.balls import box

PROBES_AT_ONCE = 2**23
"""Numbers in one slice of probes of a full batch; bounds the memory."""


class State(NamedTuple):
    """x: [m, ...], an adversarial point next to the boundary, or the clean input where none was found.
    size: float64 [m], its distance from the clean input."""

    x: Tensor
    size: Tensor


@attack(needs={"labels"}, uses={"toward", "steepest"}, cites="Chen, Jordan, Wainwright 2020, arXiv:1904.02144; github.com/Jianbo-Lab/HSJA")
def hopskipjump(bout: Bout, *, steps: int = 64, probes: int = 100, most_probes: int = 10000, start_tries: int = 100) -> Tensor:
    """Minimise the distance to the clean input over adversarial points, until it is within the radius.

    steps: gradient estimates. probes: random directions of the first estimate; it grows with the square root of
    the step up to `most_probes`. start_tries: uniform random inputs tried for a first adversarial point.

    Where we differ: a sample whose distance came below its radius stops; directions are Gaussian for every
    norm, and the boundary is met to within distance / d^1.5 in all of them (the paper: uniform directions and
    1 / d^2 in Linf); a targeted start is looked for at random too.
    """

    def start(live: Bout, restart: int) -> State:
        found = _starts(live, start_tries)
        size = torch.where(_same(found, live.x), 0.0, live.region.size(found))
        return _to_boundary(live, State(found, size))

    def step(live: Bout, state: State, k: int) -> State:
        walking = (state.size > 0).nonzero().squeeze(1)  # without a first point there is nothing to walk along
        if not len(walking):
            return state
        some, here = live.take(walking), take(state, walking)
        direction = _estimate(some, here, min(int(probes * math.sqrt(k + 1)), most_probes), k)
        there = _to_boundary(some, _jump(some, here, direction, k))
        return State(state.x.index_copy(0, walking, there.x), state.size.index_copy(0, walking, there.size))

    return climb(bout, start, step, steps=steps)


def _asked(bout: Bout, x: Tensor, owner: Tensor) -> Tensor:
    """bool [k]: does the point meet the goal? Asks for labels; points may lie outside the ball."""
    labels = bout.labels(x, owner, probe=True)
    return bout.threat.goal.done(labels, bout.reference.take(owner))


def _starts(bout: Bout, tries: int) -> Tensor:
    """A random adversarial input for every row; the clean input where none was found."""
    found = bout.x.clone()
    missing = torch.arange(len(bout), device=bout.rows.device)
    for turn in range(tries):
        if not len(missing):
            break
        share = bout.dice.take(missing).draw(f"start {turn}").uniform(*bout.x.shape[1:], dtype=bout.x.dtype)
        low, high = box(bout.victim.domain, bout.x)
        guess = low + (high - low) * share
        hit = _asked(bout, guess, missing)
        found[missing[hit]] = guess[hit]
        missing = missing[~hit]
    return found


def _to_boundary(bout: Bout, state: State) -> State:
    """Bisect the way from the clean input to x until the boundary is met to within distance / d^1.5."""
    region = cast(Any, bout.region)
    low, high = torch.zeros_like(state.size), state.size.clone()
    tolerance = state.size / state.x[0].numel() ** 1.5
    while bool((open_ := (high - low > tolerance) & bout.unfinished()).any()):
        rows = open_.nonzero().squeeze(1)
        middle = ((low + high) / 2)[rows]
        hit = _asked(bout, region.take(rows).toward(state.x[rows], middle), rows)
        high[rows] = torch.where(hit, middle, high[rows])
        low[rows] = torch.where(hit, low[rows], middle)
    x = torch.where(_wide(high < state.size, state.x), region.toward(state.x, high), state.x)
    return State(x, torch.where(state.size > 0, region.size(x), 0.0))


def _estimate(bout: Bout, state: State, wanted: int, k: int) -> Tensor:
    """The direction in which the goal is met more often, from `wanted` random probes a row (equation 16).

    A row short of queries gets as many probes as it can pay, and keeps one for the jump."""
    count = bout.left().clamp(max=wanted + 1) - 1
    dimensions = state.x[0].numel()
    low, high = box(bout.victim.domain, state.x)
    reach = (state.size / dimensions).to(state.x.dtype)
    sums = torch.zeros_like(state.x), torch.zeros_like(state.x)
    votes = torch.zeros_like(state.size)
    slice_ = max(1, PROBES_AT_ONCE // (BATCH * dimensions))  # never by the rows that happen to be here: it cuts the draws
    for first in range(0, wanted, slice_):
        turns = torch.arange(first, min(first + slice_, wanted), device=bout.rows.device)
        owner = (turns[:, None] < count[None, :]).nonzero()[:, 1]
        if not len(owner):
            break
        dice = bout.dice.draw(f"probe {k}")
        noise = torch.stack([dice.draw(turn).normal(dimensions, dtype=state.x.dtype) for turn in turns.tolist()])
        noise = (noise / noise.norm(dim=2, keepdim=True))[turns[:, None] < count[None, :]]
        base, step = state.x[owner], reach[owner].reshape(-1, *[1] * (state.x.ndim - 1))
        probe = (base + step * noise.reshape(base.shape)).clamp(low, high)
        moved = (probe - base) / step
        sign = _asked(bout, probe, owner).to(moved.dtype) * 2 - 1
        sums[0].index_add_(0, owner, moved * sign.reshape(-1, *[1] * (moved.ndim - 1)))
        sums[1].index_add_(0, owner, moved)
        votes.index_add_(0, owner, sign.double())
    mean = (votes / count.clamp_min(1)).reshape(-1, *[1] * (state.x.ndim - 1)).to(state.x.dtype)
    return torch.where(mean.abs() == 1, sums[0], sums[0] - mean * sums[1])


def _jump(bout: Bout, state: State, direction: Tensor, k: int) -> State:
    """Step along the direction, halving the step until the goal is met (section 4, geometric progression)."""
    region = cast(Any, bout.region)
    low, high = box(bout.victim.domain, state.x)
    way, x = region.steepest(direction), state.x.clone()
    length = state.size / math.sqrt(k + 1)
    for _ in range(15):
        rows = (bout.unfinished() & (length > 0)).nonzero().squeeze(1)
        if not len(rows):
            break
        guess = (state.x[rows] + _wide(length[rows].to(x.dtype), x) * way[rows]).clamp(low, high)
        hit = _asked(bout, guess, rows)
        x[rows[hit]] = guess[hit]
        length[rows] = torch.where(hit, 0.0, length[rows] / 2)
    return State(x, torch.where(state.size > 0, bout.region.size(x), 0.0))


def _wide(rows: Tensor, x: Tensor) -> Tensor:
    return rows.reshape(-1, *[1] * (x.ndim - 1))


def _same(x: Tensor, origin: Tensor) -> Tensor:
    return (x == origin).reshape(len(x), -1).all(1)
