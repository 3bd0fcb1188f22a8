"""Exp-IBP: a weighted geometric mean of two losses."""

from dataclasses import dataclass

from torch import Tensor

from sparring.defences.training.expressive import Expressive
from sparring.defences.training.initialisation import interval_initialisation
from sparring.defences.training.recipe import recipe
from sparring.defences.training.worst import worst_entropy


@recipe("exp_ibp", initialisation=interval_initialisation, cites="De Palma et al. 2024, arXiv:2305.13991, section 4.4")
@dataclass(frozen=True)
class ExpIbp(Expressive):
    """Train on the weighted geometric mean of an adversarial loss and an interval bound.

    De Palma et al. 2024, arXiv:2305.13991, section 4.4.

    Args:
        weight: Of the bound, in [0, 1]; 0 leaves the adversarial loss alone.
        attack: The attack inside training; a `BoxPgd`.
        regulariser: What is added while the radius grows, a `Regulariser`; None for nothing.
    """

    def joined(self, reached: Tensor, bound: Tensor) -> Tensor:
        return worst_entropy(reached) ** (1 - self.weight) * worst_entropy(bound) ** self.weight
