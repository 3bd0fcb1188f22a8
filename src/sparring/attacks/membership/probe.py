"""The interface through which an attack infers membership."""

from collections import Counter
from dataclasses import dataclass, field

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
        asked: How often the model was asked about each sample, by id.
    """

    victim: Victim
    data: Data
    background: Data
    asked: Counter[str] = field(default_factory=Counter)

    def scores(self, data: Data) -> Tensor:
        """Return what the model computes for some data, float [n, ...]; one query per sample."""
        self.asked.update(data.ids)
        return self.victim.scores(data.x)
