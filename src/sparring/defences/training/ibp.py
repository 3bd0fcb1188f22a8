"""Training on interval bounds."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch.nn.functional as F
from torch import Tensor

from sparring.certification.bounds.inputs import InputSet
from sparring.certification.bounds.interval import Interval, intervals, margins
from sparring.defences.training.balance import Balance
from sparring.defences.training.step import Step
from sparring.defences.training.worst import rivals, worst_entropy


@dataclass(frozen=True)
class Ibp:
    """Cross-entropy of the worst scores that intervals allow (Gowal et al. 2018, arXiv:1810.12715), the last layer elided.

    natural: weight of the plain cross-entropy, kappa, at radius 0 and at the full radius; the paper has (1, 0.5) for MNIST. The default
    leaves it out, as Shi et al. 2021 (arXiv:2103.17268) do, whose regularisers are added while the radius grows; balance=None leaves these out.
    """

    natural: tuple[float, float] = (0.0, 0.0)
    balance: Balance | None = field(default_factory=Balance)

    def __call__(self, step: Step) -> Tensor:
        values, leads = interval_leads(step, step.box)
        return mixed(step, worst_entropy(leads), self.natural) + regular(step, values, self.balance)


def interval_leads(step: Step, box: InputSet) -> tuple[Sequence[Interval], Tensor]:
    """Intervals of all nodes for a box, and lower bounds [n, classes - 1] of the lead of the label."""
    values = intervals(step.network, box)
    return values, margins(step.network, values, rivals(step.y, step.network.outputs, step.x.dtype))


def mixed(step: Step, robust: Tensor, natural: tuple[float, float]) -> Tensor:
    """A loss and the plain cross-entropy, weighted as far as the radius has grown."""
    weight = natural[0] + (natural[1] - natural[0]) * step.share
    return robust if weight == 0 else weight * F.cross_entropy(step.scores, step.y) + (1 - weight) * robust


def regular(step: Step, values: Sequence[Interval], balance: Balance | None) -> Tensor | float:
    """What is added while the radius grows."""
    return balance(step.network, values, step.share) if balance else 0.0
