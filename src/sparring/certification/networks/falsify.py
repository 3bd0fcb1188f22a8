"""Searches counterexamples by descent on the margin, from corners and random points."""

import math

import torch
from torch import Tensor

from sparring.attacks.ascend import ascend
from sparring.certification.networks.bounds.inputs import InputSet
from sparring.certification.networks.query import Query
from sparring.core.rng import Rng


def starting_points(query: Query, keys: Tensor, restarts: int, seed: int) -> Tensor:
    """Return the middle of each set, then random points of it, [n, restarts, *in].

    They are drawn by seed and key.
    """
    inputs = query.inputs
    rng = Rng.of(seed, [str(key) for key in keys.tolist()], keys.device)
    points = [inputs.middle]
    for turn in range(1, restarts):
        share = rng.draw(turn).uniform(*query.network.input_shape, dtype=torch.float64)
        points.append(brought_inside(inputs, inputs.low + (inputs.high - inputs.low) * share))
    return torch.stack(points, 1)


def descend(query: Query, starts: Tensor, steps: int) -> Tensor:
    """Return the points with the least margin on the way from each start [n, k, *in].

    Every start has a disjunct of its own to go for, in turn by how near the disjuncts are at it, [n, k, *in]. Signed steps
    that shrink from half of each side to a hundredth of it.
    """
    count, tries = starts.shape[:2]
    rows = torch.arange(count, device=starts.device).repeat_interleave(tries)
    repeated = query.take(rows)
    inputs, x = repeated.inputs, starts.flatten(0, 1)
    half = (inputs.high - inputs.low) / 2
    turn = torch.arange(tries, device=starts.device).repeat(count)
    best, least = x.clone(), torch.full((len(x),), math.inf, dtype=x.dtype, device=x.device)

    def look(x: Tensor) -> Tensor:
        values = repeated.at(x)
        margin = repeated.margin(values.detach())
        better = margin < least
        best[better] = x.detach()[better]
        torch.minimum(margin, least, out=least)
        return -_aim(repeated, values, turn)

    def move(x: Tensor, g: Tensor, k: int) -> Tensor:
        length = 0.5 * (0.02 ** (k / max(1, steps - 1)))
        return brought_inside(inputs, x + g.sign() * half * length * 2)

    def enough() -> bool:
        return bool((least <= 0).reshape(count, tries).any(1).all())

    x = ascend(x, look, move, steps=steps, enough=enough)
    if not enough():
        look(x)
    return best.reshape(count, tries, *starts.shape[2:])


def _aim(query: Query, values: Tensor, turn: Tensor) -> Tensor:
    """Return the value that each start descends on, [n]: the greatest row of a disjunct, for the `turn`-th nearest disjunct."""
    if query.one_constraint_each:
        ranked = values.sort(dim=1).values
        return ranked.gather(1, (turn % values.shape[1])[:, None]).squeeze(1)
    disjunct = query.disjunct.where(query.disjunct >= 0, query.disjuncts)
    best = values.new_full((len(values), query.disjuncts + 1), -math.inf).scatter_reduce(1, disjunct, values, "amax")[:, : query.disjuncts]
    best = torch.where(torch.isfinite(best), best, math.inf)
    ranked, places = best.sort(dim=1)
    real = torch.isfinite(ranked).sum(1).clamp_min(1)
    chosen = places.gather(1, (turn % real)[:, None])
    return torch.where(query.disjunct == chosen, values, -math.inf).amax(1)


def brought_inside(inputs: InputSet, x: Tensor) -> Tensor:
    """Bring points into the box and, where there is a ball, straight toward its centre."""
    x = torch.minimum(torch.maximum(x, inputs.low), inputs.high)
    if inputs.center is None or inputs.radius is None:
        return x
    way = x - inputs.center
    size = torch.linalg.vector_norm(way.flatten(1), ord=inputs.order, dim=1)
    share = (inputs.radius * (1 - 1e-12) / size.clamp_min(1e-300)).clamp_max(1.0)
    return inputs.center + way * share.reshape(-1, *[1] * (way.ndim - 1))
