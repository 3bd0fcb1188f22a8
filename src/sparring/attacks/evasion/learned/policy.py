"""A small network that proposes windows for a random search: where, how large, in which colours."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparring.core.rng import Rng

GRID = 7
"""Largest number of cells along each side of an image; the centre of a window lies in one of them."""

SCALES = (0.5, 1.0, 2.0)
"""Window sides to choose from, as multiples of the side in the schedule of Square."""

FIRST = (-2.0, 0.0, -2.0)
"""Log weights of these sides before training, which mostly choose the side of Square."""

FADES = 0.95
"""Decay of the memory of earlier windows per further window."""


class Seen(NamedTuple):
    """Hold what a proposal may depend on.

    What a proposal may depend on, row by row. clean: [m, c, gh, gw], the image in shares of its range. signs: [m, c, gh, gw],
    how far the change leans to its upper (+1) or lower (-1) edge. kept, refused: [m, 1, gh, gw], windows tried lately
    with their middle there. reference class: int64 [m]. side: of the window by the schedule, as a share of the image.
    """

    clean: Tensor
    signs: Tensor
    kept: Tensor
    refused: Tensor
    reference_class: Tensor
    side: float


class Proposal(NamedTuple):
    """Hold the windows proposed, one per row.

    row, column: int64 [m], the cell of the middle. scale: int64 [m], place in SCALES. signs: [m, c], +1 or -1.
    """

    row: Tensor
    column: Tensor
    scale: Tensor
    signs: Tensor


class Policy(nn.Module):
    """Compute preferences over windows by two convolutions over the grid.

    It begins indifferent, as the search without it.
    """

    def __init__(self, channels: int, classes: int, width: int = 16):
        super().__init__()
        self.channels = channels
        self.first = nn.Conv2d(2 * channels + 5, width, 3, padding=1)
        self.reference_class = nn.Embedding(classes, width)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.whole = nn.Linear(width, width)
        self.last = nn.Conv2d(width, len(SCALES) + channels, 1)
        nn.init.zeros_(self.last.weight)
        self.last.bias = nn.Parameter(torch.tensor([*FIRST, *[0.0] * channels]))

    def forward(self, seen: Seen) -> tuple[Tensor, Tensor]:
        """Return log chances of (scale, cell), and leanings to the upper edge.

        They are [m, scales * gh * gw] and [m, c, gh, gw].
        """
        count, _, height, width = seen.clean.shape
        down = torch.linspace(-1, 1, height, dtype=seen.clean.dtype, device=seen.clean.device).reshape(1, 1, -1, 1).expand(count, 1, height, width)
        right = torch.linspace(-1, 1, width, dtype=seen.clean.dtype, device=seen.clean.device).reshape(1, 1, 1, -1).expand(count, 1, height, width)
        side = torch.full_like(down, seen.side)
        inner = self.first(torch.cat([seen.clean, seen.signs, seen.kept, seen.refused, down, right, side], 1))
        inner = F.relu(inner + self.reference_class(seen.reference_class)[:, :, None, None])
        inner = F.relu(self.second(inner) + self.whole(inner.mean((2, 3)))[:, :, None, None])
        said = self.last(inner)
        return said[:, : len(SCALES)].flatten(1).log_softmax(1), said[:, len(SCALES) :]


def grid_of(height: int, width: int) -> tuple[int, int]:
    """Return the number of cells down and across of an image of this size."""
    return min(GRID, height), min(GRID, width)


def drawn(chances: Tensor, leanings: Tensor, rng: Rng) -> Proposal:
    """Return a proposal by lot, each row with its own rng."""
    _, channels, height, width = leanings.shape
    cumulative = chances.double().exp().cumsum(1)
    at = rng.draw("cell").uniform(1, dtype=torch.float64) * cumulative[:, -1:]
    place = torch.searchsorted(cumulative, at, right=True).squeeze(1).clamp_max(cumulative.shape[1] - 1)
    cell = place % (height * width)
    up = torch.sigmoid(leanings.double().flatten(2).gather(2, cell[:, None, None].expand(-1, channels, 1)).squeeze(2))
    signs = torch.where(rng.draw("signs").uniform(channels, dtype=torch.float64) < up, 1.0, -1.0).to(leanings.dtype)
    return Proposal(cell // width, cell % width, place // (height * width), signs)


def log_chance(chances: Tensor, leanings: Tensor, made: Proposal) -> Tensor:
    """Return the logarithm of the chance of a proposal, differentiable, [m]."""
    _, channels, height, width = leanings.shape
    cell = made.row * width + made.column
    where = chances.gather(1, (made.scale * height * width + cell)[:, None]).squeeze(1)
    lean = leanings.flatten(2).gather(2, cell[:, None, None].expand(-1, channels, 1)).squeeze(2)
    return where + F.logsigmoid(made.signs * lean).sum(1)


def window(made: Proposal, side: int, shape: tuple[int, int], rng: Rng) -> Tensor:
    """Return the square of a proposal, bool [m, 1, height, width].

    Its middle lies anywhere in the cell; the square is moved into the image.
    """
    inside = []
    for name, cell, length, cells in zip(("down", "right"), (made.row, made.column), shape, grid_of(*shape), strict=True):
        scales = torch.tensor([max(1, min(round(side * scale), *shape)) for scale in SCALES], device=cell.device)
        own = scales[made.scale]
        middle = ((cell + rng.draw(name).uniform(1, dtype=torch.float64).squeeze(1)) * length / cells).long()
        start = (middle - own // 2).clamp_min(0).minimum(length - own)
        at = torch.arange(length, device=cell.device)
        inside.append((at >= start[:, None]) & (at < (start + own)[:, None]))
    return (inside[0][:, :, None] & inside[1][:, None, :])[:, None]
