"""Which samples are worth an attack's while: those nearly there."""

from typing import Any, cast

import torch
from torch import Tensor

from sparring.core.bout import Bout
from sparring.core.threat import Reference, lead


def reachable(bout: Bout, within: float) -> Tensor:
    """bool [m]: could the margin at the best point so far be closed by a step of `within` radii, if the model were linear
    there? A forward and a backward each. All rows where the threat grants no gradients or the space has no steepest step.

    A sample is judged by itself, so the answer does not hang on the batch. A3 (Liu et al. 2022, arXiv:2203.05154) takes a
    share of the samples in order of their margins, which does.
    """
    seen = bout.victim.exposes & bout.threat.grants
    if "gradients" not in seen or "ascend" not in bout.threat.space.offers():
        return torch.ones(len(bout), dtype=torch.bool, device=bout.rows.device)
    region = cast(Any, bout.region)
    graded = bout.gradient(cast(Tensor, bout.best()), _margin)
    one = torch.ones(len(bout), dtype=torch.float64, device=bout.rows.device)
    slope = (graded.grad * region.ascend(torch.zeros_like(graded.grad), graded.grad, one)).flatten(1).sum(1).double()
    return -graded.value.double() <= within * region.radius * slope


def _margin(scores: Tensor, reference: Reference) -> Tensor:
    return reference.sign * lead(scores, reference.anchor)
