"""Spatial flow: every pixel is read from a nearby position."""

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

PARTS = 4
"""Into how many parts, each way, a pixel is cut when a point is checked."""


@register("space", "flow")
@dataclass(frozen=True)
class Flow(Space):
    """Allow each pixel to show the image at a place at most `radius` pixels away.

    The place moves sideways and up or down (arXiv:1801.02612).

    A point does not carry its flow. What is checked: for every pixel there is a window of a quarter pixel within the radius in which,
    for each channel, the bilinear image takes smaller and larger values than the pixel's. With one channel that is exactly "there is a flow";
    with several it may also let pass what a flow misses by no more than the image varies within a quarter pixel. Nothing asks the
    flow to be smooth: that is left to the attack, as in the paper.
    """

    radius: float | Tensor

    kind: ClassVar[str] = "flow"
    region: ClassVar[type[Region]]

    def __post_init__(self) -> None:
        check_radius(self.radius)

    @classmethod
    def parse(cls, radius: float) -> "Flow":
        """Return the space as a plan writes it: the radius in pixels."""
        if isinstance(radius, bool) or not isinstance(radius, int | float):
            raise PlanError(f"flow {radius!r}: give the radius in pixels, such as flow 1")
        return cls(float(radius))

    def around(self, origin: Tensor, domain: Domain) -> "FlowRegion":
        if not isinstance(domain, Image):
            raise NeedsError(f"a flow moves pixels of images, the inputs are {domain}: try linf, l2, rules or words")
        return FlowRegion(origin, domain, self.radii(len(origin), origin.device))

    def __str__(self) -> str:
        radius = "a number of pixels per sample" if isinstance(self.radius, Tensor) else f"{self.radius:g} pixels"
        return f"every pixel is read from a position at most {radius} away in each direction, with bilinear interpolation"


@dataclass(frozen=True, eq=False)
class FlowRegion(Region):
    """Hold the images that a flow of at most `radius` ([n], pixels) makes of each origin.

    Origins are float [n, C, H, W].
    """

    origin: Tensor
    domain: Image
    radius: Tensor

    def take(self, rows: Tensor) -> Self:
        return type(self)(self.origin[rows], self.domain, self.radius[rows])

    def warped(self, flow: Tensor) -> Tensor:
        """Return every origin read at its pixels plus flow; differentiable.

        flow: float64 [n, 2, H, W], down and right, cut to the radius.
        """
        most = self.radius.reshape(-1, 1, 1, 1)
        down, right = lattice(self.origin.double())
        moved = torch.minimum(torch.maximum(flow, -most), most)
        read = resampled(self.origin.double(), down + moved[:, 0], right + moved[:, 1]).to(self.origin.dtype)
        return torch.where(most > 0, read.clamp(self.domain.low, self.domain.high), self.origin)

    def size(self, x: Tensor) -> Tensor:
        """Return how far, at least, the farthest pixel was moved, to a quarter pixel, float64 [n].

        It is infinite where no flow within the radius explains x.
        """
        return torch.stack([self._size(row, point) for row, point in enumerate(x)]) if len(x) else self.radius

    def inside(self, x: Tensor) -> Tensor:
        """Check x as `Flow` describes, up to rounding (in images deployed as 8 bit, one step)."""
        return self.size(x) <= self.radius

    def complaint(self, x: Tensor) -> list[str]:
        return ["" if good else "no flow within the radius produces it" for good in self.inside(x).tolist()]

    def sample(self, rng: Rng) -> Tensor:
        """Return every pixel read from a random place within the radius."""
        share = rng.uniform(2, *self.origin.shape[-2:], dtype=torch.float64) * 2 - 1
        return self.warped(share * self.radius.reshape(-1, 1, 1, 1))

    def corner(self, rng: Rng) -> Tensor:
        """Return every pixel read from a random corner of its square."""
        return self.warped(rng.signs(2, *self.origin.shape[-2:], dtype=torch.float64) * self.radius.reshape(-1, 1, 1, 1))

    def _size(self, row: int, point: Tensor) -> Tensor:
        radius = float(self.radius[row])
        if torch.equal(point, self.origin[row]):
            return torch.zeros_like(self.radius[row])
        least = torch.full(point.shape[-2:], torch.inf, dtype=torch.float64, device=point.device)
        if radius > 0:
            slack = 4 * torch.finfo(point.dtype).eps * max(abs(self.domain.low), abs(self.domain.high))
            slack += (self.domain.high - self.domain.low) / 255 if self.domain.deployed == "8bit" else 0.0
            count = int(radius * PARTS)
            steps = torch.arange(-count, count + 1).double() / PARTS
            steps = torch.cat([torch.tensor([-radius]), steps, torch.tensor([radius])]).unique().tolist()
            image, wanted = self.origin[row : row + 1].double(), point.double()
            above = self._shifted(image, steps[0], steps)
            for down in range(len(steps) - 1):
                below = self._shifted(image, steps[down + 1], steps)
                low, high = torch.minimum(above, below), torch.maximum(above, below)
                low, high = torch.minimum(low[:-1], low[1:]) - slack, torch.maximum(high[:-1], high[1:]) + slack
                fits = ((wanted >= low) & (wanted <= high)).all(1)  # [windows, H, W]
                far_down = _nearest(steps[down], steps[down + 1])
                far = torch.tensor([max(far_down, _nearest(one, two)) for one, two in zip(steps[:-1], steps[1:], strict=True)], device=point.device)
                least = torch.minimum(least, torch.where(fits, far.double()[:, None, None], torch.inf).amin(0))
                above = below
        return least.amax()

    def _shifted(self, image: Tensor, down: float, rights: list[float]) -> Tensor:
        """[len(rights), C, H, W]: the image read so far down and to the right of every pixel."""
        rows, columns = lattice(image)
        return torch.cat([resampled(image, (rows + down)[None], (columns + right)[None]) for right in rights])


def _nearest(one: float, two: float) -> float:
    """How far from 0 the interval from one to two begins."""
    return 0.0 if one <= 0 <= two else min(abs(one), abs(two))


Flow.region = cast(Any, FlowRegion)
