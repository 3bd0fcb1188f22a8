"""Scale invariance: the mean gradient over darker copies of the image."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sparring.attacks.evasion.transfer.change import Answer, Ask, Change, Here, require
from sparring.core.registry import register
from sparring.core.rng import Rng


@register("change", "si")
@dataclass(frozen=True)
class Scales(Change):
    """Average the gradient over darker copies of the image (SI-FGSM).

    The copies are x / 2^i, i = 0 ... copies - 1 (Lin et al. 2020, arXiv:1908.06281, equation 8).

    Args:
        copies: How many copies, the image itself included.
    """

    copies: int = 5
    order: ClassVar[int] = 60
    cites: ClassVar[str] = "Lin et al. 2020, arXiv:1908.06281"
    moves: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(self, lambda: self.copies >= 1, "at least one copy")

    def __call__(self, ask: Ask, here: Here) -> Ask:
        def asked(x: Tensor, rng: Rng) -> Answer:
            total = torch.zeros_like(x)
            for turn in range(self.copies):
                total += ask(x / 2**turn, rng.draw(f"scale {turn}")).grad / 2**turn  # by the chain rule
            return Answer(total / self.copies, here.memory)

        return asked
