"""Ways to repeat a training; all of them are valid, and all should give the same answers."""

import torch

from sparring.attacks.method import method
from sparring.core.rng import Rng

from .retraining import Retraining, Training

CITES = "Marx, Calmon, Ustun 2020, arXiv:1909.06677"


@method(aim="multiplicity", cites=CITES)
def reseed(work: Retraining, *, models: int = 4) -> list[Training]:
    """Train on the same data with other seeds.

    Args:
        work: The training that is repeated.
        models: How many are trained.
    """
    return [Training(work.data, work.another_seed(turn)) for turn in range(models)]


@method(aim="multiplicity", cites=CITES)
def leave_out(work: Retraining, *, models: int = 4, share: float = 0.1) -> list[Training]:
    """Train with the same seed on data without some samples, drawn at random.

    Args:
        work: The training that is repeated.
        models: How many are trained.
        share: Of the samples, left out of each.
    """
    found = []
    for turn in range(models):
        drawn = Rng.of(work.seed, work.data.ids).draw(f"left out {turn}").uniform(1, dtype=torch.float64).squeeze(1)
        found.append(Training(work.data.rows((drawn >= share).nonzero().squeeze(1)), work.seed))
    return found


@method(aim="multiplicity", cites=CITES, control=True)
def same_seed(work: Retraining) -> list[Training]:
    """Train again on the same data with the same seed, which must not change any answer."""
    return [Training(work.data, work.seed)]
