"""Rotation and translation, exhaustively: every combination of angle and shifts that the space allows."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.loop import climb
from sparring.core.bout import Bout


class Nothing(NamedTuple):
    """One combination knows nothing of the next."""


@attack(
    needs={"labels"},
    uses={"turned", "combinations", "reach"},
    cites="Engstrom et al. 2019, arXiv:1712.02779, section 3; github.com/MadryLab/adversarial_spatial",
)
def spatial_grid(bout: Bout) -> Tensor:
    """Every angle and shift of the space, the smallest first: the exact worst case over the grid.

    One query a combination; a sample that breaks stops, so the size of its change in the record is the least that breaks it.

    Where we differ: the paper asks all 775 combinations and keeps the one of highest loss; which samples break is the same.
    """

    def step(live: Bout, state: Nothing, k: int) -> Nothing:
        region = cast(Any, live.region)
        rows = (region.reach(torch.full_like(live.rows, k)) <= region.radius).nonzero().squeeze(1)
        if len(rows):
            some = live.take(rows)
            some.margins(cast(Any, some.region).turned(torch.full_like(some.rows, k)))
        return state

    return climb(bout, lambda live, restart: Nothing(), step, steps=cast(Any, bout.region).combinations())
