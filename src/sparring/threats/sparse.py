"""Sparse changes: a limited number of pixels may take any values within the bounds."""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from sparring.core.domain import Domain
from sparring.core.errors import PlanError
from sparring.core.registry import register
from sparring.core.rng import Rng
from sparring.core.space import Region, Space, check_radius
from sparring.threats.balls import box

FAR = 10.0
"""A number without bounds is moved by at most this many times 1 + its size."""


@dataclass(frozen=True, eq=False)
class PixelRegion(Region):
    """Hold the points that differ from the origin in few places.

    Shapes: origin [n, ...], radius float64 [n].

    A place is a pixel, whatever its channels; where inputs are not images, every number is one.
    """

    origin: Tensor
    domain: Domain
    radius: Tensor
    low: Tensor  # how far a number is moved, shaped like origin; finite even where the domain is not
    high: Tensor

    def take(self, rows: Tensor) -> Self:
        return type(self)(self.origin[rows], self.domain, self.radius[rows], self.low[rows], self.high[rows])

    @property
    def count(self) -> Tensor:
        """Return the radius as a whole number, int64 [n]."""
        return (self.radius + 1e-9).floor().long()

    def changed(self, x: Tensor) -> Tensor:
        """Return which places differ by more than a rounding, bool [n, places].

        8-bit images are written anew.
        """
        now, was = pixels(x), pixels(self.origin)
        largest = torch.maximum(now.abs(), was.abs()).flatten(1).amax(1)
        slack = 2 * torch.finfo(x.dtype).eps * largest * (self.count > 0)
        return ((now - was).abs() > slack[:, None, None]).any(1)

    def inside(self, x: Tensor) -> Tensor:
        """Check x, exactly up to a rounding of each number; at radius 0 the origin alone is allowed."""
        low, high = box(self.domain, x)
        return ((x >= low) & (x <= high)).flatten(1).all(1) & (self.size(x) <= self.count)

    def steepest(self, g: Tensor) -> Tensor:
        """Return the signs of g at the place where it is largest."""
        chosen = top(pixels(g).double().abs().sum(1), torch.ones_like(self.count))
        return on(chosen, g.sign(), torch.zeros_like(g))

    def _edge(self, x: Tensor, g: Tensor) -> Tensor:
        """x with every number as far as it goes in the direction of g."""
        return torch.where(g > 0, self.high, torch.where(g < 0, self.low, x))

    def _worth(self, x: Tensor) -> Tensor:
        """float64 [n, places]: by how much x comes nearer to the allowed point if a place is kept, squared."""
        low, high = box(self.domain, x)
        d, kept = x.double() - self.origin.double(), x.clamp(low, high).double() - self.origin.double()
        return pixels(kept * (2 * d - kept)).sum(1)

    def _boxed(self, x: Tensor) -> Tensor:
        return x.clamp(*box(self.domain, x))


@dataclass(frozen=True, eq=False)
class L0Region(PixelRegion):
    """Hold the points that differ from the origin in at most `radius` places."""

    def size(self, x: Tensor) -> Tensor:
        return self.changed(x).sum(1).double()

    def project(self, x: Tensor) -> Tensor:
        """Return the nearest allowed points: the places that changed most keep their change."""
        return on(top(self._worth(x), self.count), self._boxed(x), self.origin)

    def ascend(self, x: Tensor, g: Tensor, length: Tensor) -> Tensor:
        """Return x with `length` ([n], rounded up) places moved to the edges where g gains most.

        Of all changed places those stay that matter most along g.
        """
        there = self._edge(x, g)
        gain = pixels((there - x).double() * g.double()).sum(1)
        moved = on(top(gain, length.ceil().long()) & (gain > 0), there, x)
        return on(top(pixels((moved - self.origin).double() * g.double()).sum(1), self.count), moved, self.origin)

    def toward(self, x: Tensor, size: Tensor) -> Tensor:
        """Return x with all but the `size` ([n]) largest of its changes taken back."""
        return replace(self, radius=size).project(x)

    def recolour(self, chosen: Tensor, share: Tensor) -> Tensor:
        """Return the origin with the chosen places (bool [n, places]) between their edges.

        share: [n, channels, places] in [0, 1].
        """
        return on(chosen, self.low + (self.high - self.low) * share.reshape(self.origin.shape).to(self.low.dtype), self.origin)

    def sample(self, rng: Rng) -> Tensor:
        """Draw as many random places as are allowed, at uniform values."""
        return self.recolour(self._places(rng), rng.draw("values").uniform(*pixels(self.origin).shape[1:], dtype=self.origin.dtype))

    def corner(self, rng: Rng) -> Tensor:
        """Draw as many random places as are allowed, every number at one of its edges."""
        return self.recolour(self._places(rng), rng.draw("values").signs(*pixels(self.origin).shape[1:]) > 0)

    def _places(self, rng: Rng) -> Tensor:
        return top(rng.draw("places").uniform(pixels(self.origin).shape[2], dtype=torch.float64), self.count)


def pixels(x: Tensor) -> Tensor:
    """Return images by pixel, anything else by number, [n, channels, places]."""
    return x.flatten(2) if x.ndim == 4 else x.flatten(1)[:, None]


def on(chosen: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """Return `yes` at the chosen places (bool [n, places]), `no` at the others."""
    return torch.where(chosen[:, None], pixels(yes), pixels(no)).reshape(yes.shape)


def top(values: Tensor, count: Tensor) -> Tensor:
    """Return the `count` ([n]) largest values of each row [n, k].

    Of equal ones the first, bool [n, k].
    """
    order = values.argsort(dim=1, descending=True, stable=True)
    first = torch.arange(values.shape[1], device=values.device) < count[:, None]
    return torch.zeros_like(first).scatter(1, order, first)


def edges(domain: Domain, origin: Tensor) -> tuple[Tensor, Tensor]:
    """Return the bounds of the domain, shaped like origin; distant values if unbounded."""
    far = FAR * (1 + origin.abs())
    low, high = (edge.expand_as(origin) for edge in box(domain, origin))
    return torch.where(low.isfinite(), low, origin - far), torch.where(high.isfinite(), high, origin + far)


@register("space", "l0")
@dataclass(frozen=True)
class L0(Space):
    """Allow at most `count` pixels to change, to anything inside the bounds.

    Args:
        count: How many pixels may change.

    All channels of a pixel count as one; where inputs are not images, every number counts. A radius that is no whole number is
    rounded down.
    """

    radius: float | Tensor

    kind: ClassVar[str] = "l0"
    region: ClassVar[type[Region]] = L0Region
    by_size: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_radius(self.radius)

    @classmethod
    def parse(cls, count: float) -> "L0":
        """Return the space as a plan writes it: how many pixels may change."""
        return cls(whole(cls.kind, count, "how many pixels may change, such as l0 10"))

    def around(self, origin: Tensor, domain: Domain) -> L0Region:
        box(domain, origin)  # refuses inputs that are not numbers
        return L0Region(origin, domain, self.radii(len(origin), origin.device), *edges(domain, origin))

    def __str__(self) -> str:
        radius = "a number per sample" if isinstance(self.radius, Tensor) else f"{self.radius:g}"
        return f"any change of at most {radius} pixels (numbers, if inputs are not images), L0 size #(x' != x), within the bounds of the input"


def whole(kind: str, count: float, what: str) -> float:
    """Return a whole number as written in a plan."""
    if isinstance(count, bool) or not isinstance(count, int | float) or count < 0 or count != int(count):
        raise PlanError(f"{kind} {count!r}: give a whole number, {what}")
    return float(count)
