"""Patches: one square of pixels, anywhere in the image, may take any values within the bounds."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sparring.core.domain import Domain
from sparring.core.errors import InputError, NeedsError
from sparring.core.registry import register
from sparring.core.rng import Rng
from sparring.core.space import Region, Space, check_radius
from sparring.threats.sparse import PixelRegion, edges, on, pixels, whole


@dataclass(frozen=True, eq=False)
class PatchRegion(PixelRegion):
    """Represent the points whose changed pixels lie in one square of side `radius`."""

    def size(self, x: Tensor) -> Tensor:
        """Return side of the smallest square around all changed pixels, float64 [n]."""
        changed = self.changed(x).reshape(len(x), *x.shape[2:])
        return torch.maximum(_extent(changed.any(2)), _extent(changed.any(1))).double()

    def sides(self) -> tuple[Tensor, Tensor]:
        """Return height and width of the patch, cut with the image, int64 [n] each."""
        height, width = self.origin.shape[2:]
        return self.count.clamp(max=height), self.count.clamp(max=width)

    def project(self, x: Tensor) -> Tensor:
        """Return the nearest allowed points: the square that changed most keeps its change."""
        return on(self._best(self._worth(x)), self._boxed(x), self.origin)

    def ascend(self, x: Tensor, g: Tensor, length: Tensor) -> Tensor:
        """Move x toward its edges along g, in the square where that matters most.

        The share of the way is `length` / radius ([n]).
        """
        share = (length / self.radius.clamp_min(1e-30)).clamp(max=1.0).to(x.dtype).reshape(-1, 1, 1, 1)
        moved = x + (self._edge(x, g) - x) * share
        return on(self._best(pixels((moved - self.origin).double() * g.double()).sum(1)), moved, self.origin)

    def stamp(self, upper: Tensor, left: Tensor, share: Tensor) -> Tensor:
        """Return the origin under a patch with its corner at (upper, left), int64 [n] each.

        Its pixels are between their edges, by the upper left part of share [n, channels, height, width] in [0, 1].
        """
        n, channels, height, width = self.origin.shape
        down = (torch.arange(height, device=left.device) - upper[:, None]).clamp_min(0).reshape(n, 1, height, 1)
        right = (torch.arange(width, device=left.device) - left[:, None]).clamp_min(0).reshape(n, 1, 1, width)
        share = share.gather(2, down.expand(n, channels, height, width)).gather(3, right.expand(n, channels, height, width))
        return on(self._window(upper, left), self.low + (self.high - self.low) * share.to(self.low.dtype), self.origin)

    def sample(self, rng: Rng) -> Tensor:
        """Return a patch at a random place, of uniform values."""
        return self.stamp(*self.place(rng), rng.draw("values").uniform(*self.origin.shape[1:], dtype=self.origin.dtype))

    def corner(self, rng: Rng) -> Tensor:
        """Return a patch at a random place, every number at one of its edges."""
        return self.stamp(*self.place(rng), rng.draw("values").signs(*self.origin.shape[1:]) > 0)

    def place(self, rng: Rng) -> tuple[Tensor, Tensor]:
        """Return a random place (upper, left) for the patch, int64 [n] each."""
        room = (whole - side + 1 for whole, side in zip(self.origin.shape[2:], self.sides(), strict=True))
        upper, left = (rng.draw(name).integers(high, 1).squeeze(1) for name, high in zip(("upper", "left"), room, strict=True))
        return upper, left

    def _window(self, upper: Tensor, left: Tensor) -> Tensor:
        """bool [n, pixels]: those of the patch at this place."""
        ranges = []
        for first, side, length in zip((upper, left), self.sides(), self.origin.shape[2:], strict=True):
            at = torch.arange(length, device=first.device)
            ranges.append((at >= first[:, None]) & (at < (first + side)[:, None]))
        return (ranges[0][:, :, None] & ranges[1][:, None, :]).flatten(1)

    def _best(self, values: Tensor) -> Tensor:
        """bool [n, pixels]: the patch with the largest sum of values [n, pixels]; of equal ones the first."""
        height, width = self.origin.shape[2:]
        sums = torch.zeros(len(values), height + 1, width + 1, dtype=torch.float64, device=values.device)
        sums[:, 1:, 1:] = values.reshape(-1, height, width).cumsum(1).cumsum(2)
        (down, tall), (right, wide) = (
            (torch.arange(length, device=values.device).expand(len(values), -1), side[:, None])
            for length, side in zip((height, width), self.sides(), strict=True)
        )
        fits = ((down + tall <= height)[:, :, None]) & ((right + wide <= width)[:, None, :])
        rows = torch.arange(len(values), device=values.device)[:, None, None]
        below, beyond = (down + tall).clamp(max=height)[:, :, None], (right + wide).clamp(max=width)[:, None, :]
        here, there = down[:, :, None], right[:, None, :]
        total = sums[rows, below, beyond] - sums[rows, here, beyond] - sums[rows, below, there] + sums[rows, here, there]
        best = total.where(fits, -torch.inf).flatten(1).argmax(1)
        return self._window(best // width, best % width)


def _extent(hit: Tensor) -> Tensor:
    """int64 [n]: from the first true place of each row [n, k] to the last."""
    ahead, behind = hit.to(torch.int8).argmax(1), hit.flip(1).to(torch.int8).argmax(1)
    return torch.where(hit.any(1), hit.shape[1] - ahead - behind, 0)


@register("space", "patch")
@dataclass(frozen=True)
class Patch(Space):
    """Allow one square of `side` x `side` pixels, anywhere in the image, to change freely.

    Args:
        side: The side of the square, in pixels.

    The pixels stay inside the bounds. A radius that is no whole number is rounded down.
    """

    radius: float | Tensor

    kind: ClassVar[str] = "patch"
    region: ClassVar[type[Region]] = PatchRegion
    by_size: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_radius(self.radius)

    @classmethod
    def parse(cls, side: float) -> "Patch":
        """Return the space as a plan writes it: the side of the patch in pixels."""
        return cls(whole(cls.kind, side, "the side of the patch in pixels, such as patch 5"))

    def check(self, x: Tensor, domain: Domain) -> None:
        super().check(x, domain)
        height, width = x.shape[2:]
        if len(x) and (side := float(self.radii(len(x)).max())) > max(height, width):
            what = f"a square of {side:g} x {side:g} pixels is larger than the images of {height} x {width}"
            raise InputError(f"patch {side:g}: {what}: give a side of at most {max(height, width)}")

    def around(self, origin: Tensor, domain: Domain) -> PatchRegion:
        if domain.kind != "image":
            raise NeedsError(f"a patch needs images, the inputs are {domain}: try l0, linf, l2, rules or words")
        return PatchRegion(origin, domain, self.radii(len(origin), origin.device), *edges(domain, origin))

    def __str__(self) -> str:
        side = "a side per sample" if isinstance(self.radius, Tensor) else f"{self.radius:g} x {self.radius:g} pixels"
        return f"any change of one square of {side}, anywhere in the image, within the bounds of the input"
