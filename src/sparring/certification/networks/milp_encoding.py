"""The MILP encoding of a ReLU network: one binary variable per unstable ReLU; else an LP.

Triangle relaxation: Ehlers 2017, arXiv:1705.01320. Big-M with tight bounds: Tjeng, Xiao, Tedrake 2019, arXiv:1711.07356.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from torch import Tensor

from sparring.certification.networks.bounds.interval import Interval
from sparring.graph.network import Network
from sparring.graph.operators import Add, Affine, Concat

SLACK = 1e-6
"""Share of the summed magnitudes by which the unsafe set is widened: more than the feasibility tolerance of HiGHS."""

CANCELLED = 1e-4
"""A sum much smaller than its terms is mostly rounding error: this share of the terms is used as its scale instead."""

PIECE = 256
"""Number of rows of a map that are written out at once."""


@dataclass(frozen=True, eq=False)
class Map:
    """Hold a node's value as an affine function of the input and of the outputs of ReLUs.

    It is the sum over sources of matrices[place] @ value + constant.
    """

    matrices: dict[int, sparse.csr_array]
    constant: np.ndarray


_maps: "WeakKeyDictionary[Network, dict[int, Map]]" = WeakKeyDictionary()


def affine_map(network: Network, start: int) -> Map:
    """Return the map of a node, written out once for each network."""
    known = _maps.setdefault(network, {})
    if start not in known:
        shape = network.shapes[start]
        size = math.prod(shape)
        constant, parts = np.zeros(size), {}
        for rows in torch.arange(size).split(PIECE):
            waiting = {start: torch.eye(size, dtype=torch.float64)[rows].reshape(len(rows), *shape)}
            total = torch.zeros(len(rows), dtype=torch.float64)
            for node in range(start, 0, -1):
                slope = waiting.pop(node, None) if node not in network.nonlinearities or node == start else None
                if slope is not None:
                    total += _step(network, node, slope, waiting)
            constant[rows.numpy()] = total.numpy()
            for node, slope in waiting.items():
                parts.setdefault(node, []).append((rows, slope.reshape(len(rows), -1)))
        matrices = {node: _stacked(pieces, size) for node, pieces in parts.items()}
        known[start] = Map(matrices, constant)
    return known[start]


def _step(network: Network, index: int, slope: Tensor, waiting: dict[int, Tensor]) -> Tensor:
    """Hand slopes [k, *shape] at an affine node on to the nodes before it; the constants [k] met on the way."""
    node = network.nodes[index]
    constant = torch.zeros(len(slope), dtype=torch.float64)
    if isinstance(node.operator, Affine):
        if node.operator.constant is not None:
            constant = slope.flatten(1) @ node.operator.constant.expand(network.shapes[index]).flatten()
        parts = [node.operator.adjoint(slope, network.shapes[node.inputs[0]])]
    elif isinstance(node.operator, Add):
        parts = [slope] * len(node.inputs)
    elif isinstance(node.operator, Concat):
        parts = list(slope.split([network.shapes[before][node.operator.axis] for before in node.inputs], node.operator.axis + 1))
    else:
        raise TypeError(f"{type(node.operator).__name__} is not affine")
    for before, part in zip(node.inputs, parts, strict=True):
        waiting[before] = waiting[before] + part if before in waiting else part
    return constant


def _stacked(pieces: list[tuple[Tensor, Tensor]], size: int) -> sparse.csr_array:
    found = sparse.csr_array(sparse.vstack([sparse.csr_array(slope.numpy()) for _, slope in pieces]))
    rows = np.concatenate([rows.numpy() for rows, _ in pieces])
    if len(rows) == size:
        return found
    return sparse.csr_array(sparse.coo_array((np.ones(len(rows)), (rows, np.arange(len(rows)))), shape=(size, len(rows))) @ found)


class Constraints(NamedTuple):
    """Hold constraints low <= rows @ v <= high."""

    rows: sparse.csr_array
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True, eq=False)
class MilpEncoding:
    """Hold the MILP of one sample.

    Variables v in [low, high]; row_low <= rows @ v <= row_high. columns: by source, the columns of its numbers, -1 for ReLUs that
    are off; scales: what a variable is multiplied with to give the number, for HiGHS keeps constraints to an absolute tolerance, which must be small
    beside every number. binary: bool for each variable. Without `binary` it is the triangle relaxation; with it, exact.
    """

    low: np.ndarray
    high: np.ndarray
    rows: sparse.csr_array
    row_low: np.ndarray
    row_high: np.ndarray
    columns: dict[int, np.ndarray]
    scales: dict[int, np.ndarray]
    binary: np.ndarray

    def objective(self, network: Network, start: int, weights: np.ndarray) -> tuple[np.ndarray, float]:
        """Return weights . (value of node `start`) as (costs of the variables, constant)."""
        costs, found = np.zeros(len(self.low)), affine_map(network, start)
        for node, matrix in found.matrices.items():
            columns = self.columns[node]
            share = (matrix.T @ weights) * self.scales[node]
            np.add.at(costs, columns[columns >= 0], share[columns >= 0])
        return costs, float(weights @ found.constant)

    def least(self, costs: np.ndarray, seconds: float | None = None) -> tuple[float, np.ndarray | None]:
        """Return a certified lower bound on costs . v over the relaxation, and the best point found.

        The bound is certified by multipliers of the rows; the point is None without one.

        The bound is computed from the multipliers that HiGHS returns, whatever they are worth: every choice of them gives a valid one.
        """
        equal = self.row_low == self.row_high
        upper, lower = np.isfinite(self.row_high) & ~equal, np.isfinite(self.row_low) & ~equal
        above = sparse.vstack([self.rows[upper], -self.rows[lower]], format="csr") if (upper | lower).any() else None
        limits = np.concatenate([self.row_high[upper], -self.row_low[lower]])
        found = linprog(
            costs, above, limits if above is not None else None, self.rows[equal] if equal.any() else None, self.row_low[equal] if equal.any() else None,
            np.stack([self.low, self.high], 1), method="highs", options={} if seconds is None else {"time_limit": max(0.01, seconds)},
        )  # fmt: skip
        if found.ineqlin is None or found.ineqlin.marginals is None:
            return -math.inf, None
        bound, size, reduced = 0.0, 0.0, costs.copy()
        if above is not None:
            push = np.minimum(found.ineqlin.marginals, 0.0)
            bound += float(push @ limits)
            size += float(np.abs(push) @ np.abs(limits))
            reduced -= above.T @ push
        if equal.any():
            bound += float(found.eqlin.marginals @ self.row_low[equal])
            size += float(np.abs(found.eqlin.marginals) @ np.abs(self.row_low[equal]))
            reduced -= self.rows[equal].T @ found.eqlin.marginals
        ends = np.minimum(reduced * self.low, reduced * self.high)
        size += float(np.abs(ends).sum())
        return float(bound + ends.sum() - 1e-11 * size), found.x

    def empty(self, conditions: np.ndarray, limits: np.ndarray, seconds: float | None, slack: float = SLACK) -> tuple[bool | None, np.ndarray | None]:
        """Decide whether the MILP has no point that meets further conditions.

        Is there no v of the MILP with conditions @ v <= limits? (True, None) where HiGHS proves it, (False, point) where it finds
        one, (None, None) where time or numbers kept it from deciding. slack: widens the limits, below 0 narrows them.
        """
        size = np.abs(conditions) @ np.maximum(np.abs(self.low), np.abs(self.high)) + np.abs(limits)
        share = np.maximum(size / 1e3, 1.0)
        unsafe = LinearConstraint(conditions / share[:, None], -np.inf, limits / share + slack * np.minimum(size, 1e3))  # pyright: ignore[reportArgumentType]
        constraints = [LinearConstraint(self.rows, self.row_low, self.row_high), unsafe]  # pyright: ignore[reportArgumentType]
        options = {} if seconds is None else {"time_limit": max(0.01, seconds)}
        found = milp(np.zeros(len(self.low)), integrality=self.binary.astype(int), bounds=Bounds(self.low, self.high), constraints=constraints, options=options)  # pyright: ignore[reportArgumentType]
        if found.status == 2:
            return True, None
        return (False, found.x) if found.x is not None else (None, None)


def encode_milp(network: Network, low: Tensor, high: Tensor, bounds: Mapping[int, Interval], until: int | None = None) -> MilpEncoding:
    """Encode the box [*in] of one sample.

    bounds: of what goes into every activation, [1, *shape] each, which must hold. until: only activations before this
    node.
    """
    lows, highs = [low.flatten().numpy()], [high.flatten().numpy()]
    columns, scales = {0: np.arange(low.numel())}, {0: np.ones(low.numel())}
    binary = [np.zeros(low.numel(), dtype=bool)]
    count = low.numel()
    made: list[Constraints] = []
    for activation in network.nonlinearities:
        if until is not None and activation >= until:
            break
        (before,) = network.nodes[activation].inputs
        least, most = (edge.flatten().numpy() for edge in bounds[before])
        on, off = least >= 0, most <= 0
        value = affine_map(network, before)
        z = _in_columns(value, columns, scales, count)
        reach = np.maximum(np.abs(np.concatenate(lows)), np.abs(np.concatenate(highs)))
        summed = abs(z) @ reach + np.abs(value.constant)
        scale = scales[activation] = np.maximum(np.maximum(np.maximum(np.abs(least), np.abs(most)), CANCELLED * summed), 1e-300)
        least, most = least / scale, most / scale
        open_ = ~(on | off)
        places = np.full(len(least), -1)
        places[~off] = count + np.arange((~off).sum())
        switch = np.full(len(least), -1)
        switch[open_] = places[~off].max(initial=count - 1) + 1 + np.arange(open_.sum())
        columns[activation] = places
        lows += [np.maximum(least[~off], 0.0), np.zeros(open_.sum())]
        highs += [np.maximum(most[~off], 0.0), np.ones(open_.sum())]
        binary += [np.zeros((~off).sum(), dtype=bool), np.ones(open_.sum(), dtype=bool)]
        count += int((~off).sum() + open_.sum())
        z = _wide(sparse.csr_array(z.multiply(1 / scale[:, None])), count)
        y = _unit(places[~off], count)
        made += _rows_of(z[~off], (value.constant / scale)[~off], y, on[~off], least[~off], most[~off], switch[~off], count)
    made.append(Constraints(sparse.csr_array((0, count)), np.zeros(0), np.zeros(0)))
    rows = sparse.csr_array(sparse.vstack([_wide(one.rows, count) for one in made]))
    ends = np.concatenate([one.low for one in made]), np.concatenate([one.high for one in made])
    return MilpEncoding(np.concatenate(lows), np.concatenate(highs), rows, *ends, columns, scales, np.concatenate(binary))


def _in_columns(value: Map, columns: Mapping[int, np.ndarray], scales: Mapping[int, np.ndarray], count: int) -> sparse.csr_array:
    """Return the matrix of a map over the variables."""
    total = sparse.csr_array((len(value.constant), count))
    for node, matrix in value.matrices.items():
        own = columns[node]
        kept = own >= 0
        spread = sparse.csr_array((scales[node][kept], (np.nonzero(kept)[0], own[kept])), shape=(len(own), count))
        total = total + matrix @ spread
    return sparse.csr_array(total)


def _unit(places: np.ndarray, count: int) -> sparse.csr_array:
    return sparse.csr_array((np.ones(len(places)), (np.arange(len(places)), places)), shape=(len(places), count))


def _rows_of(
    z: sparse.csr_array, constant: np.ndarray, y: sparse.csr_array, on: np.ndarray, least: np.ndarray, most: np.ndarray, switch: np.ndarray, count: int
) -> list[Constraints]:
    """Constraints of the ReLUs that are not off: y = z + constant where they are on; else, a being the switch,
    y >= z, y <= z - least (1 - a), y <= most a and the triangle, which follows from them but spares the search work."""
    free = np.inf
    found = []
    if on.any():
        found.append(Constraints(sparse.csr_array(y[on] - z[on]), constant[on], constant[on]))
    if (~on).any():
        zo, yo, co, lo, uo = z[~on], y[~on], constant[~on], least[~on], most[~on]
        a = _unit(switch[~on], count)
        many = len(co)
        found += [
            Constraints(sparse.csr_array(yo - zo), co, np.full(many, free)),
            Constraints(sparse.csr_array(yo - zo - a.multiply(lo[:, None])), np.full(many, -free), co - lo),
            Constraints(sparse.csr_array(yo - a.multiply(uo[:, None])), np.full(many, -free), np.zeros(many)),
        ]
    return found


def _wide(matrix: sparse.csr_array, count: int) -> sparse.csr_array:
    return sparse.csr_array((matrix.data, matrix.indices, matrix.indptr), shape=(len(matrix.indptr) - 1, count))
