"""Random points and random corners of the region: the control that every real attack must beat."""

from typing import NamedTuple

from sparring.attacks.attack import attack
from sparring.attacks.loop import climb
from sparring.core.bout import Bout
from sparring.core.domain import Batch


class Nothing(NamedTuple):
    """Noise remembers nothing from one try to the next."""


@attack(needs={"labels"}, uses={"sample", "corner"}, cites="Carlini et al. 2019, arXiv:1902.06705, section on sanity checks", control=True)
def noise(bout: Bout, *, tries: int = 100) -> Batch:
    """Equal-budget noise: random points and random corners in turn; keep whichever breaks.

    A defence that noise breaks is no defence; an attack that noise beats is broken.
    tries: points asked about per sample.
    """

    def step(live: Bout, state: Nothing, turn: int) -> Nothing:
        dice = live.dice.draw(turn)
        live.margins(live.region.sample(dice) if turn % 2 == 0 else live.region.corner(dice))  # type: ignore[attr-defined]
        return state

    return climb(bout, lambda live, restart: Nothing(), step, steps=tries)
