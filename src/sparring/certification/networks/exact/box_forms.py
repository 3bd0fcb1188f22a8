"""Linear lower bounds of output rows on many boxes at once, for splitting inputs."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sparring.certification.networks.bounds.backward import propagate
from sparring.certification.networks.bounds.crown import preactivation_bounds, relaxations
from sparring.certification.networks.bounds.inputs import ROUNDING, InputSet
from sparring.certification.networks.bounds.interval import Rounding
from sparring.certification.networks.bounds.relax import Lines
from sparring.certification.networks.query import Query


class Boxes(NamedTuple):
    """Hold boxes over the inputs that are split.

    low, high float64 [k, d] over the inputs that are split; owner int64 [k]: whose query; open_: bool [k, disjuncts], not settled on the box.
    """

    low: Tensor
    high: Tensor
    owner: Tensor
    open_: Tensor

    @property
    def count(self) -> int:
        return len(self.low)

    def take(self, rows: Tensor | slice) -> "Boxes":
        """Return some of the boxes."""
        return Boxes(*(part[rows] for part in self))

    @staticmethod
    def joined(several: Sequence["Boxes"]) -> "Boxes":
        """Return several sets of boxes as one."""
        return several[0] if len(several) == 1 else Boxes(*(torch.cat(parts) for parts in zip(*several, strict=True)))

    @property
    def middle(self) -> Tensor:
        """Return the middles of the boxes."""
        return (self.low + self.high) / 2

    @property
    def half(self) -> Tensor:
        """Return half of each side, plus the possible rounding error."""
        return (self.high - self.low) / 2 + torch.maximum(self.low.abs(), self.high.abs()) * ROUNDING


class Forms(NamedTuple):
    """Hold linear lower bounds of the rows on every box.

    For every box and row: row . y + offset >= slope . t + constant for x = middle + half t, all t in [-1, 1]^d; lower is the least of it.

    slope [k, r, d], constant and lower [k, r]. loss: (places of boxes [m], places of rows [m]) -> [m, d]: how much of what the bounds of these rows
    lose hangs on each input, zero throughout where the form is exact.
    """

    slope: Tensor
    constant: Tensor
    lower: Tensor
    loss: Callable[[Tensor, Tensor], Tensor]


class Former(ABC):
    """Make linear lower bounds on boxes.

    Makes forms for the boxes of some queries on one network. axes int64 [d]: places of the inputs that are split, in the flattened input.
    """

    def __init__(self, query: Query, axes: Tensor):
        self.query, self.axes = query, axes
        self.fixed = query.inputs.low.flatten(1)

    @property
    @abstractmethod
    def piece(self) -> int:
        """Return how many boxes are worth bounding together, at most."""

    @abstractmethod
    def forms(self, boxes: Boxes, rows: Tensor, offset: Tensor) -> Forms:
        """Return the forms of rows [k, r, outputs] and offset [k, r] of every box."""

    def points(self, owner: Tensor, x: Tensor) -> Tensor:
        """Return whole inputs from the numbers of the axes x [k, d], [k, *in]."""
        whole = self.fixed[owner].clone()
        whole[:, self.axes] = x
        return whole.reshape(len(x), *self.query.network.input_shape)


class Crown(Former):
    """Bound the rows of any network by CROWN on every box.

    Any network: bounds of all activations by `preactivation_bounds` on every box, then of the rows. rounding: see `interval.Rounding`, by query where they
    differ.
    """

    def __init__(self, query: Query, axes: Tensor, rounding: Rounding | None = None):
        super().__init__(query, axes)
        network = query.network
        self.rounding = rounding or {}
        width = sum(math.prod(network.shapes[node]) for node in network.nonlinearities)
        self.piece_ = max(1, min(256, (1 << 20) // max(1, width * max(math.prod(shape) for shape in network.shapes))))

    @property
    def piece(self) -> int:
        return self.piece_

    def forms(self, boxes: Boxes, rows: Tensor, offset: Tensor) -> Forms:
        network = self.query.network
        inputs = InputSet(self.points(boxes.owner, boxes.low), self.points(boxes.owner, boxes.high))
        rounding = {node: error[boxes.owner] if error.ndim > len(network.shapes[node]) else error for node, error in self.rounding.items()} or None
        bounds = preactivation_bounds(network, inputs, None, rounding)
        lines = relaxations(network, bounds)
        kept: dict[int, Tensor] = {}
        whole = propagate(network, len(network.nodes) - 1, rows.reshape(*rows.shape[:2], *network.shapes[-1]), lines, None, rounding, kept)
        slope = whole.slope.expand(len(rows), *whole.slope.shape[1:]).flatten(2)
        lower = inputs.minimum(whole.slope, whole.constant) + offset
        small = slope[:, :, self.axes] * boxes.half[:, None]
        constant = lower + small.abs().sum(2)  # so that the least of the form is the bound

        def loss(chosen: Tensor, row: Tensor) -> Tensor:
            """Distance of the lines in the middle of their interval, shared out by how far each input alone moves what goes in."""
            total = boxes.low.new_zeros(len(chosen), len(self.axes))
            if not len(chosen):
                return total
            part = boxes.take(chosen)
            steps = torch.diag_embed(part.half)
            ends = [torch.minimum(torch.maximum(part.middle[:, None] + sign * steps, part.low[:, None]), part.high[:, None]) for sign in (1, -1)]
            owner = part.owner.repeat_interleave(len(self.axes))
            up, down = (network.values(self.points(owner, end.flatten(0, 1))) for end in ends)
            for node, g in kept.items():
                for turn, before in enumerate(network.nodes[node].inputs):
                    bound, line = bounds[before].take(chosen), lines[node]
                    middle, width = (bound.low + bound.high) / 2, (bound.high - bound.low).clamp_min(1e-30)
                    if isinstance(line, Lines):
                        parts = [0.0 if one is None else one.expand(len(boxes.low), *one.shape[1:])[chosen, 0] for one in line]
                        gap = (parts[2] - parts[0]) * middle + (parts[3] - parts[1])
                    else:
                        other = bounds[network.nodes[node].inputs[1 - turn]].take(chosen)
                        gap = width * (other.high - other.low)
                    weight = (g.expand(len(boxes.low), *g.shape[1:])[chosen, row].abs() * gap / width.square()).flatten(1)
                    moved = (up[before] - down[before]).square().reshape(len(chosen), len(self.axes), -1) / 4
                    total = total + torch.bmm(moved, weight[:, :, None]).squeeze(2)
            return total

        return Forms(small, constant, lower, loss)
