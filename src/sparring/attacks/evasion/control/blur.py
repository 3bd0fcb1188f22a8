"""Blur and sharpening, projected onto the region: a control that does not use the model."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.loop import iterate
from sparring.core.problem import Problem
from sparring.core.taxonomy import MANUAL
from sparring.domains.corruptions.fields import gaussian

WAYS = ((0, 1), (0, -1), (1, 0), (-1, 0))
"""Directions of smearing: down and right."""


class Nothing(NamedTuple):
    """Hold nothing, as each try is independent of the others."""


@attack(needs={"labels"}, uses={"project"}, cites="Rauber et al. 2017 (Foolbox), arXiv:1707.04131, Gaussian blur attack", control=True, taxonomy=MANUAL)
def blur(problem: Problem, *, tries: int = 30) -> Tensor:
    """Blur or sharpen the input by growing amounts, and keep the first that breaks it.

    Blurs are even or smeared in one of four directions; in turn the input is sharpened by as much.

    Args:
        tries: Points asked about per sample; the last ones are blurred by a quarter of the longer side. Inputs without
            height and width are taken as one row of pixels.

    Source: Rauber et al. 2017 (Foolbox), arXiv:1707.04131, Gaussian blur attack.

    Differs from the paper: the blurred image is projected onto the region, so it stays within the radius; the four directions and sharpening
    (eight times the difference, so that it can use the whole radius) are added.
    """
    rounds = max(1, tries // (2 * (1 + len(WAYS))))

    def step(live: Problem, state: Nothing, turn: int) -> Nothing:
        picture = (live.x if live.x.ndim == 4 else live.x.flatten(1)[:, None, None, :]).double()
        width = max(picture.shape[-2:]) / 4 * min(1.0, (turn // (2 * (1 + len(WAYS))) + 1) / rounds)
        kind = turn // 2 % (1 + len(WAYS))
        blurred = gaussian(picture, width) if kind == 0 else smeared(picture, WAYS[kind - 1], max(1, round(width)))
        way = (blurred - picture).reshape(live.x.shape)
        moved = live.x.double() + (way if turn % 2 == 0 else -8 * way)
        live.losses(cast(Any, live.region).project(moved.to(live.x.dtype)))
        return state

    return iterate(problem, lambda live, restart: Nothing(), step, steps=tries)


def smeared(x: Tensor, way: tuple[int, int], length: int) -> Tensor:
    """Return x [n, C, H, W] averaged with its next `length` pixels in one direction.

    Beyond the edge the last value goes on.
    """
    total = x
    for place in range(1, length + 1):
        down, right = (torch.arange(size, device=x.device).add(place * by).clamp(0, size - 1) for size, by in zip(x.shape[-2:], way, strict=True))
        total = total + x[..., down[:, None], right]
    return total / (length + 1)
