"""Leaves: parts of an input set with all ReLU signs fixed, which a linear program decides.

The solution of the program is not trusted: its multipliers give a bound in float64, and its point is evaluated on the network.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sparring.certification.networks.bounds.ascent import certified
from sparring.certification.networks.bounds.backward import Relaxations, propagate
from sparring.certification.networks.bounds.crown import relaxations
from sparring.certification.networks.bounds.inputs import InputSet
from sparring.certification.networks.bounds.interval import Interval
from sparring.graph.network import Network


class Leaf(NamedTuple):
    """Hold the result of a linear program on one part.

    lower: a bound of the weighted rows that holds. weights: float64 [r], at least 0. multipliers: by activation [1, *shape], float64. point: [1, *in], where
    the greatest row is least according to the program; None where it says that the part is empty.
    """

    lower: float
    weights: Tensor
    multipliers: dict[int, Tensor]
    point: Tensor | None


class _Forms(NamedTuple):
    """normal . x + shift <= 0 for each split: normal [s, d], shift [s]; splits: (activation, index) of each."""

    normal: np.ndarray
    shift: np.ndarray
    splits: list[tuple[int, int]]


def settle_leaf(
    network: Network, inputs: InputSet, rows: Tensor, offset: Tensor, bounds: Mapping[int, Interval], signs: Mapping[int, Tensor]
) -> Leaf:  # fmt: skip
    """Bound the greatest of rows . output + offset from below over one part of the input set.

    rows [r, *out], offset [r]; the part is where signs [1, *shape] * (what goes in) <= 0.

    A ball is replaced by its box: what is proved holds, and a point outside it is for the caller to reject.
    """
    from scipy.optimize import linprog  # half a second, which most queries do not need

    last = len(network.nodes) - 1
    lines = relaxations(network, bounds)
    goal = propagate(network, last, rows[None], lines)
    forms = _forms(network, rows.dtype, lines, signs)
    slopes, constant = goal.slope.flatten(2)[0].numpy(), (goal.constant[0] + offset).numpy()
    size, count = slopes.shape[1], len(slopes)
    box = np.stack([inputs.low.flatten().numpy(), inputs.high.flatten().numpy()], 1)
    limits = [*box.tolist(), (None, None)]
    above = np.hstack([np.concatenate([slopes, forms.normal]), np.append(-np.ones(count), np.zeros(len(forms.shift)))[:, None]])
    aim = np.append(np.zeros(size), 1.0)
    solved = linprog(aim, above, -np.append(constant, forms.shift), bounds=limits, method="highs")
    point, weights = None, np.zeros(count)
    if solved.status == 0:
        prices = np.maximum(-solved.ineqlin.marginals, 0.0)
        weights, pressures = prices[:count], prices[count:]
        point = torch.from_numpy(solved.x[:size]).reshape(inputs.low.shape)
    else:  # empty, it seems: the least violation, and what shows that it is positive, times enough to lift a row
        above = np.hstack([forms.normal, -np.ones((len(forms.shift), 1))])
        solved = linprog(aim, above, -forms.shift, bounds=limits, method="highs")
        if solved.status != 0 or solved.x[-1] <= 0:
            return Leaf(-math.inf, torch.zeros(count, dtype=rows.dtype), {}, None)
        weights[0] = 1.0
        least = float(inputs.minimum(goal.slope[:, :1], goal.constant[:, :1])) + float(offset[0])
        pressures = np.maximum(-solved.ineqlin.marginals, 0.0) * (max(0.0, -least) + 1.0) * 2 / solved.x[-1]
    multipliers = {node: torch.zeros(sign.numel(), dtype=rows.dtype) for node, sign in signs.items()}
    for (node, index), pressure in zip(forms.splits, pressures, strict=True):
        multipliers[node][index] = float(pressure)
    shaped = {node: value.reshape(signs[node].shape) for node, value in multipliers.items()}
    signed = {node: value * signs[node].to(value.dtype) for node, value in shaped.items()}
    mixed = torch.from_numpy(weights).to(rows.dtype)
    row = torch.tensordot(mixed, rows, 1)[None]
    lower = float(certified(network, inputs, last, row, bounds, {}, signed)) + float(mixed @ offset)
    return Leaf(lower if math.isfinite(lower) else -math.inf, mixed, shaped, point)


def _forms(network: Network, kind: torch.dtype, lines: Relaxations, signs: Mapping[int, Tensor]) -> _Forms:
    """Return the constraint on the input that each split implies; the lines before it are exact on this part."""
    normals, shifts, places = [np.zeros((0, math.prod(network.input_shape)))], [np.zeros(0)], []
    for node, sign in signs.items():
        flat = sign.flatten()
        chosen = flat.nonzero().squeeze(1)
        if not len(chosen):
            continue
        before = network.nodes[node].inputs[0]
        wanted = torch.zeros(1, len(chosen), flat.numel(), dtype=kind)
        wanted[0, torch.arange(len(chosen)), chosen] = flat[chosen].to(kind)
        form = propagate(network, before, wanted.reshape(1, len(chosen), *network.shapes[before]), lines)
        normals.append(form.slope.flatten(2)[0].numpy())
        shifts.append(form.constant[0].numpy())
        places += [(node, int(index)) for index in chosen]
    return _Forms(np.concatenate(normals), np.concatenate(shifts), places)
