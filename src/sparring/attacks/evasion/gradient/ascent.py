"""What gradient attacks share: the move along the steepest direction, averaged gradients, classes in order of nearness."""

import math
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor

from sparring.core.goal import Criterion
from sparring.core.problem import Loss, Problem
from sparring.core.victim import Graded
from sparring.tasks.classes import of_classes

Order = Literal["scores", "linearised"]

POOL = 20
"""Number of wrong classes, those with the highest scores on the clean input, that are sorted by linearised distance."""


def along(problem: Problem, x: Tensor, g: Tensor, share: Tensor | float) -> Tensor:
    """Move x by a share of the radius along the steepest direction of g, then project it.

    Args:
        share: A number, or one per row.
    """
    region = cast(Any, problem.region)
    return region.project(region.ascend(x, g, region.radius * share))


def averaged(problem: Problem, x: Tensor, loss: Loss, criterion: Criterion | None, draws: int) -> Graded:
    """Return the gradient at x; for randomised victims the mean over so many draws.

    Source: EOT, Athalye et al. 2018, arXiv:1802.00420.
    """
    total = problem.gradient(x, loss, criterion)
    for _ in range(draws - 1):
        total = Graded(*(sum_ + part for sum_, part in zip(total, problem.gradient(x, loss, criterion), strict=True)))
    return total if draws <= 1 else Graded(*(part / draws for part in total))


class Columns(NamedTuple):
    """Hold the classes whose scores are queried, int64 [m, k]."""

    classes: Tensor

    def take(self, rows: Tensor) -> "Columns":
        """Return the classes of some of the rows."""
        return Columns(self.classes[rows])


def class_gradients(problem: Problem, x: Tensor, classes: Tensor, *, probe: bool = False) -> Graded:
    """Query the scores of several classes and their gradients: value [m, k], grad [m, k, ...].

    Args:
        classes: Int64 [m, k].
    """
    return problem.gradients(x, _of_classes, classes.shape[1], Columns(classes), probe=probe)


def _of_classes(scores: Tensor, columns: Columns) -> Tensor:
    return scores.gather(1, columns.classes)


def nearest_classes(problem: Problem, x: Tensor, order: Order) -> Tensor:
    """Return the wrong classes, the most promising at x first.

    They are int64 [m, C - 1], or [m, POOL] with more classes.

    "scores": by their score. "linearised": by the distance to the boundary of the linearised model, the lead of the label over
    the dual norm of its gradient (as DeepFool and FAB go; MALT, arXiv:2407.02240), at the price of a forward and a backward a class.
    """
    label = of_classes(problem.criterion).label[:, None]
    if order == "scores":
        return _highest(problem.scores(x), label)
    count = min(problem.victim.classes, POOL + 1)
    classes = torch.arange(count, device=label.device).expand(len(x), -1)
    if count < problem.victim.classes:
        classes = torch.cat([label, _highest(problem.scores(x), label)], 1)
    graded = class_gradients(problem, x, classes)
    own = (classes == label).to(torch.int8).argmax(1)
    rows = torch.arange(len(x), device=label.device)
    distance = torch.full_like(graded.value, math.inf)
    region, one = cast(Any, problem.region), torch.ones(len(x), dtype=torch.float64, device=x.device)
    for place in range(count):
        gap = graded.value[rows, own] - graded.value[:, place]
        g = graded.grad[:, place] - graded.grad[rows, own]
        slope = (g * region.ascend(torch.zeros_like(x), g, one)).flatten(1).sum(1)  # the gain of a step of unit length, the dual norm of g
        distance[:, place] = torch.where(own == place, torch.inf, gap / slope.clamp_min(torch.finfo(gap.dtype).tiny))
    return classes.gather(1, distance.argsort(dim=1, stable=True)[:, : count - 1])


def _highest(scores: Tensor, label: Tensor) -> Tensor:
    """Return at most POOL wrong classes, highest score first."""
    return scores.scatter(1, label, -math.inf).argsort(dim=1, descending=True, stable=True)[:, : min(POOL, scores.shape[1] - 1)]
