"""Code shared by MTL-IBP, CC-IBP and Exp-IBP: losses between adversarial points and interval bounds.

De Palma et al. 2024, arXiv:2305.13991: losses that reach from a lower to an upper bound of the worst-case loss as `weight` goes from 0 to 1.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from torch import Tensor

from sparring.core.errors import PlanError
from sparring.defences.training.ibp import interval_gaps, regular
from sparring.defences.training.pgd import BoxPgd
from sparring.defences.training.regulariser import Regulariser
from sparring.defences.training.step import Step
from sparring.defences.training.worst import rivals, worst_entropy


@dataclass(frozen=True)
class Expressive(ABC):
    """Hold the settings of losses between adversarial training and interval bounds.

    weight: of the interval bound, alpha. 0 is adversarial training, 1 is `Ibp`. It is tuned for each set, radius and
    verifier: small weights need branch and bound to be certified. The default, and one step of attack, are those of CTBench
    (arXiv:2406.04848) for MNIST at 0.3. regulariser: see `Ibp`.
    """

    weight: float = 0.5
    attack: BoxPgd = field(default_factory=lambda: BoxPgd(1, 1.25))
    regulariser: Regulariser | None = field(default_factory=Regulariser)

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1:
            raise PlanError(f"weight={self.weight}: give a weight of the interval bound in [0, 1]")

    def __call__(self, step: Step) -> Tensor:
        values, bound = interval_gaps(step, step.box)
        if step.share == 0:
            return worst_entropy(bound) + regular(step, values, self.regulariser)  # one point a sample: all losses agree
        scores = step.network(self.attack(step))
        reached = (rivals(step.y, scores.shape[1], scores.dtype) @ scores[:, :, None]).squeeze(2)
        return self.joined(reached, bound) + regular(step, values, self.regulariser)

    @abstractmethod
    def joined(self, reached: Tensor, bound: Tensor) -> Tensor:
        """Return the loss of logit gaps at adversarial points and of lower bounds of them.

        Both are [n, classes - 1].
        """
