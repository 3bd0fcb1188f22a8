"""The decision boundary near a point, as a plane, and the ways along and across it that several searches share."""

from typing import NamedTuple

import torch
from torch import Tensor

from sparring.core.bout import Bout
from sparring.core.threat import Reference
from sparring.threats.balls import box


class Plane(NamedTuple):
    """The margin linearised at a point x: margin + normal . (z - x); it is 0 on the plane.

    margin: [m]. normal: like x. done: bool [m], x itself meets the goal. past: [m], how far x is past the goal.
    """

    margin: Tensor
    normal: Tensor
    done: Tensor
    past: Tensor

    def gap(self, x: Tensor, z: Tensor) -> Tensor:
        """float64 [m]: what `normal . (point - z)` must be for a point of the plane, which was linearised at x."""
        return -(self.margin.double() + ((z - x).double() * self.normal).flatten(1).sum(1))


def rivals(scores: Tensor, anchor: Tensor, count: int) -> Tensor:
    """int64 [m, 1 + count]: the class to leave, then the highest others."""
    others = scores.scatter(1, anchor[:, None], -torch.inf).argsort(dim=1, descending=True, stable=True)[:, : max(1, min(count, scores.shape[1] - 1))]
    return torch.cat([anchor[:, None], others], 1)


def nearest_plane(bout: Bout, x: Tensor, classes: Tensor | None) -> Plane:
    """The nearest boundary of the linearised model. Untargeted: of the first of `classes` (`rivals`) with any other, for a backward
    a class; with two classes between these, for one backward. Otherwise (None): that of the goal, which its best rival decides."""
    goal = bout.threat.goal
    if classes is None:
        graded = bout.gradient(x, goal.margin, probe=True)
        margin, normal = graded.value, graded.grad
    elif classes.shape[1] == 2:
        aim = Reference(classes[:, 0], classes[:, 1], torch.ones_like(bout.reference.sign))
        graded = bout.gradient(x, _difference, aim, probe=True)
        margin, normal = graded.value, graded.grad
    else:
        graded = bout.gradients(x, classes, probe=True)
        lead = graded.value[:, 1:] - graded.value[:, :1]
        ways = graded.grad[:, 1:] - graded.grad[:, :1]
        slope = bout.region.dual(ways.flatten(0, 1)).reshape(lead.shape)  # type: ignore[attr-defined]
        away = torch.where(slope > 0, lead.abs() / slope.clamp_min(1e-300), torch.inf)
        first, rows = away.argmin(1), torch.arange(len(x), device=x.device)
        margin, normal = lead[rows, first], ways[rows, first]
    past = goal.margin(graded.scores, bout.reference)
    return Plane(margin, normal, past > 0, past)


def _difference(scores: Tensor, aim: Reference) -> Tensor:
    """The anchor's score minus that of the class to leave."""
    return (scores.gather(1, aim.anchor[:, None]) - scores.gather(1, aim.label[:, None])).squeeze(1)


def bisect(bout: Bout, found: Tensor, size: Tensor, steps: int) -> Tensor:
    """The straight way from the clean input to `found` halved so many times, for unfinished rows whose `size` is finite: of each row
    the last point that met the goal. A row stops where its interval has come down to 1e-4 of its size."""
    rows = ((size > 0) & (size < torch.inf)).nonzero().squeeze(1)
    best, low, high = found.clone(), torch.zeros_like(size), torch.ones_like(size)
    for _ in range(steps):
        rows = rows[bout.take(rows).unfinished() & (high - low > 1e-4 * high)[rows]]
        if not len(rows):
            break
        share = (low + high)[rows] / 2
        point = bout.x[rows] + wide(share, found) * (found - bout.x)[rows]
        hit = bout.take(rows).margins(point, probe=True) > 0
        best[rows[hit]] = point[hit]
        high[rows[hit]] = share[hit]
        low[rows[~hit]] = share[~hit]
    return best


def last_look(bout: Bout, x: Tensor) -> None:
    """Ask about x drawn back into the region, for rows without a success so far: where none is found, the nearest try is kept."""
    rows = (bout.unfinished() & (bout.smallest() == torch.inf)).nonzero().squeeze(1)
    if len(rows):
        some = bout.take(rows)
        some.margins(some.region.project(x[rows]))  # type: ignore[attr-defined]


def boxed(bout: Bout, x: Tensor, before: Tensor) -> Tensor:
    """x inside the bounds of the domain; coordinates that overflowed stay where they were before."""
    low, high = box(bout.victim.domain, x)
    return torch.where(x.isfinite(), x, before).clamp(low, high)


def wide(rows: Tensor, x: Tensor) -> Tensor:
    """[m] to [m, 1, ...] in the type of x (bool stays bool)."""
    rows = rows.reshape(-1, *[1] * (x.ndim - 1))
    return rows if rows.dtype is torch.bool else rows.to(x.dtype)
