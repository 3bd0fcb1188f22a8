"""Rotation and translation, exhaustively: every combination of angle and shifts that the space allows."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.loop import iterate
from sparring.core.problem import Problem


class Nothing(NamedTuple):
    """Hold nothing, as each try is independent of the others."""


@attack(
    needs={"labels"},
    uses={"turned", "combinations", "reach"},
    cites="Engstrom et al. 2019, arXiv:1712.02779, section 3; github.com/MadryLab/adversarial_spatial",
)
def spatial_grid(problem: Problem) -> Tensor:
    """Try every rotation and shift of the space, the smallest first.

    This is the exact worst case over the grid.

    One query a combination; a sample that breaks stops, so the size of its change in the record is the least that breaks it.

    Source: Engstrom et al. 2019, arXiv:1712.02779, section 3; github.com/MadryLab/adversarial_spatial.

    Differs from the paper: the paper asks all 775 combinations and keeps the one of highest loss; which samples break is the same.
    """

    def step(live: Problem, state: Nothing, k: int) -> Nothing:
        region = cast(Any, live.region)
        rows = (region.reach(torch.full_like(live.rows, k)) <= region.radius).nonzero().squeeze(1)
        if len(rows):
            some = live.take(rows)
            some.losses(cast(Any, some.region).turned(torch.full_like(some.rows, k)))
        return state

    return iterate(problem, lambda live, restart: Nothing(), step, steps=cast(Any, problem.region).combinations())
