"""Steps that label-only attacks share: a first adversarial point, the way to the boundary, and the normal there."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor

from sparring.attacks.loop import take
from sparring.core.domain import Domain
from sparring.core.problem import Problem
from sparring.core.rng import Rng
from sparring.core.space import Region, wide
from sparring.threats.balls import box

BLOCK = 8
"""Probes per draw. It affects the result: another number draws other probes."""


MANY = 64
"""From this number of coordinates on, directions are drawn from the cube."""

STRIDE = -3335678366873096957
"""Increment from one word of random bits to the next: any odd number with well-mixed bits works."""


State = TypeVar("State", bound=tuple)


class Walk(NamedTuple):
    """Hold where a walk along the boundary stands.

    x: [m, ...], an adversarial point, or the clean input where none was found.
    size: float64 [m], its distance from the clean input; 0 where none was found.
    """

    x: Tensor
    size: Tensor


def asked(problem: Problem, x: Tensor, owner: Tensor) -> Tensor:
    """Return bool [k]: whether the points meet the goal, by label queries.

    Points may lie outside the region.
    """
    return problem.criterion.take(owner).met(problem.answers(x, owner, probe=True))


def first_points(problem: Problem, tries: int) -> Walk:
    """Return the first adversarial of `tries` random inputs for every row; see `candidate`."""
    found, size = problem.x.clone(), torch.zeros(len(problem), dtype=torch.float64, device=problem.rows.device)
    missing = torch.arange(len(problem), device=problem.rows.device)
    for turn in range(tries):
        missing = missing[problem.unfinished()[missing]]
        if not len(missing):
            break
        rng = problem.rng.take(missing).draw(f"start {turn}")
        guess = candidate(problem.victim.domain, problem.x[missing], rng, turn)
        hit = asked(problem, guess, missing)
        found[missing[hit]] = guess[hit]
        missing = missing[~hit]
    far = (found != problem.x).flatten(1).any(1)
    return Walk(found, torch.where(far, problem.region.size(found), size))


def candidate(domain: Domain, x: Tensor, rng: Rng, turn: int) -> Tensor:
    """Draw a random input for every row, of four kinds in turn.

    The kinds are: uniform in the box; every coordinate at one of its bounds; the
    same in coarse patches (images) or for half of the columns; and a mixture of the last kind with the clean input.

    All pixels of uniform noise look alike to most networks, which then name the same class every time: the other kinds
    reach further classes. Where a bound is infinite, an interval around the clean value that grows with the turn replaces it.
    """
    low, high = (edge.expand_as(x) for edge in box(domain, x))
    width = (1 + x.abs()) * min(1.25**turn, 2.0**20)
    low, high = torch.where(low.isfinite(), low, x - width), torch.where(high.isfinite(), high, x + width)
    kind = turn % 4
    if kind == 0:
        return low + (high - low) * rng.uniform(*x.shape[1:], dtype=x.dtype)
    bright = wide(rng.draw("bright").uniform(1, dtype=x.dtype), x)
    if kind == 1:
        return torch.where(rng.uniform(*x.shape[1:], dtype=x.dtype) < bright, high, low)
    if x.ndim == 4:
        cells = 2 + turn // 4 % 6
        down, right = (torch.arange(side, device=x.device) * cells // side for side in x.shape[2:])
        coarse = rng.uniform(1, cells, cells, dtype=x.dtype)[:, :, down][:, :, :, right]
        far = torch.where(coarse < bright, high, low)
    else:
        stays = rng.draw("stays").signs(*x.shape[1:]) > 0
        far = torch.where(stays, x, low + (high - low) * rng.uniform(*x.shape[1:], dtype=x.dtype))
    share = wide(rng.draw("share").uniform(1, dtype=x.dtype), x) if kind == 3 else 1
    return x + share * (far - x)


def to_boundary(problem: Problem, walk: Walk, tolerance: Tensor) -> Walk:
    """Bisect the way from the clean input to x down to `tolerance` of the boundary.

    Args:
        tolerance: Float64 [m].
    """
    region = cast(Any, problem.region)
    low, high = torch.zeros_like(walk.size), walk.size.clone()
    while bool((open_ := (high - low > tolerance) & problem.unfinished()).any()):
        rows = open_.nonzero().squeeze(1)
        middle = (low[rows] + high[rows]) / 2
        if bool(((middle <= low[rows]) | (middle >= high[rows])).all()):
            break  # float64 has nothing between them
        hit = asked(problem, region.take(rows).toward(walk.x[rows], middle), rows)
        high[rows] = torch.where(hit, middle, high[rows])
        low[rows] = torch.where(hit, low[rows], middle)
    x = torch.where(wide(high < walk.size, walk.x), region.toward(walk.x, high), walk.x)
    return Walk(x, torch.where(walk.size > 0, problem.region.size(x), 0.0))


def walking(problem: Problem, state: State, move: Callable[[Problem, State], State]) -> State:
    """Apply `move` to the rows that have an adversarial point; others (state.size 0) stay."""
    rows = (state.size > 0).nonzero().squeeze(1)  # type: ignore[attr-defined]
    if not len(rows):
        return state
    if len(rows) == len(problem):
        return move(problem, state)
    moved = move(problem.take(rows), take(state, rows))
    return type(state)(*(whole.index_copy(0, rows, part) for whole, part in zip(state, moved, strict=True)))


def kept(problem: Problem, x: Tensor, size: Tensor, guess: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return x and size with `guess` ([k, ...]) and its distance in those rows (int64 [k])."""
    if not len(rows):
        return x, size
    return x.index_copy(0, rows, guess), size.index_copy(0, rows, problem.region.take(rows).size(guess))


def straight(x: Tensor, along: Tensor) -> Tensor:
    """Return x less its part along the other, row by row."""
    flat, way = x.flatten(1), along.flatten(1)
    share = (flat * way).sum(1) / way.square().sum(1).clamp_min(torch.finfo(way.dtype).tiny)
    return x - wide(share, x) * along


def normal_at(problem: Problem, walk: Walk, reach: Tensor, count: Tensor, rng: Rng, at_once: int) -> Tensor:
    """Estimate the direction in which the goal is met more often around x.

    It takes `count` random probes per row.

    The mean of the directions weighted with the answers, less their mean (Chen et al. 2020, arXiv:1904.02144, equation 16).
    reach: float [m], distance of the probes from x. count: int64 [m]. at_once: numbers in one question; bounds the memory.
    """
    x, shape = walk.x, walk.x.shape[1:]
    dimensions = math.prod(shape)
    at_once = at_once if x.device.type == "cpu" else 64 * at_once
    sums, votes = x.new_zeros(len(x), 2, dimensions), torch.zeros_like(walk.size)
    blocks = -(-int(count.max().clamp_min(0)) // BLOCK) if len(x) else 0
    near = walk.size - reach * math.sqrt(dimensions) <= cast(Any, problem.allowed).radius * 1.01  # no norm of a move exceeds sqrt(d) of its L2 norm
    problem = replace(problem, allowed=Rim(problem.allowed, near, torch.arange(len(x), device=x.device)))
    for rows in torch.arange(len(x), device=x.device).split(max(1, at_once // (BLOCK * dimensions))):
        mine, here = rng.take(rows), Walk(x[rows], walk.size[rows])
        together = max(1, at_once // (len(rows) * BLOCK * dimensions))
        for first in range(0, blocks, together):
            drawn = [directions(mine.draw(block), dimensions, x.dtype) for block in range(first, min(first + together, blocks))]
            noise = torch.cat(drawn, dim=1) if len(drawn) > 1 else drawn[0]
            asks = first * BLOCK + torch.arange(noise.shape[1], device=x.device) < count[rows, None]
            weights, moved = _votes(problem, here, noise, reach[rows], asks, rows)
            votes[rows] += weights[:, 0].double().sum(1)
            sums[rows] += torch.bmm(weights, moved)
    mean = (votes / count.clamp_min(1)).to(x.dtype)[:, None]
    return torch.where(mean.abs() == 1, sums[:, 0], sums[:, 0] - mean * sums[:, 1]).reshape(x.shape)


def _votes(problem: Problem, here: Walk, noise: Tensor, reach: Tensor, asks: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """One question of `normal_at`: weights [r, 2, k], the answers as +1 or -1 above 1 for every probe asked, and the
    moves [r, k, d]. noise: [r, k, d], written to. asks: bool [r, k], which of them to ask. rows: int64 [r], places in the problem."""
    low, high = edges(problem.victim.domain, here.x)
    base = here.x[:, None]
    noise *= (reach.to(noise.dtype)[:, None] / torch.linalg.vector_norm(noise, dim=2).clamp_min(1e-30))[:, :, None]
    probe = (noise.reshape(*asks.shape, *here.x.shape[1:]) + base).clamp_(low, high)
    moved = torch.sub(probe, base).reshape(noise.shape)
    wanted = asks.reshape(-1)
    flat = probe.reshape(-1, *here.x.shape[1:])
    hit = asked(problem, flat if bool(wanted.all()) else flat[wanted], rows[asks.nonzero()[:, 0]])
    weights = noise.new_zeros(len(rows), 2, asks.shape[1])
    weights[:, 0][asks] = hit.to(noise.dtype) * 2 - 1
    weights[:, 1][asks] = 1.0
    return weights, moved


def directions(rng: Rng, dimensions: int, dtype: torch.dtype, count: int = BLOCK) -> Tensor:
    """Draw random directions of any length, [n, count, d].

    They are Gaussian, or uniform on 256 steps of the cube where so many coordinates
    add up that nothing tells them apart: that takes an eighth of the random bits and no logarithm.
    """
    if dimensions < MANY:
        return rng.normal(count, dimensions, dtype=dtype)
    drawn = words(rng, -(-count * dimensions // 8)).view(torch.int8)[:, : count * dimensions]
    return (drawn.to(dtype) + 0.5).reshape(len(rng), count, dimensions)


def words(rng: Rng, count: int) -> Tensor:
    """Return random bits, for those who want to cut them up themselves, int64 [n, count]."""
    counter = torch.arange(count, device=rng.keys.device) * STRIDE
    return Rng(rng.keys[:, None] + counter).draw("words").keys


def coins(rng: Rng, x: Tensor) -> Tensor:
    """Return random signs like x, 64 from one word."""
    size = x[0].numel()
    bits = words(rng, -(-size // 64)).view(torch.uint8)[:, :, None] >> torch.arange(8, dtype=torch.uint8, device=x.device)
    return ((bits & 1).reshape(len(x), -1)[:, :size].to(x.dtype) * 2 - 1).reshape(x.shape)


def chances(rng: Rng, share: Tensor, x: Tensor) -> Tensor:
    """Return true with that chance (float64 [m], below 1) in each row, bool like x."""
    size = x[0].numel()
    drawn = words(rng, -(-size // 2)).view(torch.int32)[:, :size]
    return (drawn < (share * 2**32 - 2**31).to(torch.int32)[:, None]).reshape(x.shape)


@dataclass(frozen=True)
class Rim(Region):
    """Represent a region that measures only the points of rows that may lie inside.

    The others are known to be further out.

    inner: of all rows. near: bool [m], which may lie inside. rows: int64 [k], the place of each point in these.
    """

    inner: Region
    near: Tensor
    rows: Tensor

    def take(self, rows: Tensor) -> "Rim":
        return Rim(self.inner, self.near, self.rows[rows])

    def size(self, x: Tensor) -> Tensor:
        return self._near(x, lambda some, points: some.size(points), math.inf, torch.float64)

    def inside(self, x: Tensor) -> Tensor:
        return self._near(x, lambda some, points: some.inside(points), False, torch.bool)

    def _near(self, x: Tensor, question: Callable[[Region, Tensor], Tensor], else_: float, dtype: torch.dtype) -> Tensor:
        answer = torch.full((len(x),), else_, dtype=dtype, device=x.device)
        if len(close := self.near[self.rows].nonzero().squeeze(1)):
            answer[close] = question(self.inner.take(self.rows[close]), x[close])
        return answer


def edges(domain: Domain, x: Tensor) -> tuple[Any, Any]:
    """Return the bounds of the domain for `clamp`, as numbers where these will do.

    `clamp` is several times faster with numbers than with tensors.
    """
    low, high = getattr(domain, "low", None), getattr(domain, "high", None)
    return (low, high) if isinstance(low, float | int) and isinstance(high, float | int) else box(domain, x)
