"""Rotation and translation at random: the worst of a few."""

from typing import Any, NamedTuple, cast

from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.loop import iterate
from sparring.core.problem import Problem


class Nothing(NamedTuple):
    """Hold nothing, as each try is independent of the others."""


@attack(needs={"labels"}, uses={"turned", "sample"}, cites="Engstrom et al. 2019, arXiv:1712.02779, section 3 (worst-of-k)")
def spatial_random(problem: Problem, *, tries: int = 10) -> Tensor:
    """Try random rotations and shifts of the space, and keep the first that breaks.

    Args:
        tries: Combinations asked about per sample, the k of worst-of-k.

    Source: Engstrom et al. 2019, arXiv:1712.02779, section 3 (worst-of-k).

    Differs from the paper: combinations are drawn from the grid of the space, not from the intervals between its ends.
    """

    def step(live: Problem, state: Nothing, turn: int) -> Nothing:
        live.losses(cast(Any, live.region).sample(live.rng.draw(turn)))
        return state

    return iterate(problem, lambda live, restart: Nothing(), step, steps=tries)
