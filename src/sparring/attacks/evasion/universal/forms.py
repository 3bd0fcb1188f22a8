"""The ways in which a universal parameter changes a sample: as an added perturbation, or as a patch."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from sparring.core.rng import Rng
from sparring.core.space import Space
from sparring.threats.balls import box


class Form(ABC):
    """Describe how the universal parameter is initialised, moved and put on samples."""

    @abstractmethod
    def first(self, x: Tensor, space: Space, domain: Any) -> Tensor:
        """Return the parameter before learning; x: some samples, for shape and type."""

    @abstractmethod
    def move(self, parameter: Tensor, g: Tensor, share: float, space: Space, domain: Any) -> Tensor:
        """Return the parameter after a step uphill along g, by a share of what it may be at most."""

    @abstractmethod
    def put(self, parameter: Tensor, x: Tensor, domain: Any, rng: Rng) -> Tensor:
        """Return samples under the parameter, differentiable in it.

        `project` of the region is applied to them afterwards.
        """


@dataclass(frozen=True)
class Added(Form):
    """Add the parameter to every sample, cut off at the bounds of the input.

    It lies in the ball of the space itself.
    """

    def first(self, x: Tensor, space: Space, domain: Any) -> Tensor:
        return torch.zeros_like(x[0])

    def move(self, parameter: Tensor, g: Tensor, share: float, space: Space, domain: Any) -> Tensor:
        low, high = box(domain, parameter)
        changes = cast(Any, SimpleNamespace(kind=domain.kind, low=low - high, high=high - low))  # the largest change that is possible
        region = cast(Any, space.around(torch.zeros_like(parameter)[None], changes))
        return region.project(region.ascend(parameter[None], g[None], region.radius * share))[0]

    def put(self, parameter: Tensor, x: Tensor, domain: Any, rng: Rng) -> Tensor:
        low, high = box(domain, x)
        return torch.minimum(torch.maximum(x + parameter.to(x), low), high)


@dataclass(frozen=True)
class Laid(Form):
    """Turn and shrink a patch, and lay it on a random place of the image.

    The parameter is [channels, side, side], in shares of the way between the bounds.

    rotation: at most so many degrees to either side. smallest: share of its side to which it is shrunk at most.
    """

    rotation: float = 20.0
    smallest: float = 0.9

    def first(self, x: Tensor, space: Space, domain: Any) -> Tensor:
        side = min(max(int(float(space.radius) + 1e-9), 1), *x.shape[2:])
        return torch.full((x.shape[1], side, side), 0.5, dtype=x.dtype, device=x.device)

    def move(self, parameter: Tensor, g: Tensor, share: float, space: Space, domain: Any) -> Tensor:
        return (parameter + share * g.sign()).clamp(0, 1)

    def put(self, parameter: Tensor, x: Tensor, domain: Any, rng: Rng) -> Tensor:
        count, side = len(x), parameter.shape[-1]
        low, high = box(domain, x)
        drawn = [2 * rng.draw(name).uniform(1, dtype=torch.float64) for name in ("angle", "scale")]
        angle = (drawn[0] - 1).squeeze(1) * math.radians(self.rotation)
        grown = 1 / (1 - (1 - self.smallest) * drawn[1].squeeze(1) / 2)
        cosine, sine, zero = grown * angle.cos(), grown * angle.sin(), torch.zeros_like(angle)
        turns = torch.stack([torch.stack([cosine, -sine, zero], 1), torch.stack([sine, cosine, zero], 1)], 1).to(x.dtype)
        grid = F.affine_grid(turns, [count, 1, side, side], align_corners=False)
        shown = F.grid_sample(parameter.to(x).expand(count, -1, -1, -1), grid, padding_mode="border", align_corners=False)
        covers = (grid.abs() <= 1 + 1e-4).all(3)
        offsets = [rng.draw(name).integers(length - side + 1, 1).squeeze(1) for name, length in zip(("upper", "left"), x.shape[2:], strict=True)]
        at = torch.arange(side, device=x.device)
        down, right = offsets[0][:, None, None] + at[:, None], offsets[1][:, None, None] + at[None, :]
        place = (down * x.shape[3] + right).reshape(count, 1, -1)
        flat = x.flatten(2)
        under = flat.gather(2, place.expand(-1, x.shape[1], -1)).reshape(shown.shape)
        window = torch.where(covers[:, None], low + (high - low) * shown, under)
        return flat.scatter(2, place.expand(-1, x.shape[1], -1), window.flatten(2)).reshape(x.shape)


def form_of(space: Space, rotation: float, smallest: float) -> Form | None:
    """Return a patch where the space lays patches, an addition where it is a ball.

    None where neither is defined.
    """
    offers = space.offers()
    if {"stamp", "place", "project"} <= offers:
        return Laid(rotation, smallest)
    return Added() if {"project", "ascend", "dual"} <= offers else None
