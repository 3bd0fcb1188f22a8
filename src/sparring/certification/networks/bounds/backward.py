"""Backward linear bounds (CROWN, DeepPoly): rows on a node are propagated back to the input.

Zhang et al. 2018, arXiv:1811.00866; Singh et al. 2019, DeepPoly; with multipliers of splits Wang et al. 2021, beta-CROWN, arXiv:2103.06624.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from sparring.certification.networks.bounds.interval import Rounding
from sparring.certification.networks.bounds.relax import Lines, Planes
from sparring.graph.network import Network
from sparring.graph.operators import Affine, Concat

Relaxations = Mapping[int, Lines | Planes]
"""By nonlinearity."""

Waiting = dict[int, Tensor]
"""By node: slopes [n or 1, r, *shape] at the output of a node, not yet propagated through it."""


class LinearBound(NamedTuple):
    """Hold a linear bound of each row.

    slope . x + constant for each row: slope [n or 1, r, *shape], constant [n or 1, r].
    """

    slope: Tensor
    constant: Tensor


def propagate(
    network: Network, start: int, rows: Tensor, relaxations: Relaxations, multipliers: Mapping[int, Tensor] | None = None, rounding: Rounding | None = None,
    keep: dict[int, Tensor] | None = None,
) -> LinearBound:  # fmt: skip
    """Return a linear lower bound of rows . (value of node `start`) in the input.

    It is nowhere above that value.

    rows [n or 1, r, *shape of start]. relaxations: of every activation before `start`. multipliers: by activation, [n, r, *shape], added to the slopes at what
    goes into it: beta s of a split, s = -1 where the value is at least 0 and +1 where it is at most 0, sound for every beta >= 0 on that half. rounding: see
    `interval.Rounding`. keep: filled with the slopes at what each activation gives.
    """
    return resume(network, {start: rows}, rows.new_zeros(rows.shape[:2]), relaxations, multipliers, rounding, keep)


def resume(
    network: Network, waiting: Waiting, constant: Tensor, relaxations: Relaxations, multipliers: Mapping[int, Tensor] | None = None,
    rounding: Rounding | None = None, keep: dict[int, Tensor] | None = None,
) -> LinearBound:  # fmt: skip
    """Propagate the `waiting` slopes to the input as `propagate` does, and empty `waiting`.

    It may wait at any number of nodes. constant [n or 1, r].
    """
    rows = next(iter(waiting.values()))
    for index in range(max(waiting), 0, -1):
        slope = waiting.pop(index, None)
        if slope is None:
            continue
        node = network.nodes[index]
        if rounding and index in rounding:
            error = rounding[index].expand(slope.shape[0] if len(rounding[index].shape) == slope.ndim - 1 else 1, *slope.shape[2:])
            constant = constant - (slope.abs() * error[:, None]).flatten(2).sum(2)
        if index in network.nonlinearities:
            if keep is not None:
                keep[index] = slope
            slopes, shift = through_nonlinear(relaxations[index], slope)
            if multipliers and index in multipliers:
                slopes = (slopes[0] + multipliers[index], *slopes[1:])
            if shift is not None:
                constant = constant + shift
            for before, part in zip(node.inputs, slopes, strict=True):
                add_slope(waiting, before, part)
        else:
            constant = through_linear(network, index, slope, waiting, constant)
    return LinearBound(waiting.pop(0, rows.new_zeros(*rows.shape[:2], *network.input_shape)), constant)


def add_slope(waiting: Waiting, node: int, slope: Tensor) -> None:
    """Add slopes to those that wait at a node."""
    waiting[node] = waiting[node] + slope if node in waiting else slope


def through_linear(network: Network, index: int, slope: Tensor, waiting: Waiting, constant: Tensor) -> Tensor:
    """Propagate through a node that is affine, a sum or a concatenation.

    Slopes are handed to the nodes before; the constant is returned with its share [n or 1, r].
    """
    node = network.nodes[index]
    operator = node.operator
    if isinstance(operator, Affine):
        (before,) = node.inputs
        if operator.constant is not None:
            shift = operator.constant.expand(network.shapes[index]).flatten()
            constant = constant + slope.flatten(2) @ shift
        add_slope(waiting, before, operator.adjoint(slope.flatten(0, 1), network.shapes[before]).unflatten(0, slope.shape[:2]))
    elif isinstance(operator, Concat):
        sizes = [network.shapes[before][operator.axis] for before in node.inputs]
        for before, part in zip(node.inputs, slope.split(sizes, operator.axis + 2), strict=True):
            add_slope(waiting, before, part)
    else:
        for before in node.inputs:
            add_slope(waiting, before, slope)
    return constant


def through_nonlinear(lines: Lines | Planes, slope: Tensor) -> tuple[tuple[Tensor, ...], Tensor | None]:
    """Return slopes at each input of an activation, and the constant [n, r], of a lower bound.

    The bound is of slope . (what the activation gives).
    """
    if isinstance(lines, Planes):
        return lines.propagate(slope)
    positive = slope.clamp_min(0)
    negative = slope - positive
    constant = None
    for part, shift in ((negative, lines.upper_shift), (positive, lines.lower_shift)):
        if shift is not None:
            share = _summed(part, shift)
            constant = share if constant is None else constant + share
    return (torch.addcmul(positive * lines.lower_slope, negative, lines.upper_slope),), constant


def _summed(part: Tensor, shift: Tensor) -> Tensor:
    """Return sums of products, [n, r], of part [n or 1, r, *shape] and shift [n or 1, 1 or r, *shape]."""
    flat, other = part.flatten(2), shift.flatten(2)
    if other.shape[1] == 1:
        if len(other) == 1:
            return flat @ other[0, 0]
        if len(flat) == len(other):
            return torch.bmm(flat, other.transpose(1, 2)).squeeze(2)
    return (flat * other).sum(2)
