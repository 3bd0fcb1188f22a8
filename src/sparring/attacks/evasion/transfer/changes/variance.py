"""Variance tuning: the gradient is corrected by gradients at neighbouring points one step earlier."""

from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from sparring.attacks.evasion.transfer.change import Answer, Ask, Change, Here, require
from sparring.core.registry import register
from sparring.core.rng import Rng


@register("change", "vmi")
@dataclass(frozen=True)
class Variance(Change):
    """Add how much the gradients around the last point differed from its own (VMI-FGSM).

    Wang, He 2021, arXiv:2103.15571, equation 7.

    Args:
        neighbours: Points that are asked about around each.
        reach: How far they lie, as a share of the region.

    Differs from the paper: neighbours are drawn from the region, whose every coordinate then gets a random sign; in Linf, away from the
    edge of the box, that is the uniform draw of the paper.
    """

    neighbours: int = 20
    reach: float = 1.5
    order: ClassVar[int] = 30
    cites: ClassVar[str] = "Wang, He 2021, arXiv:2103.15571"
    moves: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(self, lambda: self.neighbours >= 1 and self.reach >= 0, "at least one neighbour and a reach of at least 0")

    def __call__(self, ask: Ask, here: Here) -> Ask:
        def asked(x: Tensor, rng: Rng) -> Answer:
            region, answer = cast(Any, here.problem.region), ask(x, rng)
            total = torch.zeros_like(x)
            for turn in range(self.neighbours):
                own = rng.draw(f"neighbour {turn}")
                signs = own.draw("sign").signs(*x.shape[1:], dtype=x.dtype)  # else a pixel at the edge of the box would move in one direction only
                total += ask(x + self.reach * signs * (region.sample(own.draw("place")) - region.origin), own).grad
            variance = total / self.neighbours - answer.grad
            return Answer(answer.grad + here.memory.variance, answer.memory._replace(variance=variance))

        return asked
