"""SurFree: move on circles that approach the clean input, in random directions."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.query.walk import asked, first_points, straight, to_boundary, walking
from sparring.attacks.loop import iterate
from sparring.core.problem import Problem
from sparring.core.space import wide
from sparring.threats.balls import box

EASING = 0.98
"""Factor on the largest angle after a direction without success; its inverse after one with."""

USED_UP = 1 / 8
"""If the largest angle falls below this share of the first, low frequencies are exhausted and all frequencies are drawn."""

LEAST = 8
"""Smallest number of frequencies per axis that are drawn, if there are as many."""


class State(NamedTuple):
    """Hold the state of the search, one row per sample.

    x: [m, ...], an adversarial point. size: float64 [m], its L2 distance, 0 without one. widest: float64 [m], degrees.
    """

    x: Tensor
    size: Tensor
    widest: Tensor


@attack(needs={"labels"}, uses={"toward"}, cites="Maho, Furon, Le Merrer 2021, arXiv:2011.12807, algorithm 1; github.com/t-maho/SurFree")
def surfree(
    problem: Problem, *, steps: int = 5000, widest: float = 30.0, angles: int = 1, halvings: int = 7, frequencies: float = 0.5, start_tries: int = 100
) -> Tensor:
    """Minimise the L2 distance on circles through the point and the clean input.

    On the circle in the plane of a random direction every point is nearer; the search is for the largest angle that is still
    adversarial. No gradient is estimated.

    Args:
        steps: Directions tried.
        widest: First angle, degrees.
        angles: Smaller ones tried on either side where it fails, itself counted.
        halvings: Bisections of an angle that succeeded.
        frequencies: Share of the lowest spatial frequencies per axis (at least 8) from which directions of images are
            drawn, 1 for all; other inputs take Gaussian ones.
        start_tries: Random inputs tried for a first adversarial point.

    Source: Maho, Furon, Le Merrer 2021, arXiv:2011.12807, algorithm 1; github.com/t-maho/SurFree.

    Differs from the paper: directions are not made orthogonal to those before (in many dimensions they nearly are); an angle
    is bisected upward to the next one that failed, or where the widest succeeded to half as much again; all frequencies are drawn where
    the low ones are used up, that is where the largest angle fell to an eighth of the first; a sample within its radius stops.
    The circle is that of L2 in every space, so in Linf and L1 this is a weak attack.
    """

    def start(live: Problem, restart: int) -> State:
        first = first_points(live, start_tries)
        x = to_boundary(live, first, first.size / 100).x
        size = (x - live.x).flatten(1).double().norm(dim=1)
        return State(x, size, torch.full_like(size, widest))

    def step(live: Problem, state: State, k: int) -> State:
        return walking(live, state, lambda some, here: _turn(some, here, angles, halvings, _noise(some, frequencies, here.widest < USED_UP * widest, k)))

    return iterate(problem, start, step, steps=steps)


def _turn(problem: Problem, here: State, angles: int, halvings: int, noise: Tensor) -> State:
    """Try one direction, `noise` less what lies along the change: first the angles on either side, then bisect where one succeeded."""
    x, out = here.x, here.x - problem.x
    noise = straight(noise, out)
    length = wide(here.size.to(x.dtype), x)
    u, v = out / length, noise / wide(noise.flatten(1).norm(dim=1).clamp_min(1e-30), x)
    low, high = box(problem.victim.domain, x)

    def ask(angle: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        turned = wide(torch.deg2rad(angle).to(x.dtype), x)
        points = problem.x[rows] + length[rows] * turned.cos() * (turned.cos() * u[rows] + turned.sin() * v[rows])
        points = points.clamp(low, high)
        return points, asked(problem, points, rows)

    best, angle, above = x.clone(), torch.zeros_like(here.size), torch.zeros_like(here.size)
    for turn in range(2 * angles):
        rows = ((angle == 0) & problem.unfinished()).nonzero().squeeze(1)
        if not len(rows):
            break
        share, side = 1 - turn // 2 / angles, 1 - 2 * (turn % 2)
        points, hit = ask(side * share * here.widest[rows], rows)
        won = rows[hit]
        best[won], angle[won] = points[hit], side * share * here.widest[won]
        above[won] = side * here.widest[won] * (share + (1 / angles if share < 1 else 0.5))
    succeeded = angle != 0
    for _ in range(halvings):
        rows = (succeeded & problem.unfinished()).nonzero().squeeze(1)
        if not len(rows):
            break
        middle = (angle[rows] + above[rows]) / 2
        points, hit = ask(middle, rows)
        best[rows[hit]] = points[hit]
        angle[rows] = torch.where(hit, middle, angle[rows])
        above[rows] = torch.where(hit, above[rows], middle)
    widest = (here.widest * torch.where(succeeded, 1 / EASING, EASING)).clamp(0.01, 60.0)
    return State(best, torch.where(succeeded, (best - problem.x).flatten(1).double().norm(dim=1), here.size), widest)


def _noise(problem: Problem, frequencies: float, everything: Tensor, k: int) -> Tensor:
    """Return Gaussian noise like x; for images, only the lowest frequencies of the cosine transform, except in the rows (bool [m])
    that use all of them."""
    x, rng = problem.x, problem.rng.draw(k)
    if x.ndim != 4 or frequencies >= 1:
        return rng.normal(*x.shape[1:], dtype=x.dtype)
    down, across = (cosines(side, min(side, max(LEAST, math.ceil(frequencies * side))), x) for side in x.shape[2:])
    noise = down @ rng.normal(x.shape[1], down.shape[1], across.shape[1], dtype=x.dtype) @ across.T
    if bool(everything.any()):
        noise[everything] = rng.take(everything).draw("everything").normal(*x.shape[1:], dtype=x.dtype)
    return noise


def cosines(side: int, count: int, like: Tensor) -> Tensor:
    """Return the `count` lowest vectors of the orthonormal cosine transform, [side, count].

    The transform is of type II.
    """
    place = torch.arange(side, device=like.device, dtype=torch.float64)[:, None] + 0.5
    wave = torch.arange(count, device=like.device, dtype=torch.float64)
    basis = torch.cos(math.pi / side * place * wave) * math.sqrt(2 / side)
    basis[:, 0] /= math.sqrt(2)
    return basis.to(like.dtype)
