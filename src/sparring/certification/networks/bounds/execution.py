"""Bounds of the float32 rounding error of a network, for any order of summation.

For a sum of k products |fl(s) - s| <= g(k) sum |terms|, g(k) = k u / (1 - k u), u = 2^-24 (Higham 2002, Accuracy and Stability of Numerical Algorithms,
section 3.1), which holds with and without fused multiply-add. The inputs of a layer are bounded by intervals, which the rounding
of earlier layers widens.
"""

import torch
from torch import Tensor

from sparring.certification.networks.bounds.inputs import InputSet
from sparring.certification.networks.bounds.interval import Interval, interval_at
from sparring.graph.network import Network
from sparring.graph.operators import Add, Affine, Input, Product, Reshape, Select, Sigmoid, Tanh

UNIT = 2.0**-24
SMALLEST = 2.0**-149
"""Largest error of one float32 operation by underflow."""
ULPS = 4
"""Assumed error of sigmoid and tanh in units in the last place."""


def rounding_errors(network: Network, inputs: InputSet) -> dict[int, Tensor]:
    """Return by node how far float32 values may be from exact ones, [n, *shape].

    The exact value is the operator applied exactly to the float32 values it is fed.
    """
    values: list[Interval] = [Interval(inputs.low, inputs.high)]
    found: dict[int, Tensor] = {}
    for index, node in enumerate(network.nodes):
        operator = node.operator
        if isinstance(operator, Input):
            continue
        before = [torch.maximum(values[one].low.abs(), values[one].high.abs()) for one in node.inputs]
        error = None
        if isinstance(operator, Affine) and not isinstance(operator, Reshape | Select):
            constant = operator.constant
            size = operator.absolute(before[0]) + (0.0 if constant is None else constant.abs())
            error = size * _share(operator.terms) + operator.terms * SMALLEST
        elif isinstance(operator, Add):
            error = torch.stack(before).sum(0) * _share(len(before)) + SMALLEST
        elif isinstance(operator, Product):
            error = before[0] * before[1] * _share(1) + SMALLEST
        elif isinstance(operator, Sigmoid | Tanh):
            error = torch.full_like(before[0], 2 * ULPS * UNIT)
        if error is not None:
            found[index] = error
        values.append(interval_at(network, index, values, None, found))
    return found


def _share(terms: int) -> float:
    """Return g(k), with one term extra for the final rounding and for weights that were rounded when layers were merged."""
    share = (terms + 2) * UNIT
    return share / (1 - share)
