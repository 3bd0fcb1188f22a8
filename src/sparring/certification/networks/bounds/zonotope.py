"""Zonotopes: every number is a centre plus shared symbols in [-1, 1].

Singh et al. 2018, "Fast and effective robustness certification" (DeepZ), section 4. We differ in the number of symbols, which is bounded: the widest inputs and
the largest errors of activations get symbols of their own, the others are merged into a box around the zonotope. `exact.zonotopes` does the same for plain
stacks written out as matrices, where a few inputs are cut many times.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from sparring.certification.networks.bounds.inputs import ROUNDING, InputSet
from sparring.certification.networks.bounds.interval import Interval, Rounding
from sparring.graph.network import Network
from sparring.graph.operators import Add, Affine, Concat, Operator, Product, Relu, Sigmoid, Tanh

NUMBERS = 1 << 24
"""Numbers of float64 that the symbols of one value should take: 128 MiB. Samples are divided into groups accordingly."""
LARGEST = 1 << 25
"""Largest number for a single sample; if more were needed, there are fewer symbols."""
SYMBOLS = 8000


class Zonotope(NamedTuple):
    """Hold one zonotope per sample.

    center + symbols . e + something within error, for e in [-1, 1]^s: center, error [n, *shape], symbols [n, s, *shape]. Symbols have the same
    meaning in all values of a network, and those that a value lacks at the end are 0.
    """

    center: Tensor
    symbols: Tensor
    error: Tensor

    @property
    def reach(self) -> Tensor:
        """Return how far it extends from its centre, [n, *shape]."""
        return self.symbols.abs().sum(1) + self.error

    @property
    def interval(self) -> Interval:
        """Return its interval hull."""
        reach = self.reach
        return Interval(self.center - reach, self.center + reach)

    def wide(self, count: int) -> Tensor:
        """Return its symbols, filled up to `count`."""
        missing = count - self.symbols.shape[1]
        return torch.cat([self.symbols, self.symbols.new_zeros(len(self.symbols), missing, *self.symbols.shape[2:])], 1) if missing else self.symbols


class ZonotopeBounds(NamedTuple):
    """Hold the bounds from zonotopes.

    bounds: of what goes into activations, by node, [n, *shape]. lower: float64 [n, r], lower bounds of the rows.
    """

    bounds: dict[int, Interval]
    lower: Tensor


def zonotope_bounds(
    network: Network, inputs: InputSet, rows: Tensor, known: Mapping[int, Interval] | None = None, rounding: Rounding | None = None, *, symbols: int = SYMBOLS
) -> ZonotopeBounds:
    """Bound activations and rows by one forward pass of zonotopes.

    Bounds from zonotopes; rows float64 [n, r, outputs] on the output, a linear last layer elided. known: bounds that hold already.
    symbols: how many at most.
    """
    widest = max(math.prod(shape) for shape in network.shapes)
    symbols = min(symbols, LARGEST // max(1, widest))
    width = widest * min(symbols, sum(math.prod(shape) for shape in network.shapes))
    parts: list[ZonotopeBounds] = []
    for samples in torch.arange(len(inputs), device=rows.device).split(max(1, NUMBERS // max(1, width))):
        own = {node: bound.take(samples) for node, bound in (known or {}).items()}
        own_rounding = {node: error[samples] if error.ndim > len(network.shapes[node]) else error for node, error in (rounding or {}).items()}
        parts.append(_bounds(network, inputs.take(samples), rows[samples], own, own_rounding, symbols))
    places = parts[0].bounds if parts else {}
    bounds = {node: Interval(*(torch.cat(edges) for edges in zip(*(part.bounds[node] for part in parts), strict=True))) for node in places}
    return ZonotopeBounds(bounds, torch.cat([part.lower for part in parts]))


def _bounds(network: Network, inputs: InputSet, rows: Tensor, known: Mapping[int, Interval], rounding: Rounding, most: int) -> ZonotopeBounds:
    moving = int((inputs.high > inputs.low).flatten(1).any(0).sum())
    values: dict[int, Zonotope] = {0: from_box(inputs, most if 2 * moving <= most else most // 2)}  # activations need some too
    used, bounds = values[0].symbols.shape[1], {}
    last = len(network.nodes) - 1
    elided = isinstance(network.nodes[last].operator, Affine) and last not in rounding
    until = {before: index for index, node in enumerate(network.nodes) for before in node.inputs}
    for index in range(1, last if elided else last + 1):
        node = network.nodes[index]
        taken = [values[before] for before in node.inputs]
        if index in network.nonlinearities:
            for before, value in zip(node.inputs, taken, strict=True):
                bounds[before] = value.interval.cut(known[before]) if before in known else value.interval
        edges = [bounds[before] for before in node.inputs] if index in network.nonlinearities else []
        value = through(node.operator, taken, edges, most - used, used)
        used = max(used, value.symbols.shape[1])
        values[index] = value._replace(error=value.error + rounding[index]) if index in rounding else value
        for before in set(node.inputs):
            if until[before] == index:
                del values[before]
    return ZonotopeBounds(bounds, _least(network, values, rows, elided))


def from_box(inputs: InputSet, most: int) -> Zonotope:
    """Return the box of an input set as a zonotope.

    It has symbols for the `most` inputs that are widest in any sample.
    """
    center, half = (inputs.low + inputs.high) / 2, (inputs.high - inputs.low) / 2
    half = half + torch.maximum(inputs.low.abs(), inputs.high.abs()) * ROUNDING * (half > 0)
    flat = half.flatten(1)
    widest = flat.amax(0)
    chosen = widest.topk(min(most, int((widest > 0).sum()))).indices.sort().values
    symbols = flat.new_zeros(len(flat), len(chosen), flat.shape[1])
    symbols[:, torch.arange(len(chosen)), chosen] = flat[:, chosen]
    error = flat.index_fill(1, chosen, 0.0)
    return Zonotope(center, symbols.reshape(len(flat), len(chosen), *center.shape[1:]), error.reshape(center.shape))


def through(operator: Operator, values: list[Zonotope], bounds: list[Interval], room: int, used: int) -> Zonotope:
    """Return the zonotope of the output of an operator.

    bounds: of what goes into an activation. room: how many new symbols there may be, behind the `used` first.
    """
    if isinstance(operator, Affine):
        (value,) = values
        size = operator.absolute(value.center.abs() + value.reach)
        moved = operator.linear(value.symbols.flatten(0, 1)).unflatten(0, value.symbols.shape[:2])
        constant = operator.constant
        slack = ROUNDING * (size if constant is None else size + constant.abs())
        return Zonotope(operator(value.center), moved, operator.absolute(value.error) + slack)
    if isinstance(operator, Add | Concat):
        count = max(value.symbols.shape[1] for value in values)
        wide = [value.wide(count) for value in values]
        joined = operator(*wide) if isinstance(operator, Add) else torch.cat(wide, operator.axis + 2)
        center, error = operator(*(value.center for value in values)), operator(*(value.error for value in values))
        slack = ROUNDING * operator(*(value.center.abs() + value.reach for value in values)) if isinstance(operator, Add) else 0.0
        return Zonotope(center, joined, error + slack)
    if isinstance(operator, Product):
        one, other = values
        count = max(one.symbols.shape[1], other.symbols.shape[1])
        symbols = one.wide(count) * other.center[:, None] + other.wide(count) * one.center[:, None]
        remainder = one.reach * other.reach + one.error * other.center.abs() + other.error * one.center.abs()
        slack = ROUNDING * (one.center.abs() + one.reach) * (other.center.abs() + other.reach)
        return Zonotope(one.center * other.center, symbols, remainder + slack)
    share, shift, fresh = _line(operator, bounds[0])
    return _bent(values[0], share, shift, fresh, room, used)


def _line(operator: Operator, bound: Interval) -> tuple[Tensor, Tensor, Tensor]:
    """(share, shift, fresh), [n, *shape] each: f(x) lies within `fresh` of share x + shift on the interval. Theorems 3.1 and 3.2."""
    low, high = bound
    if isinstance(operator, Relu):
        open_ = (low < 0) & (high > 0)
        share = torch.where(open_, high / torch.where(open_, high - low, 1.0), (low >= 0).to(low.dtype))
        half = torch.where(open_, -share * low / 2, 0.0)
        return share, half, half * (1 + ROUNDING)
    if isinstance(operator, Sigmoid | Tanh):
        below, above = operator(low), operator(high)
        steep = [edge * (1 - edge) if isinstance(operator, Sigmoid) else 1 - edge * edge for edge in (below, above)]
        share = torch.minimum(*steep).clamp_min(0.0)
        shift = (above + below - share * (high + low)) / 2
        return share, shift, ((above - below - share * (high - low)) / 2).clamp_min(0.0) + 1e-12
    raise TypeError(f"no zonotope of {type(operator).__name__}")


def _bent(value: Zonotope, share: Tensor, shift: Tensor, fresh: Tensor, room: int, used: int) -> Zonotope:
    """Return share x + shift with a separate error for every number: the largest become new symbols, the others enlarge the box."""
    symbols, flat = value.wide(used) * share[:, None], fresh.flatten(1)
    count = min(room, int((flat > 1e-11).sum(1).amax()) if flat.numel() else 0)
    slack = ROUNDING * ((value.center.abs() + value.reach) * share + shift.abs())
    if count > 0:
        size, places = flat.topk(count, dim=1)
        added = flat.new_zeros(len(flat), count, flat.shape[1]).scatter_(2, places[:, :, None], size[:, :, None])
        symbols = torch.cat([symbols, added.reshape(len(flat), count, *fresh.shape[1:])], 1)
        flat = flat.scatter(1, places, 0.0)
    return Zonotope(value.center * share + shift, symbols, value.error * share + flat.reshape(fresh.shape) + slack)


def _least(network: Network, values: Mapping[int, Zonotope], rows: Tensor, elided: bool) -> Tensor:
    """[n, r]: lower bounds of rows . output."""
    node, offset = len(network.nodes) - 1, rows.new_zeros(rows.shape[:2])
    if elided:
        (before,) = network.nodes[node].inputs
        operator, shape = network.nodes[node].operator, network.shapes[node]
        assert isinstance(operator, Affine)
        if operator.constant is not None:
            offset = rows @ operator.constant.expand(shape).flatten()
        rows = operator.adjoint(rows.reshape(-1, *shape), network.shapes[before]).reshape(*rows.shape[:2], -1)
        node = before
    center, symbols, error = (part.flatten(2) if part is values[node].symbols else part.flatten(1) for part in values[node])
    at = torch.bmm(rows, center[:, :, None]).squeeze(2)
    lost = torch.bmm(rows, symbols.transpose(1, 2)).abs().sum(2) + torch.bmm(rows.abs(), error[:, :, None]).squeeze(2)
    size = torch.bmm(rows.abs(), (center.abs() + values[node].reach.flatten(1))[:, :, None]).squeeze(2) + offset.abs()
    return at + offset - lost - ROUNDING * size
