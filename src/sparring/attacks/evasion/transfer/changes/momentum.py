"""Momentum: steps follow a velocity that gathers the gradients."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sparring.attacks.evasion.transfer.change import Answer, Ask, Change, Here, require, unit
from sparring.core.registry import register
from sparring.core.rng import Rng


@register("change", "mi")
@dataclass(frozen=True)
class Momentum(Change):
    """Follow a velocity that accumulates the gradients of unit size (MI-FGSM).

    velocity = decay * velocity + gradient of unit size (Dong et al. 2018, arXiv:1710.06081, equation 6).

    Args:
        decay: How much of the velocity stays.

    Differs from the paper: unit size is a mean of 1 over the coordinates, as in the official code, where the paper has a sum of 1.
    """

    decay: float = 1.0
    order: ClassVar[int] = 10
    cites: ClassVar[str] = "Dong et al. 2018, arXiv:1710.06081"

    def __post_init__(self) -> None:
        require(self, lambda: self.decay >= 0, "a decay of at least 0")

    def __call__(self, ask: Ask, here: Here) -> Ask:
        def asked(x: Tensor, rng: Rng) -> Answer:
            grad, memory = ask(x, rng)
            velocity = self.decay * memory.velocity + unit(grad)
            return Answer(velocity, memory._replace(velocity=velocity))

        return asked

    @property
    def carried(self) -> float:
        return self.decay
