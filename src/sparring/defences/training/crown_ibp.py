"""Training on a backward bound of the scores over interval bounds of the layers."""

from dataclasses import dataclass, field

from torch import Tensor

from sparring.certification.networks.bounds.crown import lower, relaxations
from sparring.defences.training.ibp import interval_gaps, mixed, regular
from sparring.defences.training.initialisation import interval_initialisation
from sparring.defences.training.recipe import recipe
from sparring.defences.training.regulariser import Regulariser
from sparring.defences.training.step import Step
from sparring.defences.training.worst import rivals, worst_entropy


@recipe("crown_ibp", initialisation=interval_initialisation, cites="Zhang et al. 2020, arXiv:1906.06316")
@dataclass(frozen=True)
class CrownIbp:
    """Train on CROWN bounds of the scores, which intervals replace as the radius grows.

    Intervals bound the layers.

    Lower bounds of the logit gaps by CROWN are mixed with those of intervals (Zhang et al. 2020, arXiv:1906.06316, equation 11).

    crown: weight of the backward bound at radius 0 and at the full radius, 1 - beta in the paper's terms reversed: (1, 0) starts with CROWN and ends
    with intervals, as the paper does; (1, 1) keeps CROWN. natural, regulariser: see `Ibp`. One row a rival class is pulled back; the fusion of
    the loss into the graph (Xu et al. 2020, arXiv:2002.12920), which needs one row only, pays with hundreds of classes and is not done here.
    """

    crown: tuple[float, float] = (1.0, 0.0)
    natural: tuple[float, float] = (0.0, 0.0)
    regulariser: Regulariser | None = field(default_factory=Regulariser)

    def __call__(self, step: Step) -> Tensor:
        network = step.network
        values, gaps = interval_gaps(step, step.box)
        weight = self.crown[0] + (self.crown[1] - self.crown[0]) * step.share
        if weight:
            bounds = {before: values[before] for activation in network.nonlinearities for before in network.nodes[activation].inputs}
            rows = rivals(step.y, network.outputs, step.x.dtype).reshape(len(step.y), -1, *network.shapes[-1])
            backward = lower(network, step.box, len(network.nodes) - 1, rows, relaxations(network, bounds))
            gaps = weight * backward + (1 - weight) * gaps
        return mixed(step, worst_entropy(gaps), self.natural) + regular(step, values, self.regulariser)
