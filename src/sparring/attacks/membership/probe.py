"""The interface through which an attack infers membership."""

from dataclasses import dataclass

from torch import Tensor

from sparring.core.victim import Victim
from sparring.data.dataset import Data


@dataclass(frozen=True)
class Probe:
    """Hold records of which the adversary asks whether they were in the training data.

    Attributes:
        victim: The model, metered; it was trained on some of the records.
        data: The records with their true answers.
        background: Further data of the same kind, none of it in the training data or among the records.
    """

    victim: Victim
    data: Data
    background: Data

    def scores(self, data: Data) -> Tensor:
        """Return what the model computes for some data, float [n, ...]."""
        return self.victim.scores(data.x)
