"""Nesterov's lookahead: the gradient is taken where the velocity leads."""

from dataclasses import dataclass
from typing import Any, ClassVar, cast

from torch import Tensor

from sparring.attacks.evasion.transfer.change import Answer, Ask, Change, Here, mean_size
from sparring.core.registry import register
from sparring.core.rng import Rng
from sparring.core.space import wide


@register("change", "ni")
@dataclass(frozen=True)
class Nesterov(Change):
    """Take the gradient ahead, at the point where the velocity of `mi` leads (NI-FGSM).

    The place is x + step * decay * velocity (Lin et al. 2020, arXiv:1908.06281, equation 6).

    Differs from the paper: outside Linf, where the paper has no formula, the velocity is scaled so that a velocity made of one
    gradient looks one step ahead.
    """

    order: ClassVar[int] = 20
    cites: ClassVar[str] = "Lin et al. 2020, arXiv:1908.06281"
    moves: ClassVar[bool] = True
    builds_on: ClassVar[str] = "mi"

    def __call__(self, ask: Ask, here: Here) -> Ask:
        def asked(x: Tensor, rng: Rng) -> Answer:
            region, velocity = cast(Any, here.problem.region), here.memory.velocity
            length = here.share * here.decay * region.radius.to(x.dtype) * mean_size(region.steepest(velocity))
            return ask(x + wide(length, x) * velocity, rng)

        return asked
