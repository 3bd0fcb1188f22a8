"""Rotation and translation at random: the worst of a few."""

from typing import Any, NamedTuple, cast

from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.loop import climb
from sparring.core.bout import Bout


class Nothing(NamedTuple):
    """One try knows nothing of the next."""


@attack(needs={"labels"}, uses={"turned", "sample"}, cites="Engstrom et al. 2019, arXiv:1712.02779, section 3 (worst-of-k)")
def spatial_random(bout: Bout, *, tries: int = 10) -> Tensor:
    """Random angles and shifts of the space; keep whichever breaks.

    tries: combinations asked about per sample, the k of worst-of-k.

    Where we differ: combinations are drawn from the grid of the space, not from the intervals between its ends.
    """

    def step(live: Bout, state: Nothing, turn: int) -> Nothing:
        live.margins(cast(Any, live.region).sample(live.dice.draw(turn)))
        return state

    return climb(bout, lambda live, restart: Nothing(), step, steps=tries)
