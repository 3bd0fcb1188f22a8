"""Snow, frost, fog and brightness. Each takes images float64 [n, C, H, W] in [0, 1], a severity and rng."""

import math

import torch
from torch import Tensor

from sparring.core.rng import Rng
from sparring.domains.corruptions.fields import lattice, plasma, published, streaked, unit

LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601)."""


def grey(x: Tensor) -> Tensor:
    """Return the lightness of images with three channels.

    The mean of any other number, [n, 1, H, W].
    """
    if x.shape[1] != 3:
        return x.mean(1, keepdim=True)
    return (x * torch.tensor(LUMINANCE, dtype=x.dtype, device=x.device)[:, None, None]).sum(1, keepdim=True)


def snow(x: Tensor, severity: int, rng: Rng) -> Tensor:
    """Add falling flakes and whiten the scene."""
    mean, spread, size, least, reach, sigma, kept = published(
        x,
        severity,
        (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
        (
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2.5, 0.65, 12, 4, 0.75),
            (0.55, 0.3, 4, 0.85, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
    )
    height, width = x.shape[-2:]
    cells = [max(1, math.ceil(side / max(1.0, size * unit(x)))) for side in (height, width)]
    flakes = mean + spread * rng.draw("flakes").normal(*cells, dtype=x.dtype)
    if cells != [height, width]:
        flakes = torch.nn.functional.interpolate(flakes[:, None], (height, width), mode="bilinear", align_corners=True).squeeze(1)
    flakes = torch.where(flakes < least, 0.0, flakes.clamp(0, 1))
    angle = math.pi / 4 + rng.draw("angle").uniform(dtype=x.dtype) * math.pi / 2
    fallen = streaked(flakes[:, None], angle, reach * unit(x), sigma * unit(x))
    white = kept * x + (1 - kept) * torch.maximum(x, grey(x) * 1.5 + 0.5)
    return white + fallen + fallen.flip(2, 3)


def frost(x: Tensor, severity: int, rng: Rng) -> Tensor:
    """Put ice crystals on the lens, most of them at its rim."""
    kept, ice = published(
        x, severity, ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.5), (0.75, 0.6)), ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.75), (0.6, 0.85))
    )
    crystals = frosted(rng, *x.shape[-2:])[:, None]
    if x.shape[1] == 3:  # ice is a little blue where it is thin
        tint = torch.tensor([0.88, 0.96, 1.0], dtype=x.dtype, device=x.device)[:, None, None]
        crystals = crystals * (tint + (1 - tint) * crystals)
    return kept * x + ice * crystals


def frosted(rng: Rng, height: int, width: int, crystals: int = 14) -> Tensor:
    """Draw needles of ice that grow from random points, float64 [n, H, W] in [0, 1].

    They have side needles at 60 degrees.

    Every pixel belongs to its nearest point; there needles are the ridges of a random line pattern across three directions. The
    published frost is six photographs; this one needs no files and has about their mean.
    """
    side = min(height, width)
    bend = plasma(rng.draw("bend"), height, width, 1.5) - 0.5
    down, right = lattice(bend)
    down, right = down / side + 0.15 * bend, right / side + 0.15 * bend.flip(1, 2)
    points = rng.draw("points").uniform(crystals, 2, dtype=torch.float64) * torch.tensor([height / side, width / side], device=bend.device)
    apart = torch.stack([(down - points[:, one, 0, None, None]) ** 2 + (right - points[:, one, 1, None, None]) ** 2 for one in range(crystals)], 1)
    nearest = apart.argmin(1)
    turned = rng.draw("angles").uniform(crystals, dtype=torch.float64) * math.pi
    angle = turned.gather(1, nearest.flatten(1)).reshape(bend.shape)
    needles, fine = torch.zeros_like(bend), min(75.0, 0.8 * side)  # not finer than eight pixels
    for turn, (tilt, strength) in enumerate(((0.0, 1.0), (math.pi / 3, 0.8), (-math.pi / 3, 0.8))):
        across = down * torch.cos(angle + tilt) - right * torch.sin(angle + tilt)
        along = down * torch.sin(angle + tilt) + right * torch.cos(angle + tilt)
        wave = torch.sin(across * fine + 9 * bend + turn) * torch.sin(across * fine * 0.38 + 2 * turn) * (0.7 + 0.3 * torch.sin(along * 17))
        needles = torch.maximum(needles, strength * (1 - wave.abs()).clamp_min(0) ** 4)
    patches = plasma(rng.draw("patches"), height, width, 1.6)
    rows, columns = (torch.linspace(-1, 1, size, dtype=torch.float64, device=bend.device) for size in (height, width))
    rim = (rows[:, None] ** 2 + columns**2).clamp_max(1.5) / 1.5
    cover = (0.35 + 0.7 * patches + 0.5 * (rim - 0.4)).clamp(0, 1)
    grain = rng.draw("grain").uniform(height, width, dtype=torch.float64)
    return (cover * (0.35 + 0.65 * needles) + 0.08 * (grain - 0.5)).clamp(0, 1)


def fog(x: Tensor, severity: int, rng: Rng) -> Tensor:
    """Add fog of uneven thickness; the brightest value keeps its brightness."""
    thickness, decay = published(x, severity, ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)), ((1.5, 2), (2, 2), (2.5, 1.8), (3.25, 1.6), (4.5, 1.5)))
    most = x.amax((1, 2, 3), keepdim=True)
    height, width = x.shape[-2:]
    bank = 0.25 + 0.75 * plasma(rng, height, width, decay)[:, None]
    return (x + thickness * bank) * most / (most + thickness)


def brightness(x: Tensor, severity: int, rng: Rng) -> Tensor:
    """Raise the value of hue, saturation and value."""
    value = x.amax(1, keepdim=True)
    raised = (value + published(x, severity, (0.05, 0.1, 0.15, 0.2, 0.3), (0.1, 0.2, 0.3, 0.4, 0.5))).clamp(0, 1)
    return torch.where(value > 0, x * (raised / value.clamp_min(1e-12)), raised)
