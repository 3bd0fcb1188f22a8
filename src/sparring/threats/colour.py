"""Functional colour changes: one smooth map of colours for the whole image."""

from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor

from sparring.core.domain import Domain
from sparring.core.errors import NeedsError, PlanError
from sparring.core.registry import register
from sparring.core.rng import Rng
from sparring.core.space import Region, Space, check_radius
from sparring.domains.image import Image

RIDGE = 1e-8
"""Weight of the size of the map in the least squares that look for it; keeps them solvable where colours do not occur."""

MISFIT = 1e-3
"""How well a map must explain the change: root of the mean square left over, as a share of the radius."""


@register("space", "colour")
@dataclass(frozen=True)
class Colour(Space):
    """Allow one map of colours per image that moves each channel by at most `radius`.

    Source: arXiv:1906.00001.

    radius: in the units of the input. nodes: the map is given at so many values a channel, evenly spaced, and linear between them; few
    nodes are a smooth map. A point does not carry its map. What is checked: no value moved farther than the radius, and some map with
    these nodes explains the change of all pixels up to a thousandth of the radius (root mean square), so that equal
    colours stay equal and near ones near. Images with one channel (a tone curve) or three.
    """

    radius: float | Tensor
    nodes: int = 8

    kind: ClassVar[str] = "colour"
    region: ClassVar[type[Region]]

    def __post_init__(self) -> None:
        check_radius(self.radius)
        if isinstance(self.nodes, bool) or not isinstance(self.nodes, int) or not 2 <= self.nodes <= 16:
            raise PlanError(f"colour nodes={self.nodes!r}: give a whole number from 2 to 16")

    @classmethod
    def parse(cls, radius: float, nodes: int = 8) -> "Colour":
        """Return the space as a plan writes it: the radius, and perhaps the number of nodes."""
        if isinstance(radius, bool) or not isinstance(radius, int | float):
            raise PlanError(f"colour {radius!r}: write a radius as a number or a fraction, such as colour 0.06")
        return cls(float(radius), nodes)

    def around(self, origin: Tensor, domain: Domain) -> "ColourRegion":
        if not isinstance(domain, Image) or domain.shape[0] not in (1, 3):
            raise NeedsError(f"colour changes need images with 1 or 3 channels, the inputs are {domain}: try linf, l2, rules or words")
        return ColourRegion(origin, domain, self.radii(len(origin), origin.device), self.nodes)

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "nodes": self.nodes}

    def __str__(self) -> str:
        radius = "a radius per sample" if isinstance(self.radius, Tensor) else f"{self.radius:g}"
        return f"one map of colours for the whole image, defined at {self.nodes} values per channel, that moves no value by more than {radius}"


@dataclass(frozen=True, eq=False)
class ColourRegion(Region):
    """Hold the images that a map of colours makes of each origin (float [n, C, H, W]).

    radius: float64 [n].
    """

    origin: Tensor
    domain: Image
    radius: Tensor
    nodes: int

    def take(self, rows: Tensor) -> Self:
        return type(self)(self.origin[rows], self.domain, self.radius[rows], self.nodes)

    def still(self) -> Tensor:
        """Return the map that changes nothing, float64 [n, C, nodes^C].

        It says how far each node moves each channel.
        """
        channels = self.origin.shape[1]
        return torch.zeros(len(self.origin), channels, self.nodes**channels, dtype=torch.float64, device=self.origin.device)

    def kept(self, moves: Tensor) -> Tensor:
        """Return the map cut to the radius and to the bounds of the values."""
        most, low, high = self.radius.reshape(-1, 1, 1), self.domain.low, self.domain.high
        line = torch.linspace(low, high, self.nodes, dtype=torch.float64, device=moves.device)
        places = torch.cartesian_prod(*[line] * moves.shape[1]).reshape(-1, moves.shape[1]).T
        return torch.minimum(torch.maximum(moves, torch.maximum(-most, low - places)), torch.minimum(most, high - places))

    def recoloured(self, moves: Tensor) -> Tensor:
        """Return every origin through its map ([n, C, nodes^C], cut by `kept`); differentiable."""
        moves, change = self.kept(moves), torch.zeros(1, dtype=torch.float64, device=moves.device)
        for which, weight in self._corners(self.origin):
            change = change + weight[:, None] * moves.gather(2, which[:, None].expand(-1, moves.shape[1], -1))
        changed = (self.origin.double() + change.reshape(self.origin.shape)).to(self.origin.dtype)
        return torch.where(self.radius.reshape(-1, 1, 1, 1) > 0, changed.clamp(self.domain.low, self.domain.high), self.origin)

    def size(self, x: Tensor) -> Tensor:
        """Return how far the farthest value moved, float64 [n]."""
        return (x.double() - self.origin.double()).abs().flatten(1).amax(1)

    def inside(self, x: Tensor) -> Tensor:
        """Check x as `Colour` describes, up to rounding (in images deployed as 8 bit, one step)."""
        slack = 4 * torch.finfo(x.dtype).eps * max(abs(self.domain.low), abs(self.domain.high))
        near = self.size(x) <= torch.where(self.radius > 0, self.radius + slack, 0.0)
        near &= ((x >= self.domain.low) & (x <= self.domain.high)).flatten(1).all(1)
        step = (self.domain.high - self.domain.low) / 255 if self.domain.deployed == "8bit" else 0.0
        for row in near.nonzero().squeeze(1).tolist():
            near[row] = self._misfit(row, x[row]) <= MISFIT * float(self.radius[row]) + slack + step
        return near

    def complaint(self, x: Tensor) -> list[str]:
        pairs = zip(self.inside(x).tolist(), (self.size(x) > self.radius).tolist(), strict=True)
        return ["" if good else "moves a value too far" if far else "no map of colours explains the change" for good, far in pairs]

    def sample(self, rng: Rng) -> Tensor:
        """Return a random map."""
        share = rng.uniform(*self.still().shape[1:], dtype=torch.float64) * 2 - 1
        return self.recoloured(share * self.radius.reshape(-1, 1, 1))

    def corner(self, rng: Rng) -> Tensor:
        """Return a random map that moves every node as far as it may."""
        return self.recoloured(rng.signs(*self.still().shape[1:], dtype=torch.float64) * self.radius.reshape(-1, 1, 1))

    def _corners(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Per corner of its cell: the node (int64 [n, H W]) and its weight (float64 [n, H W]) for every pixel of x."""
        share = (x.double().flatten(2) - self.domain.low) / (self.domain.high - self.domain.low) * (self.nodes - 1)
        base = share.floor().clamp(0, self.nodes - 2)
        part, base = share - base, base.long()
        found = []
        for corner in product((0, 1), repeat=x.shape[1]):
            which, weight = torch.zeros_like(base[:, 0]), torch.ones_like(part[:, 0])
            for channel, upper in enumerate(corner):
                which = which * self.nodes + base[:, channel] + upper
                weight = weight * (part[:, channel] if upper else 1 - part[:, channel])
            found.append((which, weight))
        return found

    def _misfit(self, row: int, point: Tensor) -> float:
        """Root of the mean square of the change that the best map (by ridge least squares) leaves over."""
        corners = self._corners(self.origin[row : row + 1])
        which, weight = torch.stack([one[0] for one, _ in corners], 1), torch.stack([one[0] for _, one in corners], 1)  # [p, 2^C]
        count, change = self.nodes ** self.origin.shape[1], (point.double() - self.origin[row].double()).flatten(1)
        pairs = (which[:, :, None] * count + which[:, None, :]).flatten()
        square = torch.zeros(count * count, dtype=torch.float64, device=point.device)
        square.index_add_(0, pairs, (weight[:, :, None] * weight[:, None, :]).flatten())
        square = square.reshape(count, count) + RIDGE * torch.eye(count, dtype=torch.float64, device=point.device)
        right = torch.zeros(count, len(change), dtype=torch.float64, device=point.device)
        right.index_add_(0, which.flatten(), (weight[:, :, None] * change.T[:, None, :]).flatten(0, 1))
        moves = torch.linalg.solve(square, right)
        left = change.T - (weight[:, :, None] * moves[which]).sum(1)
        return float(left.square().mean().sqrt())


Colour.region = cast(Any, ColourRegion)
