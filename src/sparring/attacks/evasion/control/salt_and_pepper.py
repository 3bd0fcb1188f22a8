"""Salt-and-pepper noise, projected onto the region: a control that does not use the model."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.loop import iterate
from sparring.core.problem import Problem
from sparring.core.taxonomy import MANUAL
from sparring.threats.balls import box


class Nothing(NamedTuple):
    """Hold nothing, as each try is independent of the others."""


@attack(needs={"labels"}, uses={"project"}, cites="Rauber et al. 2017 (Foolbox), arXiv:1707.04131, salt and pepper attack", control=True, taxonomy=MANUAL)
def salt_and_pepper(problem: Problem, *, tries: int = 20) -> Tensor:
    """Set a growing share of the values to their bounds, and keep the first that breaks.

    The values are chosen at random.

    Keep whichever breaks.

    Args:
        tries: Points asked about per sample; in the last one every value is set. A value without bounds is moved by ten
            times its size.

    Source: Rauber et al. 2017 (Foolbox), arXiv:1707.04131, salt and pepper attack.

    Differs from the paper: the result is projected onto the region, so it stays within the radius.
    """
    low, high = box(problem.victim.domain, problem.x)

    def step(live: Problem, state: Nothing, turn: int) -> Nothing:
        rng, far = live.rng.draw(turn), 10 * (1 + live.x.abs())
        bottom, top = torch.where(low.isfinite(), low, live.x - far), torch.where(high.isfinite(), high, live.x + far)
        extreme = torch.where(rng.draw("which").signs(*live.x.shape[1:]) > 0, top, bottom)
        hit = rng.draw("where").uniform(*live.x.shape[1:]) < (turn + 1) / max(tries, 1)
        live.losses(cast(Any, live.region).project(torch.where(hit, extreme, live.x)))
        return state

    return iterate(problem, lambda live, restart: Nothing(), step, steps=tries)
