"""Random points and random corners of the region: the control that every real attack must beat."""

from typing import NamedTuple

from sparring.attacks.attack import attack
from sparring.attacks.loop import iterate
from sparring.core.domain import Batch
from sparring.core.problem import Problem
from sparring.core.taxonomy import MANUAL


class Nothing(NamedTuple):
    """Hold nothing, as each try is independent of the others."""


@attack(needs={"labels"}, uses={"sample", "corner"}, cites="Carlini et al. 2019, arXiv:1902.06705, section on sanity checks", control=True, taxonomy=MANUAL)
def noise(problem: Problem, *, tries: int = 100) -> Batch:
    """Try random points and random corners of the region, and keep the first that breaks.

    A defence that noise breaks is no defence; an attack that noise beats is broken.

    Args:
        tries: Points queried per sample.

    Source: Carlini et al. 2019, arXiv:1902.06705, section on sanity checks.
    """

    def step(live: Problem, state: Nothing, turn: int) -> Nothing:
        rng = live.rng.draw(turn)
        live.losses(live.region.sample(rng) if turn % 2 == 0 else live.region.corner(rng))  # type: ignore[attr-defined]
        return state

    return iterate(problem, lambda live, restart: Nothing(), step, steps=tries)
