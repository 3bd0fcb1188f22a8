"""Backward linear bounds: rows on the output of a node pulled back to the input, bend by bend (CROWN, DeepPoly).

Zhang et al. 2018, arXiv:1811.00866; Singh et al. 2019, DeepPoly; with multipliers of splits Wang et al. 2021, beta-CROWN, arXiv:2103.06624.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from sparring.certify.bounds.interval import Bands
from sparring.certify.bounds.relax import Lines, Planes
from sparring.models.network.network import Network
from sparring.models.network.operators import Add, Affine, Concat

Relaxations = Mapping[int, Lines | Planes]
"""By the place of a bend."""


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
    waiting: dict[int, Tensor] = {start: rows}
    constant = rows.new_zeros(rows.shape[:2])

    def hand(place: int, slope: Tensor) -> None:
        waiting[place] = waiting[place] + slope if place in waiting else slope

    for place in range(start, 0, -1):
        slope = waiting.pop(place, None)
        if slope is None:
            continue
        node = network.nodes[place]
        if bands and place in bands:
            band = bands[place].expand(slope.shape[0] if len(bands[place].shape) == slope.ndim - 1 else 1, *slope.shape[2:])
            constant = constant - (slope.abs() * band[:, None]).flatten(2).sum(2)
        operator = node.operator
        if isinstance(operator, Affine):
            (before,) = node.inputs
            if operator.constant is not None:
                shift = operator.constant.expand(network.shapes[place]).flatten()
                constant = constant + slope.flatten(2) @ shift
            hand(before, operator.adjoint(slope.flatten(0, 1), network.shapes[before]).unflatten(0, slope.shape[:2]))
        elif isinstance(operator, Add):
            for before in node.inputs:
                hand(before, slope)
        elif isinstance(operator, Concat):
            sizes = [network.shapes[before][operator.axis] for before in node.inputs]
            for before, part in zip(node.inputs, slope.split(sizes, operator.axis + 2), strict=True):
                hand(before, part)
        else:
            if keep is not None:
                keep[place] = slope
            lines = relaxations[place]
            if isinstance(lines, Planes):
                slopes, shift = lines.pull(slope)
            else:
                single, shift = lines.pull(slope)
                slopes = (single,)
            if multipliers and place in multipliers:
                slopes = (slopes[0] + multipliers[place], *slopes[1:])
            if shift is not None:
                constant = constant + shift
            for before, part in zip(node.inputs, slopes, strict=True):
                hand(before, part)
    return Linear(waiting.get(0, rows.new_zeros(*rows.shape[:2], *network.input_shape)), constant)
