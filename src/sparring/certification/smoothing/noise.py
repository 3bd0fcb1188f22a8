"""The noise of a smoothed classifier as a value: how it is drawn, and how far it certifies."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, NamedTuple

import torch
from scipy.special import ndtr, ndtri
from torch import Tensor

from sparring.core.domain import Domain
from sparring.core.errors import PlanError
from sparring.core.foreign import in_our_words
from sparring.core.rng import Rng
from sparring.threats.balls import box
from sparring.threats.sparse import pixels

CARE = 1e-12
"""Share by which every radius is made smaller, for the rounding of its formula."""


class Draws(NamedTuple):
    """Hold noisy copies of inputs.

    points: [n, count, ...], noisy copies of the inputs. slope: how each number of a point moves with its input, where not by as much.
    """

    points: Tensor
    slope: Tensor | None = None


class Noise(ABC):
    """Represent a distribution of copies of an input.

    Frozen; equal noises are drawn equally.

    Where class A has at least probability `low` over the copies of x, and every other class at most `high`, then A has the highest
    one over the copies of every input within `radius(low, high)` of x.
    """

    norm: ClassVar[str]
    """The kind of threat in whose unit the radius is."""

    @abstractmethod
    def around(self, x: Tensor, rng: Rng, count: int, domain: Domain) -> Draws:
        """Return `count` noisy copies of each input [n, ...].

        The draws of row i are decided by row i of the rng alone.
        """

    @abstractmethod
    def radius(self, low: float, high: float, shape: tuple[int, ...]) -> float:
        """Return the certified radius of inputs of this shape, 0 where `low` is at most `high`.

        It is float64, rounded down.
        """

    @abstractmethod
    def needed(self, radius: float, shape: tuple[int, ...]) -> float:
        """Return the probability that certifies a class within the radius.

        The probability above which a class is certified within the radius where nothing is known of the others; above 1: never.
        """

    @abstractmethod
    def __str__(self) -> str:
        """In words."""

    def asked(self, radius: float) -> float:
        """Return the radius to certify for a threat of this radius."""
        return radius

    def share(self, kind: str, size: int) -> float:
        """Return the share of the radius that holds for threats of another kind.

        What of the radius is left when it is measured in threats of another kind, for inputs of `size` numbers; 0: no such proof.
        """
        return float(kind == self.norm)

    def slack_of(self, size: int) -> float:
        """Return how far probabilities under the drawn and the ideal noise may differ.

        By how much any probability under the copies that are drawn may differ from that under the copies that are meant, for inputs
        of `size` numbers.
        """
        return 0.0

    def moved(self, x: Tensor, domain: Domain) -> float:
        """Return how far rounding moves the input.

        Where inputs are rounded first: how far this one ([1, ...]) moves, in the unit of the radius, rounded up.
        """
        return 0.0

    def complaint(self, x: Tensor, domain: Domain) -> str:
        """Return why inputs like these [n, ...] cannot be copied, with the cure.

        Empty where they can.
        """
        return ""


@dataclass(frozen=True)
class Gaussian(Noise):
    """Add independent normal noise to every number.

    Independent normal noise of standard deviation `sigma` on every number, in the type of the input. Certifies L2: Cohen, Rosenfeld, Kolter
    2019, arXiv:1902.02918, theorem 1; what lies in a ball of another norm lies in an L2 ball too.
    """

    sigma: float

    norm: ClassVar[str] = "l2"

    def __post_init__(self) -> None:
        _positive("gaussian", "sigma", self.sigma)

    def around(self, x: Tensor, rng: Rng, count: int, domain: Domain) -> Draws:
        return Draws(x[:, None] + self.sigma * rng.normal(count, *x.shape[1:], dtype=x.dtype))

    def radius(self, low: float, high: float, shape: tuple[int, ...]) -> float:
        if not low > high:
            return 0.0
        reach = self.sigma / 2 * float(ndtri(low) - ndtri(high)) * (1 - CARE) if low < 1 and high > 0 else math.inf
        return max(0.0, reach)

    def needed(self, radius: float, shape: tuple[int, ...]) -> float:
        return float(ndtr(radius / self.sigma)) + CARE

    def share(self, kind: str, size: int) -> float:
        return {"l2": 1.0, "l1": 1.0, "linf": (1 - CARE) / math.sqrt(size)}.get(kind, 0.0)

    def __str__(self) -> str:
        return f"Gaussian noise of standard deviation {self.sigma:g}"


@dataclass(frozen=True)
class Uniform(Noise):
    """Move every number to the middle of a randomly shifted cell (splitting noise).

    Splitting noise: every number tells only in which cell of width `width` it lies, with the grid of cells shifted at random; it becomes the
    middle of the cell, cut with the bounds. Levine, Feizi 2021, arXiv:2103.10834, whose lambda is half of `width`.

    Certifies L1: a change of t moves a number into another cell with probability at most t / width, so a change of L1 size r changes
    the copy, and any probability, by at most r / width. That holds however the shifts of different numbers depend on each other. It
    is the radius of additive uniform noise on an interval of this width (Yang et al. 2020, arXiv:2002.08118).
    """

    width: float

    norm: ClassVar[str] = "l1"

    def __post_init__(self) -> None:
        _positive("uniform", "width", self.width)

    def around(self, x: Tensor, rng: Rng, count: int, domain: Domain) -> Draws:
        low, high = (torch.as_tensor(edge, dtype=torch.float64, device=x.device) for edge in box(domain, x[:1]))
        start = self.width * rng.uniform(count, *x.shape[1:], dtype=torch.float64)
        upper = torch.ceil((x[:, None].double() - start) / self.width) * self.width + start
        return Draws(((torch.minimum(upper, high) + torch.maximum(upper - self.width, low)) / 2).to(x.dtype))

    def radius(self, low: float, high: float, shape: tuple[int, ...]) -> float:
        return max(0.0, self.width * (low - high) / 2 * (1 - CARE))

    def needed(self, radius: float, shape: tuple[int, ...]) -> float:
        return 0.5 + radius / self.width + CARE

    def share(self, kind: str, size: int) -> float:
        return {"l1": 1.0, "l2": (1 - CARE) / math.sqrt(size), "linf": (1 - CARE) / size}.get(kind, 0.0)

    def __str__(self) -> str:
        return f"splitting noise of width {self.width:g}"


@dataclass(frozen=True)
class Ablation(Noise):
    """Replace all but a few random pixels by a fixed value.

    All but `keep` pixels (numbers, where inputs are not images), drawn at random, are replaced by `fill`. A `fill` outside the bounds of the
    input lets a model see what is missing. Certifies L0: Levine, Feizi 2020, arXiv:1911.09272, theorem 1.

    Where we differ: the paper codes what is missing in additional channels; the proof holds for any code.
    """

    keep: int
    fill: float = 0.0

    norm: ClassVar[str] = "l0"

    def __post_init__(self) -> None:
        if isinstance(self.keep, bool) or not isinstance(self.keep, int) or self.keep < 1:
            raise PlanError(f"ablation(keep={self.keep!r}): give the number of pixels to keep, at least 1")
        if not math.isfinite(self.fill):
            raise PlanError(f"ablation(fill={self.fill}): give a finite number")

    def around(self, x: Tensor, rng: Rng, count: int, domain: Domain) -> Draws:
        flat = pixels(x)
        rank = rng.uniform(count, flat.shape[2], dtype=torch.float64)
        kept = torch.zeros_like(rank, dtype=torch.bool).scatter(2, rank.topk(min(self.keep, flat.shape[2]), dim=2).indices, True)
        points = torch.where(kept[:, :, None], flat[:, None], self.fill).reshape(len(x), count, *x.shape[1:])
        return Draws(points, kept[:, :, None].expand(-1, -1, flat.shape[1], -1).reshape(points.shape).to(x.dtype))

    def touched(self, count: int, shape: tuple[int, ...]) -> Fraction:
        """Return the probability that any of `count` pixels is kept.

        It is 1 - C(d - count, keep) / C(d, keep).
        """
        places = _places(shape)
        keep = min(self.keep, places)
        return 1 - Fraction(math.comb(max(0, places - count), keep), math.comb(places, keep))

    def radius(self, low: float, high: float, shape: tuple[int, ...]) -> float:
        gap, count = Fraction(low) - Fraction(high), 0
        while count < _places(shape) and gap > 2 * self.touched(count + 1, shape):
            count += 1
        return float(count)

    def needed(self, radius: float, shape: tuple[int, ...]) -> float:
        return 0.5 + float(self.touched(math.floor(radius), shape)) + CARE

    def asked(self, radius: float) -> float:
        return float(math.floor(radius + 1e-9))  # as the region of l0 counts

    def __str__(self) -> str:
        return f"all but {self.keep} pixels replaced by {self.fill:g}"


@in_our_words
def gaussian(sigma: float) -> Gaussian:
    """Return normal noise, which certifies L2, and Linf over the root of the number of inputs.

    Args:
        sigma: Standard deviation, in the units of the input.

    Returns:
        The `Noise`, to be given to `smoothed(noise=...)`.

    Raises:
        PlanError: For a value that is no finite number above 0.

    Example:
        >>> gaussian(0.25).sigma
        0.25
    """
    return Gaussian(sigma)


@in_our_words
def uniform(width: float) -> Uniform:
    """Return splitting noise of cells of this width, which certifies L1.

    Args:
        width: Width of a cell, in the units of the input.

    Returns:
        The `Noise`, to be given to `smoothed(noise=...)`.

    Raises:
        PlanError: For a value that is no finite number above 0.

    Example:
        >>> uniform(0.5).width
        0.5
    """
    return Uniform(width)


@in_our_words
def ablation(keep: int, fill: float = 0.0) -> Ablation:
    """Return noise that shows only `keep` pixels, which certifies L0.

    Args:
        keep: How many pixels (numbers, where inputs are not images) are seen.
        fill: The value of the others.

    Returns:
        The `Noise`, to be given to `smoothed(noise=...)`.

    Raises:
        PlanError: For a number of pixels below 1, and for a value that is not finite.

    Example:
        >>> ablation(45).keep
        45
    """
    return Ablation(keep, fill)


def _places(shape: tuple[int, ...]) -> int:
    """Pixels of an image, numbers of anything else."""
    return math.prod(shape[1:]) if len(shape) == 3 else math.prod(shape)


def _positive(noise: str, name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise PlanError(f"{noise}({name}={value!r}): give a finite number above 0, in the units of the input")
