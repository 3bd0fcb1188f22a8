"""Defocus, glass, motion and zoom blur. Each takes images float64 [n, C, H, W] in [0, 1], a severity and rng."""

import math

import torch
from torch import Tensor

from sparring.core.rng import Rng
from sparring.domains.corruptions.fields import filtered, gaussian, lattice, published, resampled, streaked, unit


def disk(radius: float, softness: float) -> Tensor:
    """Return an even disk of `radius` pixels, float64 [k, k].

    Its edge is softened by a small Gaussian of `softness` pixels.
    """
    reach = math.ceil(radius + 0.5)
    line = torch.arange(-reach, reach + 1, dtype=torch.float64)
    distance = (line[:, None] ** 2 + line**2).sqrt()
    even = (1 + 4 * (radius - distance)).clamp(0, 1)  # a hard edge, but one that also fits radii of half a pixel
    size = 2 if radius > 8 else 1
    small = torch.exp(-0.5 * (torch.arange(-size, size + 1, dtype=torch.float64) / max(softness, 1e-6)) ** 2)
    small = torch.outer(small, small) / small.sum() ** 2
    soft = torch.nn.functional.conv2d(even[None, None], small[None, None], padding=2 * size)[0, 0]
    return soft / soft.sum()


def defocus_blur(x: Tensor, severity: int, rng: Rng) -> Tensor:
    """Blur each image as a lens out of focus does: every point becomes a disk."""
    radius, softness = published(x, severity, ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)), ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)))
    return filtered(x, disk(radius * unit(x), softness * unit(x)))


def glass_blur(x: Tensor, severity: int, rng: Rng) -> Tensor:
    """Blur each image as frosted glass does: blur, exchange near pixels, blur again.

    The published tables change blur, reach and rounds against each other, so that some severity changes images less than the one
    before; here they only grow, and in small images a growing share of the pixels is moved.
    """
    sigma, reach, rounds, share = published(
        x,
        severity,
        ((0.25, 1, 1, 0.4), (0.25, 1, 1, 0.7), (0.25, 1, 1, 1.0), (0.25, 1, 2, 1.0), (0.25, 1, 3, 1.0)),
        ((0.7, 1, 1, 1.0), (0.8, 1.5, 1, 1.0), (0.9, 2, 2, 1.0), (1, 3, 2, 1.0), (1.1, 4, 2, 1.0)),
    )
    sigma, reach = sigma * unit(x), reach * unit(x)
    height, width = x.shape[-2:]
    down, right = (line.long() for line in lattice(x))
    shuffled = gaussian(x, sigma)
    for turn in range(rounds):
        moves = ((rng.draw(turn).uniform(2, height, width, dtype=x.dtype) * 2 - 1) * (reach + 0.5)).round().long()
        moves = moves * (rng.draw(f"moved {turn}").uniform(1, height, width) < share)
        there = (down + moves[:, 0]).clamp(0, height - 1) * width + (right + moves[:, 1]).clamp(0, width - 1)
        shuffled = shuffled.flatten(2).gather(2, there.flatten(1)[:, None].expand(-1, x.shape[1], -1)).reshape(x.shape)
    return gaussian(shuffled, sigma)


def motion_blur(x: Tensor, severity: int, rng: Rng) -> Tensor:
    """Blur each image as a moving camera does, within 45 degrees of the horizontal."""
    reach, sigma = published(x, severity, ((6, 1), (6, 1.5), (6, 2), (8, 2.25), (9, 2.5)), ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)))
    angle = (rng.uniform(dtype=x.dtype) - 0.5) * (math.pi / 2)
    return streaked(x, angle, reach * unit(x), sigma * unit(x))


def zoom_blur(x: Tensor, severity: int, rng: Rng) -> Tensor:
    """Average enlargements, as a camera that nears its object while the shutter is open."""
    most, step = published(
        x,
        severity,
        ((0.05, 0.01), (0.10, 0.01), (0.15, 0.01), (0.20, 0.01), (0.25, 0.01)),
        ((0.10, 0.01), (0.15, 0.01), (0.20, 0.02), (0.24, 0.02), (0.30, 0.03)),
    )
    count, total = round(most / step) + 1, x
    down, right = lattice(x)
    middle = [(size - 1) / 2 for size in x.shape[-2:]]
    for turn in range(count):
        share = 1 / (1 + turn * step)
        rows, columns = middle[0] + (down - middle[0]) * share, middle[1] + (right - middle[1]) * share
        total = total + resampled(x, *(one[None] for one in torch.broadcast_tensors(rows, columns)))
    return total / (count + 1)
