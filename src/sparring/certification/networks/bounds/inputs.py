"""Input sets: per sample a box, or a box intersected with an L2 or L1 ball; minima over them."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

ROUNDING = 1e-11
"""Share of the summed magnitudes by which a bound is lowered for rounding in float64: a thousand times the error of sums of some
thousand terms. Proof files are checked with rigorous error terms instead."""


@dataclass(frozen=True, eq=False)
class InputSet:
    """Hold one set of inputs per sample.

    One set a sample: low <= x <= high, float64 [n, *in], and where `order` is 2 or 1 also |x - center|_order <= radius ([n]).
    """

    low: Tensor
    high: Tensor
    center: Tensor | None = None
    radius: Tensor | None = None
    order: float = math.inf

    def __len__(self) -> int:
        return len(self.low)

    def take(self, rows: Tensor) -> "InputSet":
        """Return the sets of these samples."""
        ball = {} if self.center is None or self.radius is None else {"center": self.center[rows], "radius": self.radius[rows]}
        return replace(self, low=self.low[rows], high=self.high[rows], **ball)

    @property
    def middle(self) -> Tensor:
        """Return a point of each set: the centre of the ball (which lies in the box) or of the box."""
        return (self.low + self.high) / 2 if self.center is None else self.center

    @property
    def is_box(self) -> bool:
        """Return whether the sets are boxes."""
        return self.center is None

    def contains(self, x: Tensor) -> Tensor:
        """Return bool [n]: whether each x [n, *in] lies in its set."""
        inside = ((x >= self.low) & (x <= self.high)).flatten(1).all(1)
        if self.center is None or self.radius is None:
            return inside
        return inside & (torch.linalg.vector_norm((x - self.center).flatten(1), ord=self.order, dim=1) <= self.radius)

    def minimum(self, slope: Tensor, constant: Tensor) -> Tensor:
        """Return the least of slope . x + constant over each set, [n, r], rounded down.

        slope [n or 1, r, *in], constant [n, r].
        """
        flat = slope.flatten(2)
        low, high = self.low.flatten(1), self.high.flatten(1)
        largest = torch.maximum(low.abs(), high.abs()) * ROUNDING
        middle, half = (low + high) / 2, (high - low) / 2 + largest
        least = _dot(flat, middle) - _dot(flat.abs(), half)
        if self.center is not None and self.radius is not None:
            center = self.center.flatten(1)
            room = torch.where(flat > 0, (center - low)[:, None], (high - center)[:, None]).clamp_min(0)
            gain = _gain(flat.abs(), room, self.radius[:, None], self.order)
            least = torch.maximum(least, _dot(flat, center) - gain - _dot(flat.abs(), largest))
        return least + constant - constant.abs() * ROUNDING

    def minimizer(self, slope: Tensor) -> Tensor:
        """Return points that minimise slope . x (for a ball: approximately), [n, r, *in]."""
        low, high = self.low[:, None], self.high[:, None]
        if self.center is None or self.radius is None:
            return torch.where(slope > 0, low, high).expand(len(self), *slope.shape[1:])
        center, steep = self.center[:, None], slope.flatten(2)
        if self.order == 2:
            way = steep / steep.norm(dim=2, keepdim=True).clamp_min(1e-300)
        else:
            way = torch.zeros_like(steep).scatter(2, steep.abs().argmax(2, keepdim=True), 1.0) * steep.sign()
        step = way.reshape(slope.shape) * self.radius.reshape(-1, *[1] * (slope.ndim - 1))
        return torch.minimum(torch.maximum(center - step, low), high)

    def split(self, axis: Tensor) -> "InputSet":
        """Split each box in the middle of one input: [2 n], the lower halves first.

        axis: int64 [n], places in the flattened input.
        """
        if self.center is not None:
            raise ValueError("only boxes are cut")
        low, high = self.low.flatten(1), self.high.flatten(1)
        here = axis[:, None]
        middle = (low.gather(1, here) + high.gather(1, here)) / 2
        shape = self.low.shape
        return InputSet(
            torch.cat([low, low.scatter(1, here, middle)]).reshape(-1, *shape[1:]), torch.cat([high.scatter(1, here, middle), high]).reshape(-1, *shape[1:])
        )


def _dot(slope: Tensor, x: Tensor) -> Tensor:
    """[n, r] of slope [n or 1, r, d] and x [n, d]."""
    if len(slope) == 1:
        return x @ slope[0].T
    return torch.bmm(slope, x[:, :, None]).squeeze(2)


def _gain(steep: Tensor, room: Tensor, radius: Tensor, order: float) -> Tensor:
    """The most that a step d with 0 <= d <= room and |d|_order <= radius gains along steep >= 0, from above: [n, r].

    L1: a fractional knapsack, steepest first. L2: the Lagrangian bound sum_i max_d (steep d - m d^2 / 2) + m radius^2 / 2, an upper bound for
    every m > 0, at the best m among the breakpoints and between them."""
    radius = radius.expand(steep.shape[:2])
    if order == 1:
        steepest, places = steep.expand(room.shape).sort(dim=2, descending=True)
        rooms = room.gather(2, places)
        before = rooms.cumsum(2) - rooms
        taken = torch.minimum(rooms, (radius[:, :, None] - before).clamp_min(0))
        return (steepest * taken).sum(2)
    steep = steep.expand(room.shape)
    squares = steep.square().sum(2)
    stuck = torch.zeros_like(steep, dtype=torch.bool)
    scale = radius / squares.clamp_min(1e-300).sqrt()  # d = min(scale steep, room), the scale grows as coordinates reach their room
    for _ in range(20):
        reached = scale[:, :, None] * steep >= room
        if bool((reached == stuck).all()):
            break
        stuck = reached
        left = (radius.square() - (room * stuck).square().sum(2)).clamp_min(0)
        free = torch.where(stuck, 0.0, steep).square().sum(2)
        further = torch.where(free > 0, (left / free.clamp_min(1e-300)).sqrt(), scale)
        scale = torch.maximum(scale, further)
    weight = 1 / scale.clamp_min(1e-300)
    best = torch.minimum(scale[:, :, None] * steep, room)
    lagrangian = (steep * best - weight[:, :, None] * best.square() / 2).sum(2) + weight * radius.square() / 2
    return torch.where(radius > 0, torch.minimum(lagrangian, radius * squares.sqrt()), 0.0)
