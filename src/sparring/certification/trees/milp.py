"""The smallest change of a tree ensemble as a mixed-integer program: Kantchelian, Tygar, Joseph 2016, "Evasion and hardening of
tree ensemble classifiers" (arXiv:1509.07892), section 4, solved by HiGHS.

One binary a split value says on which side of it the input lies, one variable in [0, 1] a leaf whether the input is in it. We write the
consistency of leaves and splits from the leaves' boxes instead of the trees' nodes, and the size of the change through the leaves as well: since
each tree has one leaf and a distance is the largest over trees, each column's cost is at least the cost of the leaf of every tree.
That is as exact for L2 (squared) and L0 as it is for L1, and Linf needs one variable.

What proves: the solver's bound, lowered by `TOLERANCE`, for the program in which the rival wins already within `TOLERANCE` of the limit; so an
answer that is off by HiGHS's own tolerances (1e-6) does not prove too much. What refutes: nothing here; the point found is for the caller to replay.
"""

import time
from typing import NamedTuple

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

from sparring.certification.trees.parts import Parts, size

TOLERANCE = 1e-5
"""Share of the largest weight, and of the largest cost, by which answers are weakened before they count."""

INFEASIBLE = 2
"""scipy.optimize.milp's status."""


class Solved(NamedTuple):
    """Hold the result of a MILP.

    proved: no input nearer than this lets the rival win; infinite where it wins nowhere, 0 where nothing is known. distance: of the input found.
    counterexample: float64 [features], that input, or None. reason: why proved and distance are apart; empty where they agree up to the tolerance.
    """

    proved: float
    distance: float
    counterexample: np.ndarray | None
    reason: str
    seconds: float


class _Rows:
    """Rows of a sparse matrix with their upper bounds, as they are thought of."""

    def __init__(self) -> None:
        self.row, self.column, self.value, self.upper = [], [], [], []

    def at_most(self, columns: np.ndarray, values: np.ndarray | float, upper: float) -> None:
        place = len(self.upper)
        self.row.append(np.full(len(columns), place))
        self.column.append(np.asarray(columns))
        self.value.append(np.broadcast_to(np.asarray(values, dtype=np.float64), len(columns)))
        self.upper.append(upper)

    def constraint(self, variables: int) -> LinearConstraint:
        places = np.concatenate(self.row), np.concatenate(self.column)
        return LinearConstraint(coo_array((np.concatenate(self.value), places), (len(self.upper), variables)).tocsr(), -np.inf, np.array(self.upper))  # type: ignore[arg-type]


def solve(parts: Parts, x: np.ndarray, order: float, *, reach: float = np.inf, seconds: float | None = None) -> Solved:
    """Return the smallest change of one row x [features] that lets the rival win.

    order: infinity, 2, 1 or 0. reach: leaves further away than this are left out, so that an infeasible program proves this much.
    seconds: the solver's limit; what it has proved by then is kept.
    """
    began = time.perf_counter()

    def answer(proved: float, distance: float = np.inf, counterexample: np.ndarray | None = None, reason: str = "") -> Solved:
        return Solved(proved, distance, counterexample, reason, time.perf_counter() - began)

    near = parts.distance(x[None], order)[0]
    use = np.isfinite(near) & (near <= reach)
    if not use.any(1).all():
        return answer(reach)
    group, _ = use.nonzero()
    low, high, weight, near = parts.low[use], parts.high[use], parts.weight[use], near[use]
    row = x[parts.columns]
    away = np.maximum(np.maximum(low - row, row - high), 0.0)
    cost = near[:, None] if order == np.inf else away**2 if order == 2 else away if order == 1 else (away > 0).astype(np.float64)
    scale = max(float(cost.max(initial=0.0)), 1e-300)
    heavy = max(float(np.abs(weight).max()), 1e-300)

    leaves, costs = len(weight), cost.shape[1]
    rows, splits = _Rows(), 0
    for place in range(low.shape[1]):
        splits += _sides(rows, low[:, place], high[:, place], group, leaves + costs + splits)
    variables = leaves + costs + splits
    for tree in range(parts.groups):
        own = np.flatnonzero(group == tree)
        rows.at_most(own, 1.0, 1.0)
        rows.at_most(own, -1.0, -1.0)
        for place in range(costs):
            if cost[own, place].any():
                rows.at_most(np.append(own, leaves + place), np.append(cost[own, place] / scale, -1.0), 0.0)
    rows.at_most(np.arange(leaves), weight / heavy, parts.limit / heavy + TOLERANCE)
    objective = np.zeros(variables)
    objective[leaves : leaves + costs] = 1.0
    whole = np.ones(variables)
    whole[leaves : leaves + costs] = 0
    options = {"mip_rel_gap": 0.0, **({} if seconds is None else {"time_limit": max(0.01, seconds)})}
    result = milp(objective, integrality=whole, bounds=Bounds(0, 1), constraints=rows.constraint(variables), options=options)

    if result.status == INFEASIBLE:
        return answer(reach)
    bound = result.get("mip_dual_bound")
    proved = 0.0 if bound is None or not np.isfinite(bound) else max(0.0, (float(bound) - TOLERANCE * costs) * scale)
    proved = min(np.sqrt(proved) if order == 2 else np.ceil(proved - 1e-9) if order == 0 else proved, reach)
    if result.x is None:
        return answer(proved, reason=f"the solver stopped without an answer: {result.message}")
    picks = _picked(parts, use, np.asarray(result.x[:leaves]))
    meeting = parts.low[np.arange(parts.groups), picks].max(0) <= parts.high[np.arange(parts.groups), picks].min(0)
    if not meeting.all():
        return answer(proved, reason="the solver's answer is not an input, because its leaves do not intersect")
    counterexample = parts.nearest(x, picks)
    distance = float(size(np.abs(counterexample - x)[None, parts.columns], order)[0])
    return answer(proved, distance, counterexample, "" if result.status == 0 else f"the solver stopped early: {result.message}")


def _sides(rows: _Rows, low: np.ndarray, high: np.ndarray, group: np.ndarray, first: int) -> int:
    """A binary for every value at which a leaf ends in this column: 1 where the input lies at or below it. Returns how many there are."""
    edges = np.unique(high[np.isfinite(high) & (high < low.max(initial=-np.inf))])
    for place, edge in enumerate(edges):
        under, over = high <= edge, low > edge
        for tree in np.unique(group[under | over]):
            mine = group == tree
            if (mine & under).any():
                rows.at_most(np.append(np.flatnonzero(mine & under), first + place), np.append(np.ones((mine & under).sum()), -1.0), 0.0)
            if (mine & over).any():
                rows.at_most(np.append(np.flatnonzero(mine & over), first + place), np.ones((mine & over).sum() + 1), 1.0)
        if place:
            rows.at_most(np.array([first + place - 1, first + place]), np.array([1.0, -1.0]), 0.0)
    return len(edges)


def _picked(parts: Parts, use: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """int64 [groups]: the leaf of each tree that the solver chose."""
    share = np.full(parts.weight.shape, -1.0)
    share[use] = chosen
    return share.argmax(1)
