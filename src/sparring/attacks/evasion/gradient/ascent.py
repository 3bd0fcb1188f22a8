"""What gradient attacks share: the move along the steepest direction, averaged gradients, classes in order of nearness."""

import math
from typing import Any, Literal, cast

import torch
from torch import Tensor

from sparring.core.bout import Bout, Loss
from sparring.core.threat import Reference
from sparring.core.victim import Graded

Order = Literal["scores", "linearised"]

POOL = 20
"""Wrong classes, the highest of the clean input, that are put in order by their linearised distance."""


def along(bout: Bout, x: Tensor, g: Tensor, share: Tensor | float) -> Tensor:
    """x moved by `share` (a number, or one a row) of the radius along the steepest direction of g, then projected."""
    region = cast(Any, bout.region)
    return region.project(region.ascend(x, g, region.radius * share))


def averaged(bout: Bout, x: Tensor, loss: Loss, reference: Reference | None, draws: int) -> Graded:
    """The gradient at x, for randomised victims the mean over so many draws (EOT, Athalye et al. 2018, arXiv:1802.00420)."""
    total = bout.gradient(x, loss, reference)
    for _ in range(draws - 1):
        total = Graded(*(sum_ + part for sum_, part in zip(total, bout.gradient(x, loss, reference), strict=True)))
    return total if draws <= 1 else Graded(*(part / draws for part in total))


def nearest_classes(bout: Bout, x: Tensor, order: Order) -> Tensor:
    """int64 [m, C - 1], or [m, POOL] with more classes: wrong classes, the most promising at x first.

    "scores": by their score. "linearised": by the distance to the boundary of the linearised model, the lead of the label over
    the dual norm of its gradient (as DeepFool and FAB go; MALT, arXiv:2407.02240), at the price of a forward and a backward a class.
    """
    label = bout.reference.label[:, None]
    if order == "scores":
        return _highest(bout.scores(x), label)
    count = min(bout.victim.classes, POOL + 1)
    classes = torch.arange(count, device=label.device).expand(len(x), -1)
    if count < bout.victim.classes:
        classes = torch.cat([label, _highest(bout.scores(x), label)], 1)
    graded = bout.gradients(x, classes)
    own = (classes == label).to(torch.int8).argmax(1)
    rows = torch.arange(len(x), device=label.device)
    distance = torch.full_like(graded.value, math.inf)
    for place in range(count):
        lead = graded.value[rows, own] - graded.value[:, place]
        slope = _dual(bout, x, graded.grad[:, place] - graded.grad[rows, own])
        distance[:, place] = torch.where(own == place, torch.inf, lead / slope.clamp_min(torch.finfo(lead.dtype).tiny))
    return classes.gather(1, distance.argsort(dim=1, stable=True)[:, : count - 1])


def _highest(scores: Tensor, label: Tensor) -> Tensor:
    """The wrong classes in order of their scores, at most POOL."""
    return scores.scatter(1, label, -math.inf).argsort(dim=1, descending=True, stable=True)[:, : min(POOL, scores.shape[1] - 1)]


def _dual(bout: Bout, x: Tensor, g: Tensor) -> Tensor:
    """[m]: how much the linearised value grows along a step of unit length, the dual norm of g."""
    one = torch.ones(len(x), dtype=torch.float64, device=x.device)
    return (g * (cast(Any, bout.region).ascend(torch.zeros_like(x), g, one))).flatten(1).sum(1)
