"""Ascent of backward bounds in the lower slopes of ReLUs and the multipliers of splits.

Xu et al. 2021, alpha-CROWN, arXiv:2011.13824; Wang et al. 2021, beta-CROWN, arXiv:2103.06624. We differ in how. The gradient is written out: the
linear function that bounds a row is least at a point of the input set, and that point sent forward through the lines gives the derivative for every
slope and multiplier. A step of Adam goes no further than to where the row would be proved, to first order, since multipliers of deep domains weigh
far more than slopes. The search runs in float32; what it finds is sound whatever it is, and the bound that counts is computed anew in float64.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from sparring.certification.networks.bounds.crown import lower, relaxations
from sparring.certification.networks.bounds.inputs import InputSet
from sparring.certification.networks.bounds.interval import Interval, Rounding
from sparring.certification.networks.bounds.relax import Planes, relaxation
from sparring.graph.network import Network
from sparring.graph.operators import Add, Affine, Concat, Relu

NUMBERS = 1 << 21
"""Numbers of one array over all activations of the jobs that are searched together: enough for the matrix products, few enough for the caches."""
FIRST_MOMENT, SECOND_MOMENT = 0.5, 0.999
"""Lower momentum than usual, because the bound has kinks and there are few steps."""


class Optimised(NamedTuple):
    """Hold the optimised bounds of k jobs.

    Of k jobs, one row of one sample each. lower: float64 [k]. slopes, multipliers: by activation, float32 [k, *shape]. points: [k, *in], where the linear
    bound is least.
    """

    lower: Tensor
    slopes: dict[int, Tensor]
    multipliers: dict[int, Tensor]
    points: Tensor


def optimised(
    network: Network, inputs: InputSet, start: int, rows: Tensor, bounds: Mapping[int, Interval], *, samples: Tensor | None = None, steps: int = 20,
    rate: float = 0.1, decay: float = 0.98, slopes: Mapping[int, Tensor] | None = None, multipliers: Mapping[int, Tensor] | None = None,
    signs: Mapping[int, Tensor] | None = None, multiplier_rate: float = 0.05, stop: Tensor | float = 0.0, rounding: Rounding | None = None,
) -> Optimised:  # fmt: skip
    """Lower bounds of k rows on the value of node `start`, each with slopes of its own.

    rows: [k, *shape of start]. samples: int64 [k], whose inputs and bounds each goes with; None where there are k of both. slopes: [k, *shape] by activation,
    to begin with instead of the default. signs: [k, *shape] by activation, of splits: -1 where what goes in is at least 0, +1 where it is at most 0, 0
    elsewhere; `bounds` are cut accordingly. multipliers: to begin with, at least 0, instead of 0. stop: [k] or one number: a job above it is done. Adam with
    `rate`, for multipliers `multiplier_rate`, times `decay` a step; the best of all steps is kept.
    """
    if samples is None:
        samples = torch.arange(len(rows), device=rows.device)
    aim = stop if isinstance(stop, Tensor) else torch.full((len(rows),), float(stop), dtype=rows.dtype, device=rows.device)
    parts = []
    for piece in torch.arange(len(rows), device=rows.device).split(jobs_at_once(network, start)):
        own = samples[piece]
        part = {node: bound.take(own) for node, bound in bounds.items()}
        given = [None if one is None else {node: value[piece] for node, value in one.items()} for one in (slopes, multipliers, signs)]
        own_rounding = None if rounding is None else {node: error[own] if error.ndim > len(network.shapes[node]) else error for node, error in rounding.items()}
        search = _Search.of(network, inputs.take(own), start, rows[piece], part, given[0], given[1], given[2])
        found = search.run(steps, rate, multiplier_rate, decay, aim[piece])
        pressed = {node: value * (given[2] or {})[node].to(value.dtype) for node, value in found.multipliers.items()}
        parts.append(found._replace(lower=certified(network, inputs.take(own), start, rows[piece], part, found.slopes, pressed, own_rounding)))
    return _joined(parts, network, inputs, rows)


class Reading(NamedTuple):
    """Hold the bounds of k jobs at given slopes, and their gradients.

    Of k jobs at given slopes, in float32. value: [k], the bound. points: [k, *in], where it is reached. slopes: by ReLU [k, *shape], of the bound at what
    the ReLU gives. going_in: by ReLU, what goes in when the point is sent through the lines.
    """

    value: Tensor
    points: Tensor
    slopes: dict[int, Tensor]
    going_in: dict[int, Tensor]


def reading(
    network: Network, inputs: InputSet, start: int, rows: Tensor, bounds: Mapping[int, Interval], *, slopes: Mapping[int, Tensor] | None = None,
    multipliers: Mapping[int, Tensor] | None = None, signs: Mapping[int, Tensor] | None = None,
) -> Reading:  # fmt: skip
    """Return the bound of k rows and what decides it, at given slopes and multipliers.

    All arguments are as in `optimised`. The bound is not rounded outward: it is for choosing, not for proving.
    """
    search = _Search.of(network, inputs, start, rows, bounds, slopes, multipliers, signs)
    value, point, going_in = search.bound()
    return Reading(value, point, {node: slope for node, activation in search.activations.items() if (slope := activation.slope) is not None}, going_in)


def certified(
    network: Network, inputs: InputSet, start: int, rows: Tensor, bounds: Mapping[int, Interval], slopes: Mapping[int, Tensor],
    multipliers: Mapping[int, Tensor], rounding: Rounding | None = None,
) -> Tensor:  # fmt: skip
    """Return the bounds of rows [k, *shape] in float64, [k].

    They hold at slopes and signed multipliers [k, *shape] by activation.
    """
    given = {node: slope.to(rows.dtype)[:, None] for node, slope in slopes.items()}
    lines = relaxations(network, {node: bound for node, bound in bounds.items() if node < start}, given)
    added = {node: value.to(rows.dtype)[:, None] for node, value in multipliers.items()}
    return lower(network, inputs, start, rows[:, None], lines, added, rounding).squeeze(1)


def jobs_at_once(network: Network, start: int) -> int:
    """Return how many jobs the search works on together."""
    size = sum(math.prod(network.shapes[node]) for node in network.nonlinearities if node < start)
    return max(16, min(1024, NUMBERS // max(1, size)))


@dataclass(eq=False)
class _Activation:
    """Hold the lines of k jobs, [k, *shape]. least, most: the range of a lower slope. sign: of splits, or None."""

    low: Tensor
    low_shift: Tensor | None
    high: Tensor
    high_shift: Tensor | None
    least: Tensor | None = None
    most: Tensor | None = None
    sign: Tensor | None = None
    multiplier: Tensor | None = None
    side: Tensor | None = None
    chosen: Tensor | None = None
    slope: Tensor | None = None

    @classmethod
    def relu(cls, value: Interval, slope: Tensor | None, sign: Tensor | None, multiplier: Tensor | None, kind: torch.dtype) -> "_Activation":
        positive = value.low >= 0
        open_ = ~positive & (value.high > 0)
        upper = torch.where(open_, value.high / torch.where(open_, value.high - value.low, 1.0), positive.to(value.low.dtype))
        shift = torch.where(open_, -upper * value.low, 0.0).to(kind)
        start = (value.high >= -value.low).to(kind) if slope is None else slope.to(kind)
        least, most = positive.to(kind), (open_ | positive).to(kind)
        begun = None if sign is None else (torch.zeros_like(least) if multiplier is None else multiplier.to(kind).clone())
        return cls(start.clamp(least, most), None, upper.to(kind), shift, least, most, None if sign is None else sign.to(kind), begun)

    def down(self, g: Tensor) -> Tensor:
        self.slope, self.side = g, g >= 0
        self.chosen = torch.where(self.side, self.low, self.high)
        propagated = g * self.chosen
        return propagated if self.multiplier is None or self.sign is None else propagated.addcmul_(self.multiplier, self.sign)

    def up(self, z: Tensor) -> Tensor:
        assert self.chosen is not None
        assert self.side is not None
        y = z * self.chosen
        if self.low_shift is None:
            return y if self.high_shift is None else y.add_(self.high_shift.masked_fill(self.side, 0.0))
        return y.add_(torch.where(self.side, self.low_shift, self.high_shift if self.high_shift is not None else 0.0))


class _Adam:
    """Run Adam on one tensor in place, within bounds."""

    way: Tensor
    """Of the planned step."""

    def __init__(self, tensor: Tensor, least: Tensor | None, most: Tensor | None):
        self.tensor, self.least, self.most = tensor, least, most
        self.first, self.second = torch.zeros_like(tensor), torch.zeros_like(tensor)

    def aim(self, g: Tensor, rate: float, turn: int) -> Tensor:
        """Plan a step of Adam. [k]: what it should gain, to first order."""
        self.first.lerp_(g, 1 - FIRST_MOMENT)
        self.second.mul_(SECOND_MOMENT).addcmul_(g, g, value=1 - SECOND_MOMENT)
        size = (self.second / (1 - SECOND_MOMENT**turn)).sqrt_().add_(1e-12)
        moved = torch.addcdiv(self.tensor, self.first, size, value=rate / (1 - FIRST_MOMENT**turn))
        self.way = (moved.clamp_min_(0.0) if self.least is None else moved.clamp_(self.least, self.most)).sub_(self.tensor)
        return (self.way * g).flatten(1).sum(1)

    def go(self, share: Tensor) -> None:
        """Take a share [k] of it."""
        self.tensor.addcmul_(self.way, share.reshape(-1, *[1] * (self.way.ndim - 1)))

    def keep(self, alive: Tensor) -> None:
        self.first, self.second = self.first[alive], self.second[alive]


@dataclass(eq=False)
class _Search:
    """Run the ascent on the bounds of k jobs."""

    network: Network
    inputs: InputSet
    start: int
    rows: Tensor
    activations: dict[int, _Activation]
    planes: dict[int, Planes]
    at_planes: dict[int, Tensor] = field(default_factory=dict)

    @classmethod
    def of(
        cls, network: Network, inputs: InputSet, start: int, rows: Tensor, bounds: Mapping[int, Interval], slopes: Mapping[int, Tensor] | None,
        multipliers: Mapping[int, Tensor] | None, signs: Mapping[int, Tensor] | None,
    ) -> "_Search":  # fmt: skip
        kind = torch.float32
        activations, planes = {}, {}
        for index in network.nonlinearities:
            node = network.nodes[index]
            if index > start:
                continue
            values = [bounds[before] for before in node.inputs]
            if isinstance(node.operator, Relu):
                slope, sign, multiplier = ((given or {}).get(index) for given in (slopes, signs, multipliers))
                activations[index] = _Activation.relu(values[0], slope, sign, multiplier, kind)
                continue
            lines = relaxation(node.operator, values)
            if isinstance(lines, Planes):
                planes[index] = Planes(*(part.to(kind).squeeze(1) for part in lines))
            else:
                activations[index] = _Activation(lines[0].to(kind).squeeze(1), _lowered(lines[1], kind), lines[2].to(kind).squeeze(1), _lowered(lines[3], kind))
        return cls(single(network), _as(inputs, kind), start, rows.to(kind), activations, planes)

    def run(self, steps: int, rate: float, multiplier_rate: float, decay: float, stop: Tensor) -> Optimised:
        free = {node: activation for node, activation in self.activations.items() if activation.least is not None}
        count = len(self.rows)
        alive = torch.arange(count, device=self.rows.device)
        stop = stop.to(self.rows.dtype) + 1e-6
        best = torch.full_like(stop, -math.inf)
        slopes = {node: activation.low.clone() for node, activation in free.items()}
        multipliers = {node: activation.multiplier.clone() for node, activation in free.items() if activation.multiplier is not None}
        points = torch.zeros(count, *self.network.input_shape, dtype=self.rows.dtype, device=self.rows.device)
        movers = {node: _Adam(activation.low, activation.least, activation.most) for node, activation in free.items()}
        pressers = {node: _Adam(activation.multiplier, None, None) for node, activation in free.items() if activation.multiplier is not None}
        for turn in range(1, steps + 2):
            value, point, going_in = self.bound()
            if turn == 1:
                stop = stop + 1e-4 * value.abs()  # the possible error of float32
            better = value > best[alive]
            if bool(better.any()):
                here, of = alive[better], better
                best[here] = value[of]
                for node, activation in free.items():
                    if node in going_in:
                        slopes[node][here] = activation.low[of]
                        if activation.multiplier is not None:
                            multipliers[node][here] = activation.multiplier[of]
                points[here] = point[of]
            if turn > steps:
                break
            going = ~(value > stop[alive])
            left = int(going.sum())
            if not left:
                break
            gain, busy = torch.zeros_like(value), []
            for node, activation in free.items():
                if node not in going_in:
                    continue
                z = going_in[node]
                assert activation.slope is not None
                if activation.multiplier is not None and activation.sign is not None:
                    gain += pressers[node].aim(z * activation.sign, multiplier_rate * decay ** (turn - 1), turn)
                    busy.append(pressers[node])
                gain += movers[node].aim(activation.slope.clamp_min(0).mul_(z), rate * decay ** (turn - 1), turn)
                busy.append(movers[node])
            share = ((stop[alive] - value) / gain.clamp_min(1e-12)).clamp(0.0, 1.0)  # at most to the point at which it should be positive (Polyak)
            for one in busy:
                one.go(share)
            if left <= 0.75 * len(alive):
                alive = alive[going]
                self._keep(going, movers, pressers)
        return Optimised(best, slopes, multipliers, points)

    def bound(self) -> tuple[Tensor, Tensor, dict[int, Tensor]]:
        """[k] bounds, [k, *in] where they are reached, and by ReLU what goes into it there, along the lines."""
        slope, visited = self._down()
        if self.inputs.is_box:
            point = torch.where(slope > 0, self.inputs.low, self.inputs.high)
        else:
            point = self.inputs.minimizer(slope[:, None]).squeeze(1)
        value, going_in = self._up(point, visited)
        if not self.inputs.is_box:
            reached = (slope * point).flatten(1).sum(1)
            value = value - reached + self.inputs.minimum(slope[:, None], torch.zeros_like(value)[:, None]).squeeze(1)
        return value, point, going_in

    def _down(self) -> tuple[Tensor, list[int]]:
        network = self.network
        waiting: dict[int, Tensor] = {self.start: self.rows}
        visited = []

        def add_slope(index: int, slope: Tensor) -> None:
            waiting[index] = waiting[index] + slope if index in waiting else slope

        for index in range(self.start, 0, -1):
            slope = waiting.pop(index, None)
            if slope is None:
                continue
            visited.append(index)
            node = network.nodes[index]
            operator = node.operator
            if isinstance(operator, Affine):
                add_slope(node.inputs[0], operator.adjoint(slope, network.shapes[node.inputs[0]]))
            elif isinstance(operator, Add):
                for before in node.inputs:
                    add_slope(before, slope)
            elif isinstance(operator, Concat):
                sizes = [network.shapes[before][operator.axis] for before in node.inputs]
                for before, part in zip(node.inputs, slope.split(sizes, operator.axis + 1), strict=True):
                    add_slope(before, part)
            elif index in self.activations:
                add_slope(node.inputs[0], self.activations[index].down(slope))
            else:
                one, other, _ = _plane(self.planes[index], slope)
                add_slope(node.inputs[0], slope * one)
                add_slope(node.inputs[1], slope * other)
                self.at_planes[index] = slope
        return waiting.get(0, self.rows.new_zeros(len(self.rows), *network.input_shape)), visited[::-1]

    def _up(self, point: Tensor, visited: list[int]) -> tuple[Tensor, dict[int, Tensor]]:
        values: dict[int, Tensor] = {0: point}
        going_in: dict[int, Tensor] = {}
        extra = None
        for index in visited:
            node = self.network.nodes[index]
            taken = [values[before] for before in node.inputs]
            if index in self.activations:
                activation = self.activations[index]
                (z,) = taken
                going_in[index] = z
                values[index] = activation.up(z)
                if activation.multiplier is not None and activation.sign is not None:
                    pressed = (activation.multiplier * activation.sign * z).flatten(1).sum(1)
                    extra = pressed if extra is None else extra + pressed
            elif index in self.planes:
                one, other, shift = _plane(self.planes[index], self.at_planes[index])
                values[index] = one * taken[0] + other * taken[1] + shift
            else:
                values[index] = node.operator(*taken)
        value = (self.rows * values[self.start]).flatten(1).sum(1)
        return (value if extra is None else value + extra), going_in

    def _keep(self, going: Tensor, movers: dict[int, _Adam], pressers: dict[int, _Adam]) -> None:
        """Drop the jobs that are done."""
        self.inputs, self.rows = self.inputs.take(going), self.rows[going]
        self.planes = {node: Planes(*(part[going] for part in plane)) for node, plane in self.planes.items()}
        for activation in self.activations.values():
            for name in ("low", "low_shift", "high", "high_shift", "least", "most", "sign", "multiplier"):
                value = getattr(activation, name)
                if value is not None:
                    setattr(activation, name, value[going])
            activation.side = activation.chosen = activation.slope = None
        for node, mover in movers.items():
            mover.keep(going)
            activation = self.activations[node]
            mover.tensor, mover.least, mover.most = activation.low, activation.least, activation.most
        for node, presser in pressers.items():
            presser.keep(going)
            multiplier = self.activations[node].multiplier
            assert multiplier is not None
            presser.tensor = multiplier


@lru_cache(maxsize=8)
def single(network: Network) -> Network:
    """Return the network in float32, for searches."""
    return network.to(torch.float32)


def _as(inputs: InputSet, kind: torch.dtype) -> InputSet:
    if inputs.center is None or inputs.radius is None:
        return InputSet(inputs.low.to(kind), inputs.high.to(kind))
    return InputSet(inputs.low.to(kind), inputs.high.to(kind), inputs.center.to(kind), inputs.radius.to(kind), inputs.order)


def _lowered(shift: Tensor | None, kind: torch.dtype) -> Tensor | None:
    return None if shift is None else shift.to(kind).squeeze(1)


def _plane(planes: Planes, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    up = g >= 0
    return torch.where(up, planes.below_x, planes.above_x), torch.where(up, planes.below_y, planes.above_y), torch.where(up, planes.below, planes.above)


def _joined(parts: list[Optimised], network: Network, inputs: InputSet, rows: Tensor) -> Optimised:
    if not parts:
        return Optimised(rows.new_zeros(0), {}, {}, inputs.low.new_zeros(0, *network.input_shape))
    slopes = {node: torch.cat([part.slopes[node] for part in parts]) for node in parts[0].slopes}
    multipliers = {node: torch.cat([part.multipliers[node] for part in parts]) for node in parts[0].multipliers}
    return Optimised(torch.cat([part.lower for part in parts]), slopes, multipliers, torch.cat([part.points for part in parts]))
