"""Gaussian, shot and impulse noise. Each takes images float64 [n, C, H, W] in [0, 1], a severity and rng."""

import torch
from torch import Tensor

from sparring.core.rng import Rng
from sparring.domains.corruptions.fields import published


def gaussian_noise(x: Tensor, severity: int, rng: Rng) -> Tensor:
    """Add normal noise, as of a dark room."""
    return x + published(x, severity, (0.04, 0.06, 0.08, 0.09, 0.10), (0.08, 0.12, 0.18, 0.26, 0.38)) * rng.normal(*x.shape[1:], dtype=x.dtype)


def shot_noise(x: Tensor, severity: int, rng: Rng) -> Tensor:
    """Add Poisson noise, as of light that comes in few quanta."""
    quanta = published(x, severity, (500, 250, 100, 75, 50), (60, 25, 12, 5, 3))
    return poisson(x * quanta, rng.uniform(*x.shape[1:], dtype=x.dtype)) / quanta


def poisson(mean: Tensor, uniform: Tensor) -> Tensor:
    """Draw Poisson numbers with these means, by inversion at `uniform` in [0, 1).

    Exact up to means of 20; above, by the normal distribution with its first correction for skewness, which is off by less than
    a hundredth of a quantum.
    """
    few = mean.clamp_max(20)
    term = torch.exp(-few)
    below, count = term.clone(), torch.zeros_like(mean)
    for k in range(1, 70):
        count += uniform >= below
        term = term * few / k
        below = below + term
    z = torch.special.ndtri(uniform.clamp_min(1e-12))
    many = (mean + mean.sqrt() * z + (z**2 - 1) / 6).round().clamp_min(0)
    return torch.where(mean <= 20, count, many)


def impulse_noise(x: Tensor, severity: int, rng: Rng) -> Tensor:
    """Set random values to the lowest or the highest (salt and pepper)."""
    share = published(x, severity, (0.01, 0.02, 0.03, 0.05, 0.07), (0.03, 0.06, 0.09, 0.17, 0.27))
    uniform = rng.uniform(*x.shape[1:], dtype=x.dtype)
    return torch.where(uniform < share / 2, 0.0, torch.where(uniform > 1 - share / 2, 1.0, x))
