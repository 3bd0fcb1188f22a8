"""Code shared by corruptions: the published strengths, blurs, resampling and random fields."""

import math
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from sparring.core.rng import Rng

SMALL_SIDE, LARGE_SIDE = 32, 224
"""Sides of the images of the two published sets, CIFAR-10-C and ImageNet-C."""

Strength = TypeVar("Strength")


def small(x: Tensor) -> bool:
    """Return whether these images take the strengths of CIFAR-10-C.

    Below half the side of ImageNet-C the lengths of its blurs are less than a pixel.
    """
    return min(x.shape[-2:]) < LARGE_SIDE / 2


def published(x: Tensor, severity: int, cifar: tuple[Strength, ...], imagenet: tuple[Strength, ...]) -> Strength:
    """Return the strength of a severity (1 to 5) in the table that fits the size of the images."""
    return (cifar if small(x) else imagenet)[severity - 1]


def unit(x: Tensor) -> float:
    """Return how many pixels one pixel of the published set is here, a factor of lengths."""
    return min(x.shape[-2:]) / (SMALL_SIDE if small(x) else LARGE_SIDE)


def blur_matrix(size: int, sigma: float, mirrored: bool) -> Tensor:
    """Return the rows of Gaussian weights.

    Beyond the edge the signal is mirrored, else its last value, float64 [size, size].
    """
    if sigma <= 0:
        return torch.eye(size, dtype=torch.float64)
    reach = max(1, math.ceil(4 * sigma))
    offsets = torch.arange(-reach, reach + 1)
    weights = torch.exp(-0.5 * (offsets.double() / sigma) ** 2)
    places = torch.arange(size)[:, None] + offsets
    if mirrored:
        places = places % (2 * size)
        places = torch.where(places < size, places, 2 * size - 1 - places)
    matrix = torch.zeros(size, size, dtype=torch.float64)
    return matrix.scatter_add_(1, places.clamp(0, size - 1), (weights / weights.sum()).expand(size, -1).contiguous())


def gaussian(x: Tensor, sigma: float, mirrored: bool = False) -> Tensor:
    """Return x [..., H, W] blurred by a Gaussian of `sigma` pixels."""
    if sigma <= 0:
        return x
    down, right = (blur_matrix(size, sigma, mirrored).to(x) for size in x.shape[-2:])
    return down @ x @ right.T


def filtered(x: Tensor, kernel: Tensor) -> Tensor:
    """Return x [n, C, H, W] under a symmetric kernel [k, k] with k odd.

    Beyond the edge the last value goes on. By Fourier transform.
    """
    reach, (height, width) = kernel.shape[0] // 2, x.shape[-2:]
    padded = functional.pad(x, (reach,) * 4, mode="replicate")
    size = padded.shape[-2:]
    found = torch.fft.irfft2(torch.fft.rfft2(padded) * torch.fft.rfft2(kernel.to(x), s=size), s=size)
    return found[..., 2 * reach : 2 * reach + height, 2 * reach : 2 * reach + width]


def lattice(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows [H, 1] and columns [1, W] of the pixels of x."""
    height, width = x.shape[-2:]
    down, right = (torch.arange(size, dtype=x.dtype, device=x.device) for size in (height, width))
    return down[:, None], right[None, :]


def resampled(x: Tensor, down: Tensor, right: Tensor, padding: str = "border") -> Tensor:
    """Read x [n, C, H, W] at rows `down` and columns `right` (pixels, [n, h, w]), bilinearly.

    padding: "border", "reflection" or "zeros".
    """
    height, width = x.shape[-2:]
    down, right = torch.broadcast_tensors(down, right)
    grid = torch.stack([right * (2 / max(width - 1, 1)) - 1, down * (2 / max(height - 1, 1)) - 1], dim=-1)
    return functional.grid_sample(x, grid.expand(len(x), *grid.shape[1:]), mode="bilinear", padding_mode=padding, align_corners=True)


def streaked(x: Tensor, angle: Tensor, reach: float, sigma: float) -> Tensor:
    """Smear x [n, C, H, W] one way along `angle` (radians, [n]).

    The weights are half-Gaussian of `sigma` pixels up to 2 `reach`.
    """
    count = max(1, min(round(2 * reach), math.ceil(4 * sigma)))
    weights = torch.exp(-0.5 * (torch.arange(count + 1, dtype=torch.float64) / max(sigma, 1e-6)) ** 2)
    weights = (weights / weights.sum()).tolist()
    down, right = lattice(x)
    step_down, step_right = torch.sin(angle).to(x)[:, None, None], torch.cos(angle).to(x)[:, None, None]
    total = weights[0] * x
    for place, weight in enumerate(weights[1:], start=1):
        total = total + weight * resampled(x, down + place * step_down, right + place * step_right)
    return total


def grown(coarse: Tensor, height: int, width: int) -> Tensor:
    """Return a coarse field [n, h, w] drawn smoothly over H x W pixels."""
    return functional.interpolate(coarse[:, None], (height, width), mode="bicubic", align_corners=True).squeeze(1)


def plasma(rng: Rng, height: int, width: int, decay: float) -> Tensor:
    """Return a fractal of random fields, float64 [n, H, W] in [0, 1].

    Each field is twice as fine and weaker by decay^2 than the one before.

    The diamond-square fractal of the published fog draws its offsets from +- wibble^2 and divides wibble by `decay` with each
    halving; a sum of smooth random fields with the same weights has no seams and any size.
    """
    total, cells, weight, level = torch.zeros(len(rng), height, width, dtype=torch.float64, device=rng.keys.device), 2, 1.0, 0
    while cells <= max(2, height, width):
        shape = (min(cells, max(2, height)) + 1, min(cells, max(2, width)) + 1)
        total = total + weight * grown(rng.draw(level).uniform(*shape, dtype=torch.float64), height, width)
        cells, weight, level = cells * 2, weight / decay**2, level + 1
    least, most = total.amin((1, 2), keepdim=True), total.amax((1, 2), keepdim=True)
    return (total - least) / (most - least).clamp_min(1e-12)
