"""CC-IBP: the loss of a weighted mean of logit gaps."""

from dataclasses import dataclass

from torch import Tensor

from sparring.defences.training.expressive import Expressive
from sparring.defences.training.initialisation import interval_initialisation
from sparring.defences.training.recipe import recipe
from sparring.defences.training.worst import worst_entropy


@recipe("cc_ibp", initialisation=interval_initialisation, cites="De Palma et al. 2024, arXiv:2305.13991, section 4.2")
@dataclass(frozen=True)
class CcIbp(Expressive):
    """Train on the loss at the weighted mean of adversarial logit gaps and of their bounds.

    De Palma et al. 2024, arXiv:2305.13991, section 4.2. Its settings are those of `Expressive`.
    """

    def joined(self, reached: Tensor, bound: Tensor) -> Tensor:
        return worst_entropy((1 - self.weight) * reached + self.weight * bound)
