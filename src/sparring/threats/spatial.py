"""Rotations and shifts of the whole image, from a finite grid of angles and shifts."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor

from sparring.core.domain import Domain
from sparring.core.errors import NeedsError, PlanError
from sparring.core.registry import register
from sparring.core.rng import Rng
from sparring.core.space import Region, Space, check_radius
from sparring.domains.corruptions.fields import lattice, resampled
from sparring.domains.image import Image

PROBES = 64
"""Pixels that are compared first when a point is checked."""


@register("space", "spatial")
@dataclass(frozen=True)
class Spatial(Space):
    """Allow a rotation by up to `degrees`, then a shift by up to `shift` in each direction.

    Source: arXiv:1712.02779.

    radius: the share of this reach that is allowed, 1 for all of it, 0 for no change. degrees: largest angle either way. shift: largest
    shift either way, a share of width and height below 1, pixels from 1 on. angles, shifts: how many values each takes, evenly spaced;
    odd, so that "unchanged" is one of them. Only these combinations are allowed, so membership is checked exactly. Pixels are
    read bilinearly; what comes from outside the image is black (the lowest value).
    """

    radius: float | Tensor
    degrees: float = 30.0
    shift: float = 0.1
    angles: int = 31
    shifts: int = 5

    kind: ClassVar[str] = "spatial"
    region: ClassVar[type[Region]]

    def __post_init__(self) -> None:
        check_radius(self.radius)
        for name, reach in (("degrees", self.degrees), ("shift", self.shift)):
            if isinstance(reach, bool) or not isinstance(reach, int | float) or not 0 <= reach < math.inf:
                raise PlanError(f"spatial {name}={reach!r}: give a number of at least 0, as in spatial 30 0.1")
        for name, count in (("angles", self.angles), ("shifts", self.shifts)):
            if isinstance(count, bool) or not isinstance(count, int) or count < 1 or count % 2 == 0:
                raise PlanError(f"spatial {name}={count!r}: give an odd number, so that the grid contains the unchanged image")

    @classmethod
    def parse(cls, degrees: float, shift: float, angles: int = 31, shifts: int = 5) -> "Spatial":
        """Return the space as a plan writes it: degrees, shift, and perhaps the number of values."""
        for name, reach in (("DEGREES", degrees), ("SHIFT", shift)):
            if isinstance(reach, bool) or not isinstance(reach, int | float):
                raise PlanError(f"spatial {degrees!r} {shift!r}: give {name} as a number, as in spatial 30 0.1")
        return cls(1.0, float(degrees), float(shift), angles, shifts)

    def around(self, origin: Tensor, domain: Domain) -> "SpatialRegion":
        if not isinstance(domain, Image):
            raise NeedsError(f"only images can be rotated and shifted, the inputs are {domain}: try linf, l2, rules or words")
        return SpatialRegion(origin, domain, self.radii(len(origin), origin.device), self.degrees, self.shift, self._grid(origin))

    def _grid(self, origin: Tensor) -> Tensor:
        """float64 [k, 4]: angle (radians), shift down and right (pixels) and the share of the reach, the smallest first."""
        height, width = origin.shape[-2:]
        turn = _even(self.angles if self.degrees else 1)
        move = _even(self.shifts if self.shift else 1)
        shares = torch.cartesian_prod(turn, move, move)
        most_down, most_right = (self.shift * height, self.shift * width) if self.shift < 1 else (self.shift, self.shift)
        grid = shares * torch.tensor([math.radians(self.degrees), most_down, most_right], dtype=torch.float64)
        reach = shares.abs().amax(1)
        order = reach.argsort(stable=True)
        return torch.cat([grid, reach[:, None]], 1)[order].to(origin.device)

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, **dataclasses.asdict(dataclasses.replace(self, radius=0.0)), **super().describe()}

    def __str__(self) -> str:
        shift = f"{self.shift:.0%} of its sides" if self.shift < 1 else f"{self.shift:g} pixels"
        share = "" if not isinstance(self.radius, Tensor) and self.radius == 1 else ", scaled to the radius"
        count = f"{self.angles} x {self.shifts} x {self.shifts} combinations"
        return f"the image rotated by up to {self.degrees:g} degrees and shifted by up to {shift} ({count}){share}"

    @property
    def label(self) -> str:
        share = " per sample" if isinstance(self.radius, Tensor) else "" if self.radius == 1 else f" at {self.radius:g}"
        return f"{self.kind} {self.degrees:g} {self.shift:g}{share}"


@dataclass(frozen=True, eq=False)
class SpatialRegion(Region):
    """Hold each origin under every combination of `grid` within its radius.

    Origins are float [n, C, H, W]; for the grid see `Spatial._grid`.
    """

    origin: Tensor
    domain: Image
    radius: Tensor
    degrees: float
    shift: float
    grid: Tensor

    def take(self, rows: Tensor) -> Self:
        return type(self)(self.origin[rows], self.domain, self.radius[rows], self.degrees, self.shift, self.grid)

    def combinations(self) -> int:
        """Return how many combinations of angle and shifts the whole reach has."""
        return len(self.grid)

    def reach(self, which: Tensor) -> Tensor:
        """Return the share of the reach that a combination (int64 [n]) takes.

        It is allowed up to the radius, float64 [n].
        """
        return self.grid[which, 3]

    def turned(self, which: Tensor) -> Tensor:
        """Return every origin under its combination (int64 [n])."""
        down, right = lattice(self.origin.double())
        moved = self._read(self.origin, *self._source(self.grid[which], down, right))
        return torch.where((self.reach(which) == 0).reshape(-1, 1, 1, 1), self.origin, moved)

    def size(self, x: Tensor) -> Tensor:
        """Return the least share of the reach that makes x of its origin.

        Infinite where none does, float64 [n].
        """
        return torch.stack([self._least(row, point) for row, point in enumerate(x)]) if len(x) else self.radius

    def inside(self, x: Tensor) -> Tensor:
        """Check that x is the origin under one of the combinations, up to rounding.

        In images deployed as 8 bit this is one step.
        """
        return self.size(x) <= self.radius

    def complaint(self, x: Tensor) -> list[str]:
        return ["" if good else "not an allowed rotation and shift of the clean image" for good in self.inside(x).tolist()]

    def sample(self, rng: Rng) -> Tensor:
        """Return a random allowed combination."""
        allowed = torch.searchsorted(self.grid[:, 3].contiguous(), self.radius.contiguous(), right=True)
        return self.turned(rng.integers(allowed, 1).squeeze(1))

    def corner(self, rng: Rng) -> Tensor:
        """Return a random combination among those that reach farthest."""
        reach = self.grid[:, 3].contiguous()
        end = torch.searchsorted(reach, self.radius.contiguous(), right=True)
        begin = torch.searchsorted(reach, reach[end - 1])
        return self.turned(begin + rng.integers(end - begin, 1).squeeze(1))

    def _source(self, grid: Tensor, down: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        """Rows and columns [k, ...] of the origin that the pixels (down, right) show under combinations [k, 4]: turned about the
        middle, then shifted."""
        angle, by_down, by_right = (part.reshape(-1, 1, 1) for part in grid[:, :3].unbind(1))
        middle = [(side - 1) / 2 for side in self.origin.shape[-2:]]
        v, u = down - middle[0] - by_down, right - middle[1] - by_right
        return torch.cos(angle) * v - torch.sin(angle) * u + middle[0], torch.sin(angle) * v + torch.cos(angle) * u + middle[1]

    def _read(self, image: Tensor, down: Tensor, right: Tensor) -> Tensor:
        low, high = self.domain.low, self.domain.high
        return (resampled(image.double() - low, down, right, padding="zeros") + low).to(image.dtype).clamp(low, high)

    def _least(self, row: int, point: Tensor) -> Tensor:
        """The smallest reach under which one point is the turned origin: a few pixels first, then the whole image."""
        nothing, image = self.grid[0, 3], self.origin[row : row + 1]
        if torch.equal(point, self.origin[row]):
            return nothing
        slack = max(1e-5, 8 * torch.finfo(point.dtype).eps) * max(abs(self.domain.low), abs(self.domain.high))
        slack += (self.domain.high - self.domain.low) / 255 if self.domain.deployed == "8bit" else 0.0
        height, width = point.shape[-2:]
        places = torch.linspace(0, height * width - 1, min(PROBES, height * width), device=point.device).long()
        down, right = (places // width).double()[None, None], (places % width).double()[None, None]
        rows, columns = self._source(self.grid, down, right)  # [k, 1, p]
        seen = self._read(image, rows.reshape(1, len(self.grid), -1), columns.reshape(1, len(self.grid), -1))[0]
        near = ((seen - point.flatten(1)[:, None, places]).abs() <= slack).all(2).all(0)
        for which in near.nonzero().squeeze(1):
            if bool(((self.take(torch.tensor([row])).turned(which[None])[0] - point).abs() <= slack).all()):
                return self.grid[which, 3]
        return torch.full_like(nothing, torch.inf)


def _even(count: int) -> Tensor:
    """float64 [count]: an odd number of evenly spaced values from -1 to 1, the middle one exactly 0."""
    half = count // 2
    return torch.arange(-half, half + 1, dtype=torch.float64) / max(half, 1)


Spatial.region = cast(Any, SpatialRegion)
