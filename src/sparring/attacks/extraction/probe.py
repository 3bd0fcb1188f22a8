"""The interface through which an attack copies a model."""

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from sparring.core.rng import Rng
from sparring.core.victim import Victim
from sparring.data.dataset import Data


@dataclass
class ExtractionProbe:
    """Hold a model that answers, inputs to ask it about, and a way to train a copy.

    Attributes:
        victim: The model; `ask` is the only way to it that is counted.
        pool: Inputs of the adversary, with the true answers, if he knows them.
        train: From data to a copy.
        seed: Seed of all random draws.
        queries: Answers the victim has given so far.
    """

    victim: Victim
    pool: Data
    train: Callable[[Data], Victim]
    seed: int
    queries: int = field(default=0)

    def ask(self, rows: Tensor) -> Tensor:
        """Return what the victim answers to these inputs of the pool; each answer is a query.

        The answers have the form of the task.
        """
        self.queries += len(rows)
        with self.victim.session():
            return self.victim.answer(self.pool.x[rows])

    def order(self) -> Tensor:
        """Return the places of the pool in random order, drawn per sample.

        A larger budget thus asks about the same inputs and more.
        """
        return Rng.of(self.seed, self.pool.ids).draw("pool").uniform(1).squeeze(1).argsort()
