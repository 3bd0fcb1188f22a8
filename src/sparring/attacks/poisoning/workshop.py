"""The interface through which an attack changes training data."""

from dataclasses import dataclass

from torch import Tensor

from sparring.core.rng import Rng, number_of
from sparring.data.dataset import Data


@dataclass(frozen=True)
class Workshop:
    """Hold training data that an adversary may change, for one trial.

    Attributes:
        data: The clean training data.
        most: How many samples may change.
        trial: Number of the trial, with the seed of the run in it: other trials draw other numbers.
    """

    data: Data
    most: int
    trial: str

    def order(self) -> Tensor:
        """Return the places of the samples in an order of this trial, drawn per sample: int64 [n]."""
        return self.rng.draw("order").uniform(1).squeeze(1).argsort()

    @property
    def rng(self) -> Rng:
        """Return random numbers keyed by sample and trial."""
        return Rng.of(number_of(self.trial), self.data.ids)
