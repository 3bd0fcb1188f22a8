"""Salt and pepper, cut to the region: a control that follows no model."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.loop import climb
from sparring.core.bout import Bout
from sparring.threats.balls import box


class Nothing(NamedTuple):
    """One handful knows nothing of the next."""


@attack(needs={"labels"}, uses={"project"}, cites="Rauber et al. 2017 (Foolbox), arXiv:1707.04131, salt and pepper attack", control=True)
def salt_and_pepper(bout: Bout, *, tries: int = 20) -> Tensor:
    """A growing share of the values set to their lowest or highest, at random; keep whichever breaks.

    tries: points asked about per sample; in the last one every value is set. A value without bounds is moved by ten times its size.

    Where we differ: the result is projected onto the region, so it stays within the radius.
    """
    low, high = box(bout.victim.domain, bout.x)

    def step(live: Bout, state: Nothing, turn: int) -> Nothing:
        dice, far = live.dice.draw(turn), 10 * (1 + live.x.abs())
        bottom, top = torch.where(low.isfinite(), low, live.x - far), torch.where(high.isfinite(), high, live.x + far)
        extreme = torch.where(dice.draw("which").signs(*live.x.shape[1:]) > 0, top, bottom)
        hit = dice.draw("where").uniform(*live.x.shape[1:]) < (turn + 1) / max(tries, 1)
        live.margins(cast(Any, live.region).project(torch.where(hit, extreme, live.x)))
        return state

    return climb(bout, lambda live, restart: Nothing(), step, steps=tries)
