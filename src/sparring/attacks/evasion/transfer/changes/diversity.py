"""Input diversity: the gradient at a shrunken, shifted copy of the image."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sparring.attacks.evasion.transfer.change import Answer, Ask, Change, Here, require
from sparring.core.registry import register
from sparring.core.rng import Rng


@register("change", "di")
@dataclass(frozen=True)
class Diversity(Change):
    """Take the gradient at a randomly resized and padded copy of the image (DI-FGSM).

    Xie et al. 2019, arXiv:1803.06978, section 3.2.

    Args:
        smallest: The least side, as a share of the image's.
        chance: Probability with which an image is changed at all.

    Differs from the paper: the paper enlarges an image of 299 pixels to 330 by the nearest pixel, for networks that take any size; here
    it shrinks by at most the same tenth, with linear interpolation so that no pixel is lost, and is padded back with 0, so that
    every network takes it. Sizes and places are drawn for every sample by itself.
    """

    smallest: float = 0.9
    chance: float = 0.5
    order: ClassVar[int] = 70
    cites: ClassVar[str] = "Xie et al. 2019, arXiv:1803.06978"
    moves: ClassVar[bool] = True
    images: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(self, lambda: 0 < self.smallest <= 1 and 0 <= self.chance <= 1, "a smallest side in (0, 1] and a chance in [0, 1]")

    def __call__(self, ask: Ask, here: Here) -> Ask:
        def asked(x: Tensor, rng: Rng) -> Answer:
            down, right = self.places(x, rng.draw("diversity"))
            answer = ask(down @ x @ right.mT, rng)
            return answer._replace(grad=down.mT @ answer.grad @ right)  # the map is linear: its transpose brings gradients back

        return asked

    def places(self, x: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """Return matrices that shrink and shift every image x [m, c, h, w] to `down @ x @ right.mT`.

        They are [m, 1, h, h] and [m, 1, w, w].
        """
        drawn = rng.draw("size").uniform(1, dtype=torch.float64).squeeze(1)  # one draw: the image keeps its proportions
        stays = rng.draw("chance").uniform(1, dtype=torch.float64).squeeze(1) >= self.chance
        sides = zip(x.shape[2:], ("down", "right"), strict=True)
        down, right = (_shrunk(side, max(1, round(self.smallest * side)), drawn, stays, rng.draw(name)).to(x) for side, name in sides)
        return down, right


def _shrunk(side: int, least: int, drawn: Tensor, stays: Tensor, rng: Rng) -> Tensor:
    """float64 [m, 1, side, side]: linear interpolation of a line of pixels to `least` ... `side` of them, at a random place among zeros."""
    size = torch.where(stays, side, least + (drawn * (side - least + 1)).long())
    start = rng.integers(side - size + 1, 1)
    at = torch.arange(side, device=drawn.device)[None, :] - start
    shown = (at >= 0) & (at < size[:, None])
    source = ((at + 0.5) * side / size[:, None] - 0.5).clamp(0, side - 1)
    left = source.floor()
    share = source - left
    near, far = (torch.nn.functional.one_hot(place.long().clamp(max=side - 1), side) for place in (left, left + 1))
    return ((near * (1 - share)[:, :, None] + far * share[:, :, None]) * shown[:, :, None])[:, None]
