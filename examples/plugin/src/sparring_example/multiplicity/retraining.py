"""Input and result of the methods of this aim."""

from dataclasses import dataclass
from typing import NamedTuple

from sparring.core.rng import number_of
from sparring.data.dataset import Data


class Training(NamedTuple):
    """Hold one training to compare with the first: its data and its seed."""

    data: Data
    seed: int


@dataclass(frozen=True)
class Retraining:
    """Hold the training to repeat: its data and its seed."""

    data: Data
    seed: int

    def another_seed(self, turn: int) -> int:
        """Return the seed of one of the further trainings."""
        return number_of(f"{self.seed} retraining {turn}") % 2**31
