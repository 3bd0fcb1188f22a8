"""Translation invariance: the gradient smoothed by a Gaussian, as if taken over shifted images."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from sparring.attacks.evasion.transfer.change import Answer, Ask, Change, Here, require
from sparring.core.registry import register
from sparring.core.rng import Rng

PAPER_SHARE = 15 / 299
"""Side of the paper's kernel as a share of the image's (section 4.1)."""


@register("change", "ti")
@dataclass(frozen=True)
class Translation(Change):
    """Convolve the gradient with a Gaussian kernel (TI-FGSM).

    Dong et al. 2019, arXiv:1904.02884, equation 8.

    Args:
        side: Of the kernel, in pixels; an even side is made odd. 0 is the paper's share of the image, 15 of 299 pixels, odd and at least 3.
        deviations: How many standard deviations lie between the middle and the edge; 3 in the paper.
    """

    side: int = 0
    deviations: float = 3.0
    order: ClassVar[int] = 40
    cites: ClassVar[str] = "Dong et al. 2019, arXiv:1904.02884"
    images: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(self, lambda: self.side >= 0 and self.deviations > 0, "a side of at least 0 and deviations above 0")

    def __call__(self, ask: Ask, here: Here) -> Ask:
        def asked(x: Tensor, rng: Rng) -> Answer:
            answer = ask(x, rng)
            channels = x.shape[1]
            weight = self.kernel(min(x.shape[2:])).to(x).expand(channels, 1, -1, -1)
            return answer._replace(grad=F.conv2d(answer.grad, weight, padding=weight.shape[-1] // 2, groups=channels))

        return asked

    def kernel(self, image_side: int) -> Tensor:
        """Return the kernel, float64 [s, s], which sums to 1."""
        side = self.side or max(3, round(PAPER_SHARE * image_side))
        half = side // 2
        line = torch.exp(-torch.linspace(-self.deviations, self.deviations, 2 * half + 1, dtype=torch.float64).square() / 2) if half else torch.ones(1).double()
        line = line / line.sum()
        return line[:, None] * line[None, :]
