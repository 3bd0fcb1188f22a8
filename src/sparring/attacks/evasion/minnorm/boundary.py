"""The decision boundary near a point, linearised as a plane, and the steps along and across it that several searches share."""

from typing import NamedTuple

import torch
from torch import Tensor

from sparring.attacks.evasion.gradient.ascent import class_gradients
from sparring.attacks.evasion.minnorm.shrinking import wide_as
from sparring.attacks.losses import margin
from sparring.core.problem import Problem
from sparring.tasks.classes import ClassCriterion
from sparring.threats.balls import box


class Plane(NamedTuple):
    """Hold the loss linearised at a point x, which is 0 on a plane.

    At a point z the linearised loss is loss + normal . (z - x).

    loss: [m]. normal: like x. done: bool [m], x itself meets the goal. past: [m], how far x is past the goal.
    """

    loss: Tensor
    normal: Tensor
    done: Tensor
    past: Tensor

    def gap(self, x: Tensor, z: Tensor) -> Tensor:
        """Return the value of `normal . (point - z)` for points of the plane, float64 [m].

        The plane was linearised at x.
        """
        return -(self.loss.double() + ((z - x).double() * self.normal).flatten(1).sum(1))


def rivals(scores: Tensor, reference_class: Tensor, count: int) -> Tensor:
    """Return the class to leave, then the highest others, int64 [m, 1 + count]."""
    others = scores.scatter(1, reference_class[:, None], -torch.inf).argsort(dim=1, descending=True, stable=True)[:, : max(1, min(count, scores.shape[1] - 1))]
    return torch.cat([reference_class[:, None], others], 1)


def rivals_to_leave(problem: Problem, scores: Tensor, count: int) -> Tensor | None:
    """Return the `rivals` where every other class is a success; None where the goal is another."""
    criterion = problem.criterion
    return rivals(scores, criterion.reference_class, count) if isinstance(criterion, ClassCriterion) and criterion.untargeted else None


def nearest_plane(problem: Problem, x: Tensor, classes: Tensor | None) -> Plane:
    """Return the nearest boundary of the linearised model.

    Untargeted: of the first of `classes` (`rivals`) with any other, for a backward a class; with two classes between these,
    for one backward. Otherwise (None): that of the goal, which its best rival decides.
    """
    if classes is None:
        graded = problem.gradient(x, margin, probe=True)
        loss, normal = graded.value, graded.grad
    elif classes.shape[1] == 2:
        aim = ClassCriterion(classes[:, 0], classes[:, 1], torch.ones(len(x), device=x.device))
        graded = problem.gradient(x, _difference, aim, probe=True)
        loss, normal = graded.value, graded.grad
    else:
        graded = class_gradients(problem, x, classes, probe=True)
        gap = graded.value[:, 1:] - graded.value[:, :1]
        ways = graded.grad[:, 1:] - graded.grad[:, :1]
        slope = problem.region.dual(ways.flatten(0, 1)).reshape(gap.shape)  # type: ignore[attr-defined]
        away = torch.where(slope > 0, gap.abs() / slope.clamp_min(1e-300), torch.inf)
        first, rows = away.argmin(1), torch.arange(len(x), device=x.device)
        loss, normal = gap[rows, first], ways[rows, first]
    past = problem.criterion.loss(graded.scores)
    return Plane(loss, normal, past > 0, past)


def _difference(scores: Tensor, aim: ClassCriterion) -> Tensor:
    """Return the score of the reference class minus that of the class to leave."""
    return (scores.gather(1, aim.reference_class[:, None]) - scores.gather(1, aim.label[:, None])).squeeze(1)


def bisect(problem: Problem, found: Tensor, size: Tensor, steps: int) -> Tensor:
    """Bisect the straight way from the clean input to `found`, and return the last successes.

    It serves unfinished rows whose `size` is finite. A row stops where its interval has come down to 1e-4 of its size.
    """
    rows = ((size > 0) & (size < torch.inf)).nonzero().squeeze(1)
    best, low, high = found.clone(), torch.zeros_like(size), torch.ones_like(size)
    for _ in range(steps):
        rows = rows[problem.take(rows).unfinished() & (high - low > 1e-4 * high)[rows]]
        if not len(rows):
            break
        share = (low + high)[rows] / 2
        point = problem.x[rows] + wide_as(share, found) * (found - problem.x)[rows]
        hit = problem.take(rows).losses(point, probe=True) > 0
        best[rows[hit]] = point[hit]
        high[rows[hit]] = share[hit]
        low[rows[~hit]] = share[~hit]
    return best


def last_look(problem: Problem, x: Tensor) -> None:
    """Query x drawn back into the region, for rows without a success so far.

    Where no point meets the goal, the nearest try is kept.
    """
    rows = (problem.unfinished() & (problem.smallest() == torch.inf)).nonzero().squeeze(1)
    if len(rows):
        some = problem.take(rows)
        some.losses(some.region.project(x[rows]))  # type: ignore[attr-defined]


def boxed(problem: Problem, x: Tensor, before: Tensor) -> Tensor:
    """Return x inside the bounds of the domain.

    Coordinates that overflowed stay where they were before.
    """
    low, high = box(problem.victim.domain, x)
    return torch.where(x.isfinite(), x, before).clamp(low, high)
