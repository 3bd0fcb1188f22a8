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

from sparring.certification.bounds.crown import lower, relaxations
from sparring.certification.bounds.inputs import InputSet
from sparring.certification.bounds.interval import Bands, Interval
from sparring.certification.bounds.relax import Planes, relaxation
from sparring.models.network.network import Network
from sparring.models.network.operators import Add, Affine, Concat, Relu

NUMBERS = 1 << 21
"""Of one array over all bends of the jobs that are searched together: enough for the matrix products, little enough for the caches."""
FIRST_MOMENT, SECOND_MOMENT = 0.5, 0.999
"""Less momentum than is usual: the bound has kinks, and there are few steps."""


class Optimised(NamedTuple):
    """Of k jobs, one row of one sample each. lower: float64 [k]. slopes, multipliers: by bend, float32 [k, *shape]. points: [k, *in], where the linear
    bound is least."""

    lower: Tensor
    slopes: dict[int, Tensor]
    multipliers: dict[int, Tensor]
    points: Tensor


def optimised(
    network: Network, inputs: InputSet, start: int, rows: Tensor, bounds: Mapping[int, Interval], *, samples: Tensor | None = None, steps: int = 20,
    rate: float = 0.1, decay: float = 0.98, slopes: Mapping[int, Tensor] | None = None, multipliers: Mapping[int, Tensor] | None = None,
    signs: Mapping[int, Tensor] | None = None, multiplier_rate: float = 0.05, stop: Tensor | float = 0.0, bands: Bands | None = None,
) -> Optimised:  # fmt: skip
    """Lower bounds of k rows on the value of node `start`, each with slopes of its own.

    rows: [k, *shape of start]. samples: int64 [k], whose inputs and bounds each goes with; None where there are k of both. slopes: [k, *shape] by bend, to
    begin with instead of the default. signs: [k, *shape] by bend, of splits: -1 where what goes in is at least 0, +1 where it is at most 0, 0 elsewhere;
    `bounds` are cut accordingly. multipliers: to begin with, at least 0, instead of 0. stop: [k] or one number: a job above it is done. Adam with
    `rate`, for multipliers `multiplier_rate`, times `decay` a step; the best of all steps is kept.
    """
    if samples is None:
        samples = torch.arange(len(rows), device=rows.device)
    aim = stop if isinstance(stop, Tensor) else torch.full((len(rows),), float(stop), dtype=rows.dtype, device=rows.device)
    parts = []
    for piece in torch.arange(len(rows), device=rows.device).split(jobs_at_once(network, start)):
        own = samples[piece]
        part = {place: bound.take(own) for place, bound in bounds.items()}
        given = [None if one is None else {place: value[piece] for place, value in one.items()} for one in (slopes, multipliers, signs)]
        bent = None if bands is None else {place: band[own] if band.ndim > len(network.shapes[place]) else band for place, band in bands.items()}
        search = _Search.of(network, inputs.take(own), start, rows[piece], part, given[0], given[1], given[2])
        found = search.run(steps, rate, multiplier_rate, decay, aim[piece])
        pressed = {place: value * (given[2] or {})[place].to(value.dtype) for place, value in found.multipliers.items()}
        parts.append(found._replace(lower=certified(network, inputs.take(own), start, rows[piece], part, found.slopes, pressed, bent)))
    return _joined(parts, network, inputs, rows)


class Reading(NamedTuple):
    """Of k jobs at given slopes, in float32. value: [k], the bound. points: [k, *in], where it is reached. slopes: by ReLU [k, *shape], of the bound at what
    the ReLU gives. going_in: by ReLU, what goes in when the point is sent through the lines."""

    value: Tensor
    points: Tensor
    slopes: dict[int, Tensor]
    going_in: dict[int, Tensor]


def reading(
    network: Network, inputs: InputSet, start: int, rows: Tensor, bounds: Mapping[int, Interval], *, slopes: Mapping[int, Tensor] | None = None,
    multipliers: Mapping[int, Tensor] | None = None, signs: Mapping[int, Tensor] | None = None,
) -> Reading:  # fmt: skip
    """The bound of k rows and what decides it, at given slopes and multipliers, all as in `optimised`. Not rounded outward: for choosing, not for proving."""
    search = _Search.of(network, inputs, start, rows, bounds, slopes, multipliers, signs)
    value, point, going_in = search.bound()
    return Reading(value, point, {place: slope for place, bend in search.bends.items() if (slope := bend.slope) is not None}, going_in)


def certified(
    network: Network, inputs: InputSet, start: int, rows: Tensor, bounds: Mapping[int, Interval], slopes: Mapping[int, Tensor],
    multipliers: Mapping[int, Tensor], bands: Bands | None = None,
) -> Tensor:  # fmt: skip
    """[k]: the bounds of rows [k, *shape] in float64 at slopes and signed multipliers [k, *shape] by bend."""
    given = {place: slope.to(rows.dtype)[:, None] for place, slope in slopes.items()}
    lines = relaxations(network, {place: bound for place, bound in bounds.items() if place < start}, given)
    added = {place: value.to(rows.dtype)[:, None] for place, value in multipliers.items()}
    return lower(network, inputs, start, rows[:, None], lines, added, bands).squeeze(1)


def jobs_at_once(network: Network, start: int) -> int:
    """Of how many jobs the search works on together."""
    size = sum(math.prod(network.shapes[place]) for place in network.bends if place < start)
    return max(16, min(1024, NUMBERS // max(1, size)))


@dataclass(eq=False)
class _Bend:
    """Lines of k jobs, [k, *shape]. least, most: between which a lower slope is free. sign: of splits, or None."""

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
    def relu(cls, value: Interval, slope: Tensor | None, sign: Tensor | None, multiplier: Tensor | None, kind: torch.dtype) -> "_Bend":
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
        pulled = g * self.chosen
        return pulled if self.multiplier is None or self.sign is None else pulled.addcmul_(self.multiplier, self.sign)

    def up(self, z: Tensor) -> Tensor:
        assert self.chosen is not None
        assert self.side is not None
        y = z * self.chosen
        if self.low_shift is None:
            return y if self.high_shift is None else y.add_(self.high_shift.masked_fill(self.side, 0.0))
        return y.add_(torch.where(self.side, self.low_shift, self.high_shift if self.high_shift is not None else 0.0))


class _Adam:
    """Ascent on one tensor in place, within bounds."""

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
    """Ascent on the bounds of k jobs."""

    network: Network
    inputs: InputSet
    start: int
    rows: Tensor
    bends: dict[int, _Bend]
    planes: dict[int, Planes]
    at_planes: dict[int, Tensor] = field(default_factory=dict)

    @classmethod
    def of(
        cls, network: Network, inputs: InputSet, start: int, rows: Tensor, bounds: Mapping[int, Interval], slopes: Mapping[int, Tensor] | None,
        multipliers: Mapping[int, Tensor] | None, signs: Mapping[int, Tensor] | None,
    ) -> "_Search":  # fmt: skip
        kind = torch.float32
        bends, planes = {}, {}
        for place in network.bends:
            node = network.nodes[place]
            if place > start:
                continue
            values = [bounds[before] for before in node.inputs]
            if isinstance(node.operator, Relu):
                slope, sign, multiplier = ((given or {}).get(place) for given in (slopes, signs, multipliers))
                bends[place] = _Bend.relu(values[0], slope, sign, multiplier, kind)
                continue
            lines = relaxation(node.operator, values)
            if isinstance(lines, Planes):
                planes[place] = Planes(*(part.to(kind).squeeze(1) for part in lines))
            else:
                bends[place] = _Bend(lines[0].to(kind).squeeze(1), _lowered(lines[1], kind), lines[2].to(kind).squeeze(1), _lowered(lines[3], kind))
        return cls(single(network), _as(inputs, kind), start, rows.to(kind), bends, planes)

    def run(self, steps: int, rate: float, multiplier_rate: float, decay: float, stop: Tensor) -> Optimised:
        free = {place: bend for place, bend in self.bends.items() if bend.least is not None}
        count = len(self.rows)
        alive = torch.arange(count, device=self.rows.device)
        stop = stop.to(self.rows.dtype) + 1e-6
        best = torch.full_like(stop, -math.inf)
        slopes = {place: bend.low.clone() for place, bend in free.items()}
        multipliers = {place: bend.multiplier.clone() for place, bend in free.items() if bend.multiplier is not None}
        points = torch.zeros(count, *self.network.input_shape, dtype=self.rows.dtype, device=self.rows.device)
        movers = {place: _Adam(bend.low, bend.least, bend.most) for place, bend in free.items()}
        pressers = {place: _Adam(bend.multiplier, None, None) for place, bend in free.items() if bend.multiplier is not None}
        for turn in range(1, steps + 2):
            value, point, going_in = self.bound()
            if turn == 1:
                stop = stop + 1e-4 * value.abs()  # what float32 may be off by
            better = value > best[alive]
            if bool(better.any()):
                here, of = alive[better], better
                best[here] = value[of]
                for place, bend in free.items():
                    if place in going_in:
                        slopes[place][here] = bend.low[of]
                        if bend.multiplier is not None:
                            multipliers[place][here] = bend.multiplier[of]
                points[here] = point[of]
            if turn > steps:
                break
            going = ~(value > stop[alive])
            left = int(going.sum())
            if not left:
                break
            gain, busy = torch.zeros_like(value), []
            for place, bend in free.items():
                if place not in going_in:
                    continue
                z = going_in[place]
                assert bend.slope is not None
                if bend.multiplier is not None and bend.sign is not None:
                    gain += pressers[place].aim(z * bend.sign, multiplier_rate * decay ** (turn - 1), turn)
                    busy.append(pressers[place])
                gain += movers[place].aim(bend.slope.clamp_min(0).mul_(z), rate * decay ** (turn - 1), turn)
                busy.append(movers[place])
            share = ((stop[alive] - value) / gain.clamp_min(1e-12)).clamp(0.0, 1.0)  # no further than where it should be positive (Polyak)
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

        def hand(place: int, slope: Tensor) -> None:
            waiting[place] = waiting[place] + slope if place in waiting else slope

        for place in range(self.start, 0, -1):
            slope = waiting.pop(place, None)
            if slope is None:
                continue
            visited.append(place)
            node = network.nodes[place]
            operator = node.operator
            if isinstance(operator, Affine):
                hand(node.inputs[0], operator.adjoint(slope, network.shapes[node.inputs[0]]))
            elif isinstance(operator, Add):
                for before in node.inputs:
                    hand(before, slope)
            elif isinstance(operator, Concat):
                sizes = [network.shapes[before][operator.axis] for before in node.inputs]
                for before, part in zip(node.inputs, slope.split(sizes, operator.axis + 1), strict=True):
                    hand(before, part)
            elif place in self.bends:
                hand(node.inputs[0], self.bends[place].down(slope))
            else:
                one, other, _ = _plane(self.planes[place], slope)
                hand(node.inputs[0], slope * one)
                hand(node.inputs[1], slope * other)
                self.at_planes[place] = slope
        return waiting.get(0, self.rows.new_zeros(len(self.rows), *network.input_shape)), visited[::-1]

    def _up(self, point: Tensor, visited: list[int]) -> tuple[Tensor, dict[int, Tensor]]:
        values: dict[int, Tensor] = {0: point}
        going_in: dict[int, Tensor] = {}
        extra = None
        for place in visited:
            node = self.network.nodes[place]
            taken = [values[before] for before in node.inputs]
            if place in self.bends:
                bend = self.bends[place]
                (z,) = taken
                going_in[place] = z
                values[place] = bend.up(z)
                if bend.multiplier is not None and bend.sign is not None:
                    pressed = (bend.multiplier * bend.sign * z).flatten(1).sum(1)
                    extra = pressed if extra is None else extra + pressed
            elif place in self.planes:
                one, other, shift = _plane(self.planes[place], self.at_planes[place])
                values[place] = one * taken[0] + other * taken[1] + shift
            else:
                values[place] = node.operator(*taken)
        value = (self.rows * values[self.start]).flatten(1).sum(1)
        return (value if extra is None else value + extra), going_in

    def _keep(self, going: Tensor, movers: dict[int, _Adam], pressers: dict[int, _Adam]) -> None:
        """Drop the jobs that are done."""
        self.inputs, self.rows = self.inputs.take(going), self.rows[going]
        self.planes = {place: Planes(*(part[going] for part in plane)) for place, plane in self.planes.items()}
        for bend in self.bends.values():
            for name in ("low", "low_shift", "high", "high_shift", "least", "most", "sign", "multiplier"):
                value = getattr(bend, name)
                if value is not None:
                    setattr(bend, name, value[going])
            bend.side = bend.chosen = bend.slope = None
        for place, mover in movers.items():
            mover.keep(going)
            bend = self.bends[place]
            mover.tensor, mover.least, mover.most = bend.low, bend.least, bend.most
        for place, presser in pressers.items():
            presser.keep(going)
            multiplier = self.bends[place].multiplier
            assert multiplier is not None
            presser.tensor = multiplier


@lru_cache(maxsize=8)
def single(network: Network) -> Network:
    """The network in float32, for searches."""
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
    slopes = {place: torch.cat([part.slopes[place] for part in parts]) for place in parts[0].slopes}
    multipliers = {place: torch.cat([part.multipliers[place] for part in parts]) for place in parts[0].multipliers}
    return Optimised(torch.cat([part.lower for part in parts]), slopes, multipliers, torch.cat([part.points for part in parts]))
