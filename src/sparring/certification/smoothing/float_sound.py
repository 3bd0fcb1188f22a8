"""Gaussian noise on a grid, whose certificates hold for the model as executed."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from scipy.special import ndtr
from torch import Tensor

from sparring.certification.smoothing.noise import CARE, Draws, Gaussian
from sparring.core.domain import Domain
from sparring.core.errors import PlanError
from sparring.core.rng import Rng
from sparring.threats.balls import box

DIGITS = 2.0**53
"""The rng give multiples of 1 / DIGITS."""


@dataclass(frozen=True)
class GridGaussian(Gaussian):
    """Add Gaussian noise on a grid, which is sound in floating point.

    The input rounded to a grid, plus Gaussian noise rounded to the grid: Voracek, Hein 2023, "Sound randomized smoothing in floating-point
    arithmetics" (ICLR).

    Noise that is added in floating point does not move with the input: a model that looks at the last bits can tell where its
    input came from, and plain smoothing then certifies what is false. Here the model is fed low + step * k for whole numbers k, each always the same
    floating-point number, and the distribution of k is that of round((x - low + sigma * normal) / step). For x on the grid that is
    the classifier "round, then the model as executed", smoothed by real Gaussian noise, to which the theorem of Cohen et al. applies
    as it stands. No property of the model is used but that equal inputs get equal answers.

    What is guaranteed: with the stated confidence, every input on the grid within the radius (L2, from the clean input) has the same most
    probable class. Inputs between grid points are rounded first, which may carry them further off by up to step / 2 in every coordinate; images
    deployed as 8 bit have none. The whole numbers are drawn by comparing 53-bit integers with a table; by how much all of them together can be off
    is `slack_of`, and is taken off every probability. step: 1 / 255 of the range of an 8-bit image in [0, 1].
    """

    step: float = 1 / 255

    norm: ClassVar[str] = "l2"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.step <= 4 * self.sigma:
            raise PlanError(f"a grid of step {self.step} under sigma {self.sigma}: give a step above 0 and at most 4 sigma")

    @cached_property
    def edges(self) -> Tensor:
        """Return the edges that turn uniform numbers into grid steps.

        float64 [2 m]: a number u of the rng becomes the count of edges at or below it, less m. Whole multiples of 1 / DIGITS, and
        symmetric, so that -k is as likely as k.
        """
        most = math.ceil(9 * self.sigma / self.step)
        below = torch.from_numpy(ndtr(-(torch.arange(most, 0, -1, dtype=torch.float64).numpy() - 0.5) * self.step / self.sigma))
        below = (below * DIGITS).round() / DIGITS
        return torch.cat([below, 1 - below.flip(0)])

    def slack_of(self, size: int) -> float:
        """Return how far the drawn noise may differ from the ideal noise.

        Total variation between the noise drawn on `size` numbers and the noise meant: tails, and 8 units in the last of 53 digits
        for each edge (half of one from rounding it, the rest for the normal distribution of SciPy).
        """
        tail = 2 * float(ndtr(-9.0))
        return size * (tail + len(self.edges) * 8 / DIGITS)

    def levels(self, x: Tensor, domain: Domain) -> Tensor:
        """Return the grid points nearest to x, float64, whole numbers."""
        return ((x.double() - self._low(x, domain)) / self.step).round()

    def around(self, x: Tensor, rng: Rng, count: int, domain: Domain) -> Draws:
        drawn = rng.uniform(count, *x.shape[1:], dtype=torch.float64)
        edges = self.edges.to(x.device)
        whole = torch.searchsorted(edges, drawn, right=True) - len(edges) // 2
        return Draws(((self.levels(x, domain)[:, None] + whole) * self.step + self._low(x, domain)).to(x.dtype))

    def moved(self, x: Tensor, domain: Domain) -> float:
        """Return the distance to the nearest grid point.

        Distance to the nearest grid point. An 8-bit image in float32 is taken as the grid point it stands for.
        """
        nearest = self.levels(x, domain) * self.step + self._low(x, domain)
        off = (x.double() - nearest).abs()
        same = off <= torch.finfo(x.dtype).eps * nearest.abs().clamp_min(self.step)
        return float(torch.linalg.vector_norm(off.where(~same, 0.0))) * (1 + CARE)

    def complaint(self, x: Tensor, domain: Domain) -> str:
        return "" if bool(torch.isfinite(self._low(x, domain)).all()) else "a grid starts at the lower bound of the inputs, which are unbounded: give bounds"

    def __str__(self) -> str:
        return f"{super().__str__()} on a grid of {self.step:.6g}"

    def _low(self, x: Tensor, domain: Domain) -> Tensor:
        return torch.as_tensor(box(domain, x[:1])[0], dtype=torch.float64, device=x.device)
