"""Gaussian, shot and impulse noise. Each takes images float64 [n, C, H, W] in [0, 1], a severity and dice."""

import torch
from torch import Tensor

from sparring.core.dice import Dice
from sparring.domains.corruptions.fields import published


def gaussian_noise(x: Tensor, severity: int, dice: Dice) -> Tensor:
    """Normal noise, as of a dark room."""
    return x + published(x, severity, (0.04, 0.06, 0.08, 0.09, 0.10), (0.08, 0.12, 0.18, 0.26, 0.38)) * dice.normal(*x.shape[1:], dtype=x.dtype)


def shot_noise(x: Tensor, severity: int, dice: Dice) -> Tensor:
    """Poisson noise of light that comes in so many quanta."""
    quanta = published(x, severity, (500, 250, 100, 75, 50), (60, 25, 12, 5, 3))
    return poisson(x * quanta, dice.uniform(*x.shape[1:], dtype=x.dtype)) / quanta


def poisson(mean: Tensor, luck: Tensor) -> Tensor:
    """Poisson numbers with these means, by inverting the distribution function at `luck` (uniform in [0, 1)).

    Exact up to means of 20; above, by the normal distribution with its first correction for skewness, which is off by less than
    a hundredth of a quantum."""
    few = mean.clamp_max(20)
    term = torch.exp(-few)
    below, count = term.clone(), torch.zeros_like(mean)
    for k in range(1, 70):
        count += luck >= below
        term = term * few / k
        below = below + term
    z = torch.special.ndtri(luck.clamp_min(1e-12))
    many = (mean + mean.sqrt() * z + (z**2 - 1) / 6).round().clamp_min(0)
    return torch.where(mean <= 20, count, many)


def impulse_noise(x: Tensor, severity: int, dice: Dice) -> Tensor:
    """Salt and pepper: values that are all or nothing."""
    share = published(x, severity, (0.01, 0.02, 0.03, 0.05, 0.07), (0.03, 0.06, 0.09, 0.17, 0.27))
    luck = dice.uniform(*x.shape[1:], dtype=x.dtype)
    return torch.where(luck < share / 2, 0.0, torch.where(luck > 1 - share / 2, 1.0, x))
