"""Bounds of the slope of a network anywhere in a set, propagated backward as middle and radius."""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from sparring.certification.networks.bounds.interval import Interval
from sparring.graph.network import Network
from sparring.graph.operators import Conv, ConvTranspose, Linear, Operator, Relu, Reshape


class Slopes(NamedTuple):
    """Hold all slopes within `radius` of `middle`, entry by entry."""

    middle: Tensor
    radius: Tensor


def unknown(network: Network) -> str:
    """Return the first operator that no slope goes through; an empty string where all are known."""
    known = (Linear, Conv, ConvTranspose, Reshape, Relu)
    return next((type(node.operator).__name__ for node in network.nodes[1:] if not isinstance(node.operator, known)), "")


def slopes(network: Network, bounds: Mapping[int, Interval], rows: Tensor) -> Slopes:
    """Return bounds of the slopes of rows . network(x) by x, [n, r, *in] each.

    They hold for every x for which the bounds do. bounds: by the node that feeds an activation. rows: [n, r, outputs].
    """
    count, several = rows.shape[:2]
    index = len(network.nodes) - 1
    found = Slopes(rows.reshape(-1, *network.shapes[-1]), torch.zeros_like(rows.reshape(-1, *network.shapes[-1])))
    while index:
        operator, (before,) = network.nodes[index].operator, network.nodes[index].inputs
        if isinstance(operator, Relu):
            low, high = (edge.repeat_interleave(several, 0) for edge in bounds[before])
            found = _through_relu(found, low, high)
        else:
            found = _through_affine(found, operator, network.shapes[before])
        index = before
    return Slopes(*(part.reshape(count, several, *network.input_shape) for part in found))


def _through_relu(found: Slopes, low: Tensor, high: Tensor) -> Slopes:
    """Times 1 where the input is positive, 0 where it is not, and anything between where its sign is open."""
    least, most = (low >= 0).to(low.dtype), (high > 0).to(low.dtype)
    bottom, top = found.middle - found.radius, found.middle + found.radius
    bottom, top = torch.minimum(bottom * least, bottom * most), torch.maximum(top * least, top * most)
    return Slopes((bottom + top) / 2, (top - bottom) / 2)


def _through_affine(found: Slopes, operator: Operator, shape: tuple[int, ...]) -> Slopes:
    if isinstance(operator, Reshape):
        return Slopes(operator.adjoint(found.middle, shape), operator.adjoint(found.radius, shape))
    if not isinstance(operator, Linear | Conv | ConvTranspose):
        raise TypeError(f"no slope of {type(operator).__name__}: see `unknown`")
    absolute = dataclasses.replace(operator, weight=operator.weight.abs())
    return Slopes(operator.adjoint(found.middle, shape), absolute.adjoint(found.radius, shape))
