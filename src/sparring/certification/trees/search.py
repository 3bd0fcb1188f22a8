"""The exact smallest change that lets a rival win, by best-first branch and bound over leaves.

A state is a set of leaves still possible in each tree. Its bound is the least radius at which the lightest possible leaves of
all trees, taken singly, let the rival win (`parts.needed`: the bound of Chen et al. 2019, arXiv:1906.03849, without merging). Where the
lightest leaves meet, the bound is reached; where they do not, the state is split by the leaves of the tree whose leaf misses most of
the others. States are taken in the order of their bounds, so the smallest bound that is left is proved at any time. The rows are searched
side by side, so that one pass over arrays serves many of them.
"""

import heapq
import itertools
import time
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from sparring.certification.trees.parts import BLOCK, Parts, close_by, needed, size

MANY = 512
"""Leaves, filling included, above which rows are searched one by one among the leaves near them."""

MOST = 16_000
"""Leaves, filling included, whose meetings are kept in a table (one byte each)."""

GROWTH = 1.25
"""Of the reach from stage to stage, for rows that are searched one by one."""


class SearchResult(NamedTuple):
    """Hold the result of a search.

    proved: float64 [n], no input nearer than this lets the rival win. distance: float64 [n], of the nearest input found, infinite for none.
    counterexample: float64 [n, features], that input, the row itself where there is none. done: bool [n], proved and distance are one, or there is
    nothing within the reach. states: int64 [n]. seconds: float64 [n].
    """

    proved: np.ndarray
    distance: np.ndarray
    counterexample: np.ndarray
    done: np.ndarray
    states: np.ndarray
    seconds: np.ndarray


def search(
    parts: Parts,
    x: np.ndarray,
    order: float,
    *,
    reach: np.ndarray | float = np.inf,
    seconds: float | None = None,
    states: int = 200_000,
    batch: int = 256,
) -> SearchResult:
    """Return the smallest changes of rows [n, features] that let the rival win.

    parts: from `duel`, with ties for the rival or against it. order: of the norm: infinity, 2, 1 or 0. reach: [n] or a number, nothing
    further away is looked for. seconds, states: where to give up, a row. batch: states that are looked at together.
    """
    reach = np.broadcast_to(np.asarray(reach, dtype=np.float64), len(x))
    if parts.groups * parts.width > MANY:
        pieces = [_in_stages(parts, x[at : at + 1], order, float(reach[at]), seconds, states, batch) for at in range(len(x))]
        return SearchResult(*(np.concatenate(each) for each in zip(*pieces, strict=True))) if pieces else _empty(x)
    room = max(1, BLOCK // max(1, parts.groups * parts.width * (1 if order == np.inf else max(1, len(parts.columns)))))
    step = max(1, min(batch, room))
    pieces = [_search(parts, x[at : at + step], order, reach[at : at + step], seconds, states, step) for at in range(0, len(x), step)]
    return SearchResult(*(np.concatenate(each) for each in zip(*pieces, strict=True))) if pieces else _empty(x)


def _in_stages(parts: Parts, x: np.ndarray, order: float, reach: float, seconds: float | None, states: int, batch: int) -> SearchResult:
    """One row, [1, features], with a reach that begins just above the first bound and grows until something is found: of a large ensemble few
    leaves are near."""
    began = time.perf_counter()
    near = parts.distance(x, order)
    stage, end = float(needed(parts, near).radius[0]), float(near[np.isfinite(near)].max())
    candidates = np.unique(near[near > 0])
    proved, asked = min(stage, reach), 1
    while True:
        following = np.searchsorted(candidates, stage, side="right")
        stage = max(stage * GROWTH, float(candidates[following]) if following < len(candidates) else np.inf)
        limit = reach if stage >= min(reach, end) else stage
        some, _ = close_by(parts, near[0], limit)
        left = None if seconds is None else seconds - (time.perf_counter() - began)
        if some.groups * some.width > MOST or asked >= states or (left is not None and left <= 0):
            return _found(x, proved, np.inf, x[0], False, asked, began)
        step = max(1, min(batch, BLOCK // (some.groups * some.width * (1 if order == np.inf else max(1, len(parts.columns))))))
        found = _search(some, x, order, np.array([limit]), left, states - asked, step)
        asked += int(found.states[0])
        proved = max(proved, float(found.proved[0]))
        if not found.done[0] or np.isfinite(found.distance[0]) or limit >= reach:
            return _found(x, proved, float(found.distance[0]), found.counterexample[0], bool(found.done[0]), asked, began)


def _found(x: np.ndarray, proved: float, distance: float, counterexample: np.ndarray, done: bool, states: int, began: float) -> SearchResult:
    seconds = time.perf_counter() - began
    return SearchResult(np.array([proved]), np.array([distance]), counterexample[None], np.array([done]), np.array([states]), np.array([seconds]))


def _empty(x: np.ndarray) -> SearchResult:
    return SearchResult(np.zeros(0), np.zeros(0), x.copy(), np.zeros(0, dtype=bool), np.zeros(0, dtype=np.int64), np.zeros(0))


@dataclass
class _Frontier:
    """What one search knows. queues: a heap of (bound, number, possible, away, branch) for each row."""

    parts: Parts
    x: np.ndarray
    order: float
    reach: np.ndarray
    distance: np.ndarray
    near: np.ndarray
    away: np.ndarray | None
    counterexample: np.ndarray
    queues: list[list[tuple[float, int, np.ndarray, np.ndarray | None, int]]]
    number: itertools.count = field(default_factory=itertools.count)

    def put(self, row: np.ndarray, possible: np.ndarray, moved: np.ndarray | None, least: np.ndarray | None = None) -> None:
        """Bound states, keep what is found, and queue what is to be split. row: int64 [m]; possible: bool [m, leaves]; moved: [m, columns];
        least: [m], what is known of their bounds."""
        parts = self.parts
        shape = (len(row), parts.groups, parts.width)
        joint = self.near[row].reshape(len(row), -1) if moved is None or self.away is None else size(np.maximum(self.away[row], moved[:, None]), self.order)
        bound, picks = needed(parts, np.where(possible, joint, np.inf).reshape(shape), least)
        use = np.flatnonzero((bound < self.distance[row]) & (bound <= self.reach[row]))
        if not len(use):
            return
        row, possible, bound, picks = row[use], possible[use], bound[use], picks[use]
        leaf = picks + np.arange(parts.groups) * parts.width
        misses = (~parts.meet[leaf[:, :, None], leaf[:, None, :]]).sum(2)
        apart = misses.any(1)
        branch = misses.argmax(1)
        split = apart.copy()
        for place in np.flatnonzero(~apart):
            split[place], branch[place] = self.keep(int(row[place]), picks[place], leaf[place], possible[place], float(bound[place]))
        for place in np.flatnonzero(split):
            entry = (float(bound[place]), next(self.number), possible[place], None if moved is None else moved[use[place]], int(branch[place]))
            heapq.heappush(self.queues[row[place]], entry)

    def keep(self, row: int, picks: np.ndarray, leaf: np.ndarray, possible: np.ndarray, bound: float) -> tuple[bool, int]:
        """Note the place where the picked leaves meet. Is there more to be found in the state, and in which group?

        In Linf the place is as near as the bound says, so there is not; in other norms the bound may be below it.
        """
        if self.away is None:
            reached = bound
        else:
            reached = float(size(self.away[row, leaf].max(0), self.order))
        if reached < self.distance[row] and reached <= self.reach[row]:
            self.distance[row] = reached
            self.counterexample[row] = self.parts.nearest(self.x[row], picks)
        if reached <= bound:
            return False, 0
        open_groups = possible.reshape(self.parts.groups, self.parts.width).sum(1) > 1
        cost = np.where(open_groups, self.near[row].reshape(self.parts.groups, self.parts.width)[np.arange(self.parts.groups), picks], -1.0)
        return bool(open_groups.any()), int(cost.argmax())

    def least(self, row: int) -> float:
        """The smallest bound that is left."""
        queue = self.queues[row]
        return min(queue[0][0] if queue else np.inf, self.distance[row])

    def over(self, row: int) -> bool:
        return not self.queues[row] or self.queues[row][0][0] >= self.distance[row]

    def split(self, taken: list[tuple[int, tuple[float, int, np.ndarray, np.ndarray | None, int]]]) -> None:
        """The states divided by the leaves of their branches."""
        parts = self.parts
        possible = np.stack([entry[2] for _, entry in taken])
        branch = np.array([entry[4] for _, entry in taken])
        mine = np.arange(parts.groups * parts.width) // parts.width == branch[:, None]
        parent, leaf = (possible & mine).nonzero()
        row, least = np.array([row for row, _ in taken])[parent], np.array([entry[0] for _, entry in taken])[parent]
        moved = None
        if self.away is not None:
            before = np.stack([entry[3] for _, entry in taken if entry[3] is not None])
            moved = np.maximum(before[parent], self.away[row, leaf])
        step = max(1, BLOCK // max(1, parts.groups * parts.width * (1 if moved is None else max(1, len(parts.columns)))))
        for at in range(0, len(row), step):
            part = slice(at, at + step)
            self.put(row[part], possible[parent[part]] & parts.meet[leaf[part]], None if moved is None else moved[part], least[part])


def _search(parts: Parts, x: np.ndarray, order: float, reach: np.ndarray, seconds: float | None, states: int, batch: int) -> SearchResult:
    count = len(x)
    began = time.perf_counter()
    near = parts.distance(x, order)
    away = None if order == np.inf else parts.away(x).reshape(count, parts.groups * parts.width, len(parts.columns))
    frontier = _Frontier(parts, x, order, reach, np.full(count, np.inf), near, away, x.copy(), [[] for _ in range(count)])
    rows = np.arange(count)
    frontier.put(rows, (np.isfinite(near) & (near <= reach[:, None, None])).reshape(count, -1), None if away is None else np.zeros((count, away.shape[2])))
    asked, spent = np.ones(count, dtype=np.int64), np.full(count, (time.perf_counter() - began) / count)
    active = [row for row in range(count) if not frontier.over(row)]
    while active:
        began = time.perf_counter()
        share = max(1, batch // len(active))
        taken = [(row, heapq.heappop(frontier.queues[row])) for row in active for _ in range(min(share, len(frontier.queues[row])))]
        taken = [(row, entry) for row, entry in taken if entry[0] < frontier.distance[row]]
        if taken:
            frontier.split(taken)
        mine = np.bincount([row for row, _ in taken], minlength=count)
        asked += mine
        spent += (time.perf_counter() - began) * mine / max(1, len(taken))
        active = [row for row in active if not frontier.over(row) and asked[row] < states and (seconds is None or spent[row] < seconds)]
    done = np.array([frontier.over(row) for row in range(count)], dtype=bool)
    left = np.array([frontier.least(row) for row in range(count)])
    proved = np.where(done, np.where(np.isfinite(frontier.distance), frontier.distance, np.where(np.isfinite(reach), reach, np.inf)), left)
    return SearchResult(proved, frontier.distance, frontier.counterexample, done, asked, spent)
