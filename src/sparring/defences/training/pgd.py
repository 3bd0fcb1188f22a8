"""The attack inside training: ascent of cross-entropy in a box."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sparring.attacks.ascend import ascend
from sparring.core.errors import PlanError
from sparring.defences.training.step import Step


@dataclass(frozen=True)
class BoxPgd:
    """Hold the settings of PGD with a random start in the box (arXiv:1706.06083).

    Source: Madry et al. 2018.

    step_size: in half widths of the box, coordinate by coordinate. falls: shares of the steps after which it falls to a tenth.
    One step of 1.25 is that of Wong et al. 2020, arXiv:2001.03994.
    """

    steps: int = 8
    step_size: float = 0.5
    falls: tuple[float, ...] = (0.5, 0.875)

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.step_size > 0:
            raise PlanError(f"{self}: give at least one step, and a step size above 0")

    def __call__(self, step: Step) -> Tensor:
        """Points [n, *in] of the box of the step, found on its graph: the statistics of batch normalisation are those of the clean batch."""
        low, high = step.box.low, step.box.high
        half = (high - low) / 2
        point = low + (high - low) * torch.rand(low.shape, generator=step.rng, device=low.device, dtype=low.dtype)

        def move(x: Tensor, gradient: Tensor, k: int) -> Tensor:
            length = self.step_size * 0.1 ** sum(k >= share * self.steps for share in self.falls if share * self.steps >= 1)
            return torch.minimum(torch.maximum(x + length * half * gradient.sign(), low), high)

        return ascend(point, lambda x: F.cross_entropy(step.network(x), step.y, reduction="sum"), move, steps=self.steps)
