"""Backward linear bounds: rows on the output of a node pulled back to the input, bend by bend (CROWN, DeepPoly).

Zhang et al. 2018, arXiv:1811.00866; Singh et al. 2019, DeepPoly; with multipliers of splits Wang et al. 2021, beta-CROWN, arXiv:2103.06624.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from sparring.certification.bounds.interval import Bands
from sparring.certification.bounds.relax import Lines, Planes
from sparring.models.network.network import Network
from sparring.models.network.operators import Add, Affine, Concat, Operator

Relaxations = Mapping[int, Lines | Planes]
"""By the place of a bend."""

Waiting = dict[int, Tensor]
"""By place: slopes [n or 1, r, *shape] at what a node gives, still to be pulled through it."""


class Linear(NamedTuple):
    """slope . x + constant for each row: slope [n or 1, r, *shape], constant [n or 1, r]."""

    slope: Tensor
    constant: Tensor


def pull(
    network: Network, start: int, rows: Tensor, relaxations: Relaxations, multipliers: Mapping[int, Tensor] | None = None, bands: Bands | None = None,
    keep: dict[int, Tensor] | None = None,
) -> Linear:  # fmt: skip
    """A linear function of the input that is nowhere above rows . (value of node `start`).

    rows [n or 1, r, *shape of start]. relaxations: of every bend before `start`. multipliers: by bend, [n, r, *shape], added to the slopes at what goes
    into it: beta s of a split, s = -1 where the value is at least 0 and +1 where it is at most 0, sound for every beta >= 0 on that half.
    bands: see `interval.Bands`. keep: filled with the slopes at what each bend gives.
    """
    return resume(network, {start: rows}, rows.new_zeros(rows.shape[:2]), relaxations, multipliers, bands, keep)


def resume(
    network: Network, waiting: Waiting, constant: Tensor, relaxations: Relaxations, multipliers: Mapping[int, Tensor] | None = None, bands: Bands | None = None,
    keep: dict[int, Tensor] | None = None,
) -> Linear:  # fmt: skip
    """The rest of the way of what is `waiting` (which is emptied): as `pull`, from any number of places. constant [n or 1, r]."""
    rows = next(iter(waiting.values()))
    for place in range(max(waiting), 0, -1):
        slope = waiting.pop(place, None)
        if slope is None:
            continue
        node = network.nodes[place]
        if bands and place in bands:
            band = bands[place].expand(slope.shape[0] if len(bands[place].shape) == slope.ndim - 1 else 1, *slope.shape[2:])
            constant = constant - (slope.abs() * band[:, None]).flatten(2).sum(2)
        if is_bend(node.operator):
            if keep is not None:
                keep[place] = slope
            slopes, shift = bent(relaxations[place], slope)
            if multipliers and place in multipliers:
                slopes = (slopes[0] + multipliers[place], *slopes[1:])
            if shift is not None:
                constant = constant + shift
            for before, part in zip(node.inputs, slopes, strict=True):
                hand(waiting, before, part)
        else:
            constant = straight(network, place, slope, waiting, constant)
    return Linear(waiting.pop(0, rows.new_zeros(*rows.shape[:2], *network.input_shape)), constant)


def is_bend(operator: Operator) -> bool:
    """Does it need lines to be pulled through?"""
    return not isinstance(operator, Affine | Add | Concat)


def hand(waiting: Waiting, place: int, slope: Tensor) -> None:
    """Add slopes to those that wait at a place."""
    waiting[place] = waiting[place] + slope if place in waiting else slope


def straight(network: Network, place: int, slope: Tensor, waiting: Waiting, constant: Tensor) -> Tensor:
    """Pull through a node that is no bend: slopes are handed to the nodes before; the constant with its share [n or 1, r]."""
    node = network.nodes[place]
    operator = node.operator
    if isinstance(operator, Affine):
        (before,) = node.inputs
        if operator.constant is not None:
            shift = operator.constant.expand(network.shapes[place]).flatten()
            constant = constant + slope.flatten(2) @ shift
        hand(waiting, before, operator.adjoint(slope.flatten(0, 1), network.shapes[before]).unflatten(0, slope.shape[:2]))
    elif isinstance(operator, Concat):
        sizes = [network.shapes[before][operator.axis] for before in node.inputs]
        for before, part in zip(node.inputs, slope.split(sizes, operator.axis + 2), strict=True):
            hand(waiting, before, part)
    else:
        for before in node.inputs:
            hand(waiting, before, slope)
    return constant


def bent(lines: Lines | Planes, slope: Tensor) -> tuple[tuple[Tensor, ...], Tensor | None]:
    """Slopes at each of what goes into a bend, and the constant [n, r], of a lower bound of slope . (what it gives)."""
    if isinstance(lines, Planes):
        return lines.pull(slope)
    positive = slope.clamp_min(0)
    negative = slope - positive
    constant = None
    for part, shift in ((negative, lines.upper_shift), (positive, lines.lower_shift)):
        if shift is not None:
            share = _summed(part, shift)
            constant = share if constant is None else constant + share
    return (torch.addcmul(positive * lines.lower_slope, negative, lines.upper_slope),), constant


def _summed(part: Tensor, shift: Tensor) -> Tensor:
    """[n, r]: sums of products, part [n or 1, r, *shape], shift [n or 1, 1 or r, *shape]."""
    flat, other = part.flatten(2), shift.flatten(2)
    if other.shape[1] == 1:
        if len(other) == 1:
            return flat @ other[0, 0]
        if len(flat) == len(other):
            return torch.bmm(flat, other.transpose(1, 2)).squeeze(2)
    return (flat * other).sum(2)
