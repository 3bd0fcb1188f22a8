"""Less and more contrast, projected onto the region: a control that does not use the model."""

from typing import Any, NamedTuple, cast

from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.loop import iterate
from sparring.core.problem import Problem
from sparring.core.taxonomy import MANUAL

LEVELS = 6


class Nothing(NamedTuple):
    """Hold nothing, as each try is independent of the others."""


@attack(needs={"labels"}, uses={"project"}, cites="Rauber et al. 2017 (Foolbox), arXiv:1707.04131, contrast reduction attack", control=True, taxonomy=MANUAL)
def contrast(problem: Problem, *, tries: int = 24) -> Tensor:
    """Lower or raise the contrast in growing steps, and keep the first that breaks a sample.

    Values are drawn toward one level, or pushed away from it.

    Args:
        tries: Points asked about per sample. The levels are six quantiles of the sample, the lowest and the highest
            value included, in turn. The last points are wholly at the level, or pushed away by sixteen times their
            distance from it.

    Source: Rauber et al. 2017 (Foolbox), arXiv:1707.04131, contrast reduction attack.

    Differs from the paper: the levels are those of the sample, not of the bounds, which tables need not have; the result is projected onto
    the region, so it stays within the radius; more contrast is added.
    """
    rounds = max(1, tries // (2 * LEVELS))

    def step(live: Problem, state: Nothing, turn: int) -> Nothing:
        flat = live.x.double().flatten(1)
        place, part = divmod((flat.shape[1] - 1) * (turn // 2 % LEVELS) / (LEVELS - 1), 1)
        share = min(1.0, (turn // (2 * LEVELS) + 1) / rounds) * (1 if turn % 2 == 0 else -16)
        ordered = flat.sort(1).values
        below, above = ordered[:, int(place), None], ordered[:, min(int(place) + 1, flat.shape[1] - 1), None]
        way = below + part * (above - below) - flat
        moved = live.x.double() + share * way.reshape(live.x.shape)
        live.losses(cast(Any, live.region).project(moved.to(live.x.dtype)))
        return state

    return iterate(problem, lambda live, restart: Nothing(), step, steps=tries)
