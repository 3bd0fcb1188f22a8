"""Interval bound propagation: centre and radius through affine operators, end points through increasing ones.

Gowal et al. 2018, arXiv:1810.12715. Differentiable, so certified training uses the same functions.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from sparring.certification.networks.bounds.inputs import ROUNDING, InputSet
from sparring.graph.network import Network
from sparring.graph.operators import Activation, Add, Affine, Concat, Operator, Product, Reshape, Select

Rounding = Mapping[int, Tensor]
"""By node: the largest error of the executed network at it, [*out] or [n, *out]; see `execution`."""


class Interval(NamedTuple):
    """Hold the lower and the upper ends of intervals, [n, *shape] each."""

    low: Tensor
    high: Tensor

    def take(self, rows: Tensor) -> "Interval":
        """Return the intervals of some of the samples."""
        return Interval(self.low[rows], self.high[rows])

    def cut(self, other: "Interval") -> "Interval":
        """Return the intersection with other intervals."""
        return Interval(torch.maximum(self.low, other.low), torch.minimum(self.high, other.high))


def through(operator: Operator, values: list[Interval]) -> Interval:
    """Return the interval of the output of an operator for inputs in these intervals."""
    if isinstance(operator, Affine):
        (value,) = values
        if isinstance(operator, Reshape | Select):  # exact, unlike centre and radius
            return Interval(operator(value.low), operator(value.high))
        middle, radius = operator((value.low + value.high) / 2), operator.absolute((value.high - value.low) / 2)
        return Interval(middle - radius, middle + radius)
    if isinstance(operator, Activation | Add | Concat):  # increasing in each of their values
        return Interval(operator(*(value.low for value in values)), operator(*(value.high for value in values)))
    if isinstance(operator, Product):
        one, other = values
        corners = torch.stack([a * b for a in one for b in other])
        return Interval(corners.amin(0), corners.amax(0))
    raise TypeError(f"no interval of {type(operator).__name__}")


def intervals(network: Network, inputs: InputSet, known: Mapping[int, Interval] | None = None, rounding: Rounding | None = None) -> list[Interval]:
    """Return an interval for every node, [n, *shape] each.

    known: tighter ones of some nodes, which are cut with what follows from the nodes before.
    """
    found: list[Interval] = [Interval(inputs.low, inputs.high)]
    for node in range(1, len(network.nodes)):
        found.append(interval_at(network, node, found, known, rounding))
    return found


def interval_at(network: Network, index: int, found: list[Interval], known: Mapping[int, Interval] | None = None, rounding: Rounding | None = None) -> Interval:
    """Return the interval of one node from those of the nodes before."""
    node = network.nodes[index]
    value = through(node.operator, [found[one] for one in node.inputs])
    if rounding and index in rounding:
        value = Interval(value.low - rounding[index], value.high + rounding[index])
    return value.cut(known[index]) if known and index in known else value


def margins(network: Network, values: list[Interval], rows: Tensor) -> Tensor:
    """Return lower bounds of rows . output, [n, r], with the last layer elided.

    A linear last layer is multiplied by the rows first.

    values: intervals of all nodes. rows [n, r, outputs].
    """
    last = network.nodes[-1]
    if isinstance(last.operator, Affine):
        count, shape = len(rows), network.shapes[-1]
        before = values[last.inputs[0]]
        inner = network.shapes[last.inputs[0]]
        propagated = last.operator.adjoint(rows.reshape(-1, *shape), inner).reshape(count, rows.shape[1], -1)
        constant = last.operator.constant
        if constant is None:
            return _least(propagated, before)
        shift = constant.expand(shape).flatten()
        return _least(propagated, before) + rows @ shift - ROUNDING * (rows.abs() @ shift.abs())
    return _least(rows, values[-1])


def _least(rows: Tensor, value: Interval) -> Tensor:
    """Return a bound lowered by the possible rounding error."""
    low, high = value.low.flatten(1), value.high.flatten(1)
    middle, radius = (low + high) / 2, (high - low) / 2
    around = radius + ROUNDING * torch.maximum(low.abs(), high.abs())
    return ((rows * middle[:, None]) - rows.abs() * around[:, None]).sum(2)
