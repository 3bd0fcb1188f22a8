"""`Ensemble`: decision trees whose leaf values are summed per class, or to one value, as their library does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from sparring.core.errors import LoadError
from sparring.models.trees.structure import check_range, check_structure

DOUBLE = 2.0**-52
SINGLE = 2.0**-23
"""Spacing of the numbers near 1 in which a library adds up the leaves."""


class Leaves(NamedTuple):
    """Represent the leaves of all trees, tree after tree.

    low, high: float64 [leaves, features], both ends belong to the leaf. value: float64 [leaves, classes]. tree: int64
    [leaves]. features: int64, the columns that any split asks about.
    """

    low: np.ndarray
    high: np.ndarray
    value: np.ndarray
    tree: np.ndarray
    features: np.ndarray


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Hold trees over float64 rows.

    A row goes left where `row[feature] <= edge`, and its class is the one with the highest sum.

    Libraries compare in their own way: XGBoost rounds a row to float32 and sends it left below the threshold, scikit-learn
    rounds it to float32 and sends it left up to the float64 threshold, LightGBM compares float64 with float64. Rounding never
    changes an order, so each of these is `row <= edge` for exactly one float64 edge (`below_single`, `up_to_single`), which is what is kept here:
    the rows of a leaf are the float64 numbers of a closed box, and what holds for the box holds for the model as it is called.

    feature: int64 [nodes], -1 at a leaf. edge: float64 [nodes]. left, right: int64 [nodes]. value: float64 [nodes, classes], what a leaf adds.
    root: int64 [trees]. base: float64 [classes], added to the sum; a model with one score has 0 for class 0. An ensemble with a single column of
    sums is no classifier: its sum is the value that it predicts. features: columns of a row.
    unit: spacing of the floating-point numbers the library sums in. source: where it came from. checked: how the
    reading was compared with the library; empty where it could not be. names: of the columns, where the file has them.
    """

    feature: np.ndarray
    edge: np.ndarray
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray
    root: np.ndarray
    base: np.ndarray
    features: int
    unit: float = DOUBLE
    source: str = ""
    checked: str = ""
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        inner = self.feature >= 0
        if not len(self.root):
            raise LoadError(f"{self.source or 'the ensemble'} has no trees: train it first")
        if not (np.isfinite(self.value).all() and np.isfinite(self.base).all()) or np.isnan(self.edge[inner]).any():
            raise LoadError(f"{self.source or 'the ensemble'} has a leaf value, threshold or base score that is NaN or infinite, so it cannot be certified")
        check_structure(self.feature, self.left, self.right, self.root, self.features, self.source or "the ensemble")

    @property
    def classes(self) -> int:
        """Return the number of classes; 1 where the sum is a value."""
        return self.value.shape[1]

    @property
    def numeric(self) -> bool:
        """Return whether the sum is the answer, a value, and not the score of a class."""
        return self.classes == 1

    @property
    def trees(self) -> int:
        """Return the number of trees."""
        return len(self.root)

    def scores(self, x: ArrayLike) -> np.ndarray:
        """Return the sums for rows [n, features].

        NaN for a row in which a number is missing or infinite, float64 [n, classes].
        """
        rows = self._rows(x)
        total = np.tile(self.base, (len(rows), 1))
        for node in self._nodes(rows).T:
            total += self.value[node]
        total[~np.isfinite(rows).all(1)] = np.nan
        return total

    def label(self, x: ArrayLike) -> np.ndarray:
        """Return the class with the highest sum, of equal ones the first.

        -1 where a number is missing or infinite, int64 [n].
        """
        scores = self.scores(x)
        return np.where(np.isnan(scores).any(1), -1, scores.argmax(1))

    def over(self, places: Sequence[int] | None) -> "Ensemble":
        """Return the same trees over rows in which their column k stands at `places[k]`.

        None leaves the order as it is.
        """
        if places is None:
            return self
        moved = np.asarray(places, dtype=np.int64)[np.maximum(self.feature, 0)]
        return replace(self, feature=np.where(self.feature >= 0, moved, self.feature))

    def _rows(self, x: ArrayLike) -> np.ndarray:
        rows = np.asarray(x, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != self.features:
            raise LoadError(f"rows have shape {rows.shape}, but the trees take [n, {self.features}]")
        return rows

    def _nodes(self, rows: np.ndarray) -> np.ndarray:
        """int64 [n, trees]: the leaf each row ends in."""
        node = np.tile(self.root, (len(rows), 1))
        index = np.arange(len(rows))[:, None]
        while (self.feature[node] >= 0).any():
            feature = self.feature[node]
            further = np.where(rows[index, feature] <= self.edge[node], self.left[node], self.right[node])
            node = np.where(feature >= 0, further, node)
        return node

    @cached_property
    def slack(self) -> float:
        """Return how far a computed score may lie from the sum in real arithmetic.

        It covers every order of summation, the
        rounding of the base score and of a final sigmoid or softmax (scores nearer to each other than this can come out equal).
        """
        largest = np.zeros(self.trees)
        leaves = self.leaves
        np.maximum.at(largest, leaves.tree, np.abs(leaves.value).max(1))
        return float((self.trees + 8) * self.unit * (1 + largest.sum() + np.abs(self.base).max()))

    @cached_property
    def leaves(self) -> Leaves:
        """Return the leaves that any row can reach, and their boxes."""
        low, high, value, tree = [], [], [], []
        for place, root in enumerate(self.root):
            stack = [(int(root), np.full(self.features, -np.inf), np.full(self.features, np.inf))]
            while stack:
                node, bottom, top = stack.pop()
                feature, edge = int(self.feature[node]), self.edge[node]
                if feature < 0:
                    low.append(bottom)
                    high.append(top)
                    value.append(self.value[node])
                    tree.append(place)
                    continue
                if top[feature] > edge:
                    above = bottom.copy()
                    above[feature] = max(bottom[feature], np.nextafter(edge, np.inf))
                    stack.append((int(self.right[node]), above, top))
                if bottom[feature] <= edge:
                    under = top.copy()
                    under[feature] = min(top[feature], edge)
                    stack.append((int(self.left[node]), bottom, under))
        asked = np.unique(self.feature[self.feature >= 0])
        return Leaves(np.array(low), np.array(high), np.array(value), np.array(tree, dtype=np.int64), asked)

    def points(self, count: int = 256, seed: int = 0) -> np.ndarray:
        """Return the rows to compare a reading by.

        Half of the numbers stand on an edge or right behind it, float64 [count, features].
        """
        draw = np.random.default_rng(seed)
        rows = draw.normal(size=(count, self.features))
        for column in range(self.features):
            edges = np.unique(self.edge[(self.feature == column) & np.isfinite(self.edge)])
            if not len(edges):
                continue
            room = 0.1 * (edges[-1] - edges[0]) + 0.1 * (1 + abs(edges[0]))
            rows[:, column] = draw.uniform(edges[0] - room, edges[-1] + room, count)
            chosen = draw.choice(edges, count)
            kind = draw.integers(0, 4, count)
            rows[:, column] = np.where(kind == 0, chosen, np.where(kind == 1, np.nextafter(chosen, np.inf), rows[:, column]))
        return rows


def agree(ensemble: Ensemble, library: str, label: Callable[[np.ndarray], np.ndarray], scores: Callable[[np.ndarray], np.ndarray] | None = None) -> Ensemble:
    """Return the ensemble, marked as checked.

    label: rows to class places, as the library predicts, not asked where the sum is a value; scores: its raw sums [n] or [n, classes].

    Raises LoadError where the library says anything else about the points of `Ensemble.points`.
    """
    rows = ensemble.points()
    own = ensemble.scores(rows)
    if scores is not None:
        theirs = np.asarray(scores(rows), dtype=np.float64)
        if ensemble.numeric:
            theirs = theirs.reshape(-1, 1)
        elif theirs.ndim < 2 or theirs.shape[1] < 2:
            theirs = np.stack([np.zeros(len(rows)), theirs.reshape(-1)], 1)
        gap = np.abs(theirs - own).max()
        if not gap <= ensemble.slack:
            raise LoadError(f"{ensemble.source}: the trees as read give scores that differ from {library}'s by {gap:.3g}: this kind of model is not supported")
    if ensemble.numeric:
        return replace(ensemble, checked=f"agrees with {library} on {len(rows)} points")
    ranked = np.sort(own, 1)
    clear = ranked[:, -1] - ranked[:, -2] > 2 * ensemble.slack
    wrong = clear & (np.asarray(label(rows)) != own.argmax(1))
    if wrong.any():
        raise LoadError(
            f"{ensemble.source}: the trees as read disagree with {library} on {wrong.sum()} of {len(rows)} points: this kind of model is not supported"
        )
    return replace(ensemble, checked=f"agrees with {library} on {len(rows)} points")


class Tree(NamedTuple):
    """Represent one tree as a reader finds it.

    feature: int [nodes], -1 at a leaf; edge: float64 [nodes]; left, right: places in this tree; value: float64 [nodes,
    classes].
    """

    feature: np.ndarray
    edge: np.ndarray
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray


def gather(trees: Sequence[Tree], base: ArrayLike, features: int, *, unit: float, source: str, names: Sequence[str] = ()) -> Ensemble:
    """Combine trees into one ensemble."""
    if not trees:
        raise LoadError(f"{source} has no trees: train it first")
    sizes = [len(tree.feature) for tree in trees]
    if wrong := next((tree for tree in trees if len({len(part) for part in tree}) > 1), None):
        raise LoadError(f"{source} has a tree with lists of {', '.join(str(len(part)) for part in wrong)} nodes: save the model again")
    own = np.repeat(sizes, sizes)
    for side in ("left", "right"):
        inner = np.concatenate([tree.feature for tree in trees]) >= 0
        child = np.concatenate([getattr(tree, side) for tree in trees])
        if (lost := inner & ((child < 0) | (child >= own))).any():
            check_range(child[lost], 0, int(own[lost][0]), f"{source} has the child")
    root = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    left, right = (
        np.concatenate([np.where(tree.feature >= 0, side + start, -1) for tree, side, start in zip(trees, sides, root, strict=True)])
        for sides in ([tree.left for tree in trees], [tree.right for tree in trees])
    )
    return Ensemble(
        np.concatenate([tree.feature for tree in trees]).astype(np.int64),
        np.concatenate([tree.edge for tree in trees]).astype(np.float64),
        left.astype(np.int64),
        right.astype(np.int64),
        np.concatenate([tree.value for tree in trees]).astype(np.float64),
        root,
        np.asarray(base, dtype=np.float64),
        features,
        unit,
        source,
        names=tuple(names),
    )


def column(value: np.ndarray, place: int, classes: int) -> np.ndarray:
    """Return leaf values [nodes] that count for one class alone, float64 [nodes, classes]."""
    spread = np.zeros((len(value), classes))
    spread[:, place] = value
    return spread


def up_to_single(threshold: ArrayLike) -> np.ndarray:
    """Return the largest float64 that, rounded to float32, is at most the float64 threshold.

    >>> float(up_to_single(0.5)) == 0.5 + 2.0**-25
    True
    """
    threshold = np.asarray(threshold, dtype=np.float64)
    with np.errstate(over="ignore", under="ignore"):
        last = threshold.astype(np.float32)
        last = np.where(last.astype(np.float64) > threshold, np.nextafter(last, np.float32(-np.inf)), last)
        following = np.nextafter(last, np.float32(np.inf)).astype(np.float64)
        middle = (last.astype(np.float64) + np.where(np.isinf(following), 2.0**128, following)) / 2
        return np.where(middle.astype(np.float32) == last, middle, np.nextafter(middle, -np.inf))


def below_single(threshold: ArrayLike) -> np.ndarray:
    """Return the largest float64 that, rounded to float32, is below the float32 threshold."""
    with np.errstate(over="ignore", under="ignore"):
        return up_to_single(np.nextafter(np.asarray(threshold, dtype=np.float32), np.float32(-np.inf)).astype(np.float64))
