"""Training on small boxes around adversarial points."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from sparring.certification.networks.bounds.inputs import InputSet
from sparring.core.errors import PlanError
from sparring.defences.training.ibp import interval_gaps, mixed, regular
from sparring.defences.training.initialisation import interval_initialisation
from sparring.defences.training.pgd import BoxPgd
from sparring.defences.training.recipe import recipe
from sparring.defences.training.regulariser import Regulariser
from sparring.defences.training.step import Step
from sparring.defences.training.worst import worst_entropy


@recipe("sabr", initialisation=interval_initialisation, cites="Müller et al. 2023, arXiv:2210.04871")
@dataclass(frozen=True)
class Sabr:
    """Train on interval bounds of a small box around an adversarial point (SABR).

    The small box lies inside the allowed box.

    Müller et al. 2023, arXiv:2210.04871.

    ratio: width of the small box as a share of the allowed one, lambda; published settings run from 0.1 (CIFAR-10 at 2/255) to 0.9 (MNIST at
    0.3, CTBench, arXiv:2406.04848). 1 is `Ibp`; 0 is plain adversarial training. natural, regulariser: see `Ibp`. Where the domain cuts the
    allowed box the small one shrinks with it; the paper cuts the small one afterwards.
    """

    ratio: float = 0.4
    attack: BoxPgd = field(default_factory=BoxPgd)
    natural: tuple[float, float] = (0.0, 0.0)
    regulariser: Regulariser | None = field(default_factory=Regulariser)

    def __post_init__(self) -> None:
        if not 0 <= self.ratio <= 1:
            raise PlanError(f"ratio={self.ratio}: give the size of the small box as a share of the allowed box, 0 to 1")

    def __call__(self, step: Step) -> Tensor:
        box = step.box if self.ratio == 1 or step.share == 0 else self.small(step.box, self.attack(step))
        values, gaps = interval_gaps(step, box)
        return mixed(step, worst_entropy(gaps), self.natural) + regular(step, values, self.regulariser)

    def small(self, box: InputSet, point: Tensor) -> InputSet:
        """Return a box with this share of the width, centred as near to the point as possible.

        This holds coordinate by coordinate.
        """
        half = (box.high - box.low) / 2 * self.ratio
        middle = torch.minimum(torch.maximum(point, box.low + half), box.high - half)
        return InputSet(torch.maximum(middle - half, box.low), torch.minimum(middle + half, box.high))
