"""Training between adversarial points and interval bounds: MTL-IBP, CC-IBP and Exp-IBP.

De Palma et al. 2024, arXiv:2305.13991: losses that reach from a lower to an upper bound of the worst-case loss as `weight` goes from 0 to 1.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from torch import Tensor

from sparring.core.errors import PlanError
from sparring.defences.training.balance import Balance
from sparring.defences.training.climb import Climb
from sparring.defences.training.ibp import interval_leads, regular
from sparring.defences.training.step import Step
from sparring.defences.training.worst import rivals, worst_entropy


@dataclass(frozen=True)
class Expressive(ABC):
    """weight: of the interval bound, alpha. 0 is adversarial training, 1 is `Ibp`. It is tuned for each set, radius and
    verifier: small weights need branch and bound to be certified. The default, and one step of attack, are those of CTBench
    (arXiv:2406.04848) for MNIST at 0.3. balance: see `Ibp`."""

    weight: float = 0.5
    attack: Climb = field(default_factory=lambda: Climb(1, 1.25))
    balance: Balance | None = field(default_factory=Balance)

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1:
            raise PlanError(f"weight={self.weight}: the weight of the interval bound lies in [0, 1]")

    def __call__(self, step: Step) -> Tensor:
        values, bound = interval_leads(step, step.box)
        if step.share == 0:
            return worst_entropy(bound) + regular(step, values, self.balance)  # one point a sample: all losses agree
        scores = step.network(self.attack(step))
        reached = (rivals(step.y, scores.shape[1], scores.dtype) @ scores[:, :, None]).squeeze(2)
        return self.joined(reached, bound) + regular(step, values, self.balance)

    @abstractmethod
    def joined(self, reached: Tensor, bound: Tensor) -> Tensor:
        """The loss of leads at adversarial points and of lower bounds of leads, [n, classes - 1] each."""


@dataclass(frozen=True)
class MtlIbp(Expressive):
    """The weighted mean of the two losses (section 4.3)."""

    def joined(self, reached: Tensor, bound: Tensor) -> Tensor:
        return (1 - self.weight) * worst_entropy(reached) + self.weight * worst_entropy(bound)


@dataclass(frozen=True)
class CcIbp(Expressive):
    """The loss of the weighted mean of the leads (section 4.2)."""

    def joined(self, reached: Tensor, bound: Tensor) -> Tensor:
        return worst_entropy((1 - self.weight) * reached + self.weight * bound)


@dataclass(frozen=True)
class ExpIbp(Expressive):
    """The weighted geometric mean of the two losses (section 4.4)."""

    def joined(self, reached: Tensor, bound: Tensor) -> Tensor:
        return worst_entropy(reached) ** (1 - self.weight) * worst_entropy(bound) ** self.weight
