"""Blur and its opposite, cut to the region: a control that follows no model."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.loop import climb
from sparring.core.bout import Bout
from sparring.domains.corruptions.fields import gaussian

WAYS = ((0, 1), (0, -1), (1, 0), (-1, 0))
"""Down and right, of smearing."""


class Nothing(NamedTuple):
    """One blur knows nothing of the next."""


@attack(needs={"labels"}, uses={"project"}, cites="Rauber et al. 2017 (Foolbox), arXiv:1707.04131, Gaussian blur attack", control=True)
def blur(bout: Bout, *, tries: int = 30) -> Tensor:
    """Blurs of growing width, even or smeared in one of four directions, and in turn as much sharpening; keep whichever breaks.

    tries: points asked about per sample; the last ones are blurred by a quarter of the longer side. Inputs without height and width are
    taken as one row of pixels.

    Where we differ: the blurred image is projected onto the region, so it stays within the radius; the four directions and sharpening
    (eight times the difference, so that it can use the whole radius) are added.
    """
    rounds = max(1, tries // (2 * (1 + len(WAYS))))

    def step(live: Bout, state: Nothing, turn: int) -> Nothing:
        picture = (live.x if live.x.ndim == 4 else live.x.flatten(1)[:, None, None, :]).double()
        width = max(picture.shape[-2:]) / 4 * min(1.0, (turn // (2 * (1 + len(WAYS))) + 1) / rounds)
        kind = turn // 2 % (1 + len(WAYS))
        blurred = gaussian(picture, width) if kind == 0 else smeared(picture, WAYS[kind - 1], max(1, round(width)))
        way = (blurred - picture).reshape(live.x.shape)
        moved = live.x.double() + (way if turn % 2 == 0 else -8 * way)
        live.margins(cast(Any, live.region).project(moved.to(live.x.dtype)))
        return state

    return climb(bout, lambda live, restart: Nothing(), step, steps=tries)


def smeared(x: Tensor, way: tuple[int, int], length: int) -> Tensor:
    """x [n, C, H, W] averaged with its next `length` pixels in one direction; beyond the edge the last value goes on."""
    total = x
    for place in range(1, length + 1):
        down, right = (torch.arange(size, device=x.device).add(place * by).clamp(0, size - 1) for size, by in zip(x.shape[-2:], way, strict=True))
        total = total + x[..., down[:, None], right]
    return total / (length + 1)
