"""Training on interval bounds."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch.nn.functional as F
from torch import Tensor

from sparring.certification.networks.bounds.inputs import InputSet
from sparring.certification.networks.bounds.interval import Interval, intervals, margins
from sparring.defences.training.initialisation import interval_initialisation
from sparring.defences.training.recipe import recipe
from sparring.defences.training.regulariser import Regulariser
from sparring.defences.training.step import Step
from sparring.defences.training.worst import rivals, worst_entropy


@recipe("ibp", initialisation=interval_initialisation, cites="Gowal et al. 2018, arXiv:1810.12715; Shi et al. 2021, arXiv:2103.17268")
@dataclass(frozen=True)
class Ibp:
    """Train on the cross-entropy of the worst scores that intervals allow (IBP).

    Gowal et al. 2018, arXiv:1810.12715, with the last layer elided.

    natural: weight of the plain cross-entropy, kappa, at radius 0 and at the full radius; the paper has (1, 0.5) for MNIST. The default
    leaves it out, as Shi et al. 2021 (arXiv:2103.17268) do, whose regularisers are added while the radius grows; regulariser=None leaves these out.
    """

    natural: tuple[float, float] = (0.0, 0.0)
    regulariser: Regulariser | None = field(default_factory=Regulariser)

    def __call__(self, step: Step) -> Tensor:
        values, gaps = interval_gaps(step, step.box)
        return mixed(step, worst_entropy(gaps), self.natural) + regular(step, values, self.regulariser)


def interval_gaps(step: Step, box: InputSet) -> tuple[Sequence[Interval], Tensor]:
    """Return the intervals of all nodes for a box, and lower bounds of the label's logit gaps.

    The bounds are [n, classes - 1].
    """
    values = intervals(step.network, box)
    return values, margins(step.network, values, rivals(step.y, step.network.outputs, step.x.dtype))


def mixed(step: Step, robust: Tensor, natural: tuple[float, float]) -> Tensor:
    """Return a loss and the plain cross-entropy, weighted as far as the radius has grown."""
    weight = natural[0] + (natural[1] - natural[0]) * step.share
    return robust if weight == 0 else weight * F.cross_entropy(step.scores, step.y) + (1 - weight) * robust


def regular(step: Step, values: Sequence[Interval], regulariser: Regulariser | None) -> Tensor | float:
    """Return the regularisation that is added while the radius grows."""
    return regulariser(step.network, values, step.share) if regulariser else 0.0
