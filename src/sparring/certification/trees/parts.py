"""`Parts`: the logit gap of one class over another, per leaf within reach.

A choice of one leaf a tree is a point of the input exactly where these boxes meet, and boxes meet all together where every two
of them do (Helly). The distance from a row to where they meet is, column by column, the largest of the distances to each.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from sparring.models.trees.ensemble import Ensemble

BLOCK = 4_000_000
"""Numbers that are worked on at once."""


@dataclass(frozen=True, eq=False)
class Parts:
    """Hold groups of leaves.

    Groups of leaves; every input lies in exactly one leaf of each group. Groups are filled up with empty leaves.

    low, high: float64 [groups, width, columns], both ends belong to the leaf. weight: float64 [groups, width], by how much the leaf puts the
    right class ahead of the rival; infinite for what is filled up. limit: the rival may win where the weights add up to
    at most this. columns: int64, the columns of a row that are looked at.
    """

    low: np.ndarray
    high: np.ndarray
    weight: np.ndarray
    limit: float
    columns: np.ndarray

    @property
    def real(self) -> np.ndarray:
        """Return leaves that are not filling, bool [groups, width]."""
        return np.isfinite(self.weight)

    @property
    def groups(self) -> int:
        """Return the number of groups."""
        return self.weight.shape[0]

    @property
    def width(self) -> int:
        """Return the number of leaves per group, those filled up included."""
        return self.weight.shape[1]

    def away(self, x: np.ndarray) -> np.ndarray:
        """Return how far each column of rows has to move into each leaf.

        float64 [n, groups, width, columns], for rows [n, features].
        """
        row = x[:, self.columns][:, None, None, :]
        return np.maximum(np.maximum(self.low - row, row - self.high), 0.0)

    def distance(self, x: np.ndarray, order: float) -> np.ndarray:
        """Return distance of rows [n, features] from each leaf.

        Infinite for filling, float64 [n, groups, width].
        """
        row = x[:, self.columns]
        result = np.zeros((len(row), *self.weight.shape))
        for place in range(row.shape[1]):
            at = row[:, place, None, None]
            part = np.maximum(np.maximum(self.low[..., place] - at, at - self.high[..., place]), 0.0)
            if order == np.inf:
                np.maximum(result, part, out=result)
            else:
                result += part if order == 1 else part > 0 if order == 0 else part * part
        result = np.sqrt(result) if order == 2 else result
        return np.where(self.real, result, np.inf)

    @cached_property
    def meet(self) -> np.ndarray:
        """Return whether two leaves have an input in common, bool.

        The array is [groups * width, groups * width].
        """
        low, high = (edge.reshape(self.groups * self.width, len(self.columns)) for edge in (self.low, self.high))
        together = np.outer(self.real.ravel(), self.real.ravel())
        for place in range(low.shape[1]):
            together &= (low[:, place, None] <= high[None, :, place]) & (low[None, :, place] <= high[:, place, None])
        return together

    def nearest(self, x: np.ndarray, picks: np.ndarray) -> np.ndarray:
        """Return the nearest point in the chosen leaves.

        float64 [features]: the point nearest to one row x [features], in every norm, in the leaves picked (int64 [groups], places in a group).
        """
        chosen = np.arange(self.groups), picks
        point = x.copy()
        point[self.columns] = np.clip(x[self.columns], self.low[chosen].max(0), self.high[chosen].min(0))
        return point


def size(away: np.ndarray, order: float) -> np.ndarray:
    """Return the norm of changes [..., columns]; order 0 counts."""
    if order == np.inf:
        return away.max(-1, initial=0.0)
    if order == 2:
        return np.sqrt(np.square(away).sum(-1))
    return away.sum(-1) if order == 1 else (away > 0).sum(-1).astype(np.float64)


def duel(ensemble: Ensemble, right: int, rival: int, low: np.ndarray, high: np.ndarray, whole: np.ndarray, *, strict: bool = False) -> Parts:
    """Return the leaves inside a table's bounds, with the gap of the right class to the rival.

    low, high: float64 [features], the bounds, infinite where there are none. whole: bool [features], columns of whole numbers.
    By default scores that rounding may make equal count for the rival, so that what excludes it is a proof. strict: they count
    against it, so that what is found is broken for certain.
    """
    leaves = ensemble.leaves
    bottom, top = np.maximum(leaves.low, low), np.minimum(leaves.high, high)
    bottom, top = np.where(whole, np.ceil(bottom), bottom), np.where(whole, np.floor(top), top)
    inside = (bottom <= top).all(1)
    lead = leaves.value[:, right] - leaves.value[:, rival]
    limit = float(ensemble.base[rival] - ensemble.base[right]) + (-2 if strict else 2) * ensemble.slack
    groups = []
    for tree in range(ensemble.trees):
        own = np.flatnonzero(inside & (leaves.tree == tree))
        if len(own) and np.ptp(lead[own]) == 0:
            limit -= float(lead[own[0]])  # wherever an input lies, this tree adds the same
        else:
            groups.append((bottom[own][:, leaves.features], top[own][:, leaves.features], lead[own]))
    return pack(groups, limit, leaves.features)


def pack(groups: list[tuple[np.ndarray, np.ndarray, np.ndarray]], limit: float, columns: np.ndarray) -> Parts:
    """Put groups of different sizes into one array.

    Groups of (low [k, columns], high, weight [k]) of different k, filled up to one width; without any, one leaf that is everywhere.
    """
    groups = groups or [(np.full((1, len(columns)), -np.inf), np.full((1, len(columns)), np.inf), np.zeros(1))]
    width = max(len(weight) for _, _, weight in groups)
    low = np.full((len(groups), width, len(columns)), np.inf)
    high = np.full_like(low, -np.inf)
    weights = np.full((len(groups), width), np.inf)
    for place, (bottom, top, weight) in enumerate(groups):
        low[place, : len(weight)], high[place, : len(weight)], weights[place, : len(weight)] = bottom, top, weight
    return Parts(low, high, weights, limit, columns)


class Reached(NamedTuple):
    """Hold the radius at which the rival may win.

    radius: float64 [m]. picks: int64 [m, groups], the leaf of least weight within the radius; meaningless where it is infinite.
    """

    radius: np.ndarray
    picks: np.ndarray


def needed(parts: Parts, distance: np.ndarray, least: np.ndarray | None = None) -> Reached:
    """Return the least radius at which the rival may win.

    The least radius at which the lightest leaves of all groups within it add up to at most the limit; infinite where none does.

    distance: float64 [m, groups, width], infinite for leaves that are out of the question. least: float64 [m], the radius is known to be
    no less. Leaves need not meet, so this is a lower bound on the distance of the nearest input that the rival may win; of one group alone it is
    the distance itself.
    """
    radius = np.full(len(distance), np.inf)
    open_rows = np.arange(len(distance))
    if least is not None:
        enough = _sum(parts, distance, least) <= parts.limit
        radius[enough] = least[enough]
        open_rows = np.flatnonzero(~enough)
    open_rows = open_rows[_sum(parts, distance[open_rows], radius[open_rows]) <= parts.limit]
    if len(open_rows):
        radius[open_rows] = _rise(parts, distance[open_rows])
    return Reached(radius, _lightest(parts, distance, radius).argmin(2))


def _rise(parts: Parts, distance: np.ndarray) -> np.ndarray:
    """float64 [m]: by halving, the first of each row's distances at which the limit is reached, for rows where it is."""
    candidates = np.sort(distance.reshape(len(distance), -1), axis=1)
    rows = np.arange(len(distance))
    low, high = np.zeros(len(distance), dtype=np.int64), np.full(len(distance), candidates.shape[1] - 1)
    while (low < high).any():
        middle = (low + high) // 2
        enough = _sum(parts, distance, candidates[rows, middle]) <= parts.limit
        low, high = np.where(enough, low, np.minimum(middle + 1, high)), np.where(enough, middle, high)
    return candidates[rows, low]


def _lightest(parts: Parts, distance: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """float64 [m, groups, width]: the weights of leaves within the radius ([m]), infinite for others."""
    return np.where(distance <= np.minimum(radius, np.finfo(np.float64).max)[:, None, None], parts.weight, np.inf)


def _sum(parts: Parts, distance: np.ndarray, radius: np.ndarray) -> np.ndarray:
    return _lightest(parts, distance, radius).min(2).sum(1)


def close_by(parts: Parts, near: np.ndarray, reach: float) -> tuple[Parts, np.ndarray]:
    """Return the leaves within the reach of one row, and the groups that are left, int64.

    near: float64 [groups, width], the distances. A group whose leaves within the reach all weigh the same adds that, wherever in the
    reach an input lies; it is left out, and so may not be asked where the input is further away than the reach.
    """
    groups, kept, limit = [], [], parts.limit
    for place in range(parts.groups):
        own = np.flatnonzero(near[place] <= min(reach, np.finfo(np.float64).max))
        weight = parts.weight[place, own]
        if len(own) and np.ptp(weight) == 0:
            limit -= float(weight[0])
        else:
            groups.append((parts.low[place, own], parts.high[place, own], weight))
            kept.append(place)
    return pack(groups, limit, parts.columns), np.array(kept, dtype=np.int64)
