"""Proofs about trees: a box of rows cut until every part can be seen to be safe by itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sparring.models.trees.ensemble import DOUBLE, Ensemble

BATCH = 128
"""Boxes that are looked at together."""


class Box(NamedTuple):
    """Hold the ends of boxes, float64 [features] each, or [n, features]."""

    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True, eq=False)
class TreeProof:
    """Hold the proof of one sample.

    That in a box of rows no rival comes within `margin` of the right class. low, high: float64 [features]; whole: bool [features], columns of
    whole numbers; rivals: by class boxes (low, high), float64 [n, features], that fill it, each of which can be seen to be safe by itself.
    """

    ensemble: Ensemble
    low: np.ndarray
    high: np.ndarray
    whole: np.ndarray
    right: int
    margin: float
    rivals: Mapping[int, tuple[np.ndarray, np.ndarray]]


def cut_boxes(ensemble: Ensemble, right: int, rival: int, whole: np.ndarray, box: Box, margin: float, most: int) -> Box | None:
    """Split a box until each part is safe.

    Boxes that fill the box, in each of which the leaves that can be reached, the worst for the right class
    of every tree, add up to a lead over the rival of more than `margin`. None where more than `most` boxes would be looked at, or one cannot be cut.

    A box is cut where the tree whose leaves differ most tells its best from its worst leaf.
    """
    leaves, (low, high) = ensemble.leaves, box
    near = np.flatnonzero(((leaves.low <= high) & (leaves.high >= low)).all(1))
    bottom, top, tree = leaves.low[near], leaves.high[near], leaves.tree[near]
    lead = leaves.value[near, right] - leaves.value[near, rival]
    begin = np.flatnonzero(np.diff(tree, prepend=-1))
    base, count = float(ensemble.base[right] - ensemble.base[rival]), ensemble.trees
    rounding = (8 * count + 64) * DOUBLE * float(np.abs(ensemble.base).max() + count * np.abs(ensemble.value).max())  # twice what the checker allows for
    done: list[Box] = []
    open_, looked = [box], 0
    while open_:
        looked += min(BATCH, len(open_))
        if looked > most:
            return None
        boxes, open_ = open_[-BATCH:], open_[:-BATCH]
        lows, highs = (np.stack(side) for side in zip(*boxes, strict=True))
        reached = np.ones((len(boxes), len(near)), dtype=bool)
        for axis in leaves.features:
            reached &= (bottom[:, axis] <= highs[:, axis, None]) & (top[:, axis] >= lows[:, axis, None])
        least = np.minimum.reduceat(np.where(reached, lead, np.inf), begin, axis=1)
        spread = np.maximum.reduceat(np.where(reached, lead, -np.inf), begin, axis=1) - least
        safe = base + least.sum(1) > margin + rounding
        done += [one for one, good in zip(boxes, safe, strict=True) if good]
        for place in np.flatnonzero(~safe):
            own = np.flatnonzero(reached[place] & (tree == tree[begin[spread[place].argmax()]]))
            worst, best = own[lead[own].argmin()], own[lead[own].argmax()]
            if lead[worst] == lead[best]:
                return None
            open_ += _halves(boxes[place], Box(bottom[worst], top[worst]), Box(bottom[best], top[best]), whole)
    lows, highs = (np.stack(side) for side in zip(*done, strict=True))
    return Box(lows, highs)


def _halves(box: Box, one: Box, other: Box, whole: np.ndarray) -> list[Box]:
    """The box cut between two leaves that it reaches: the left half ends where the lower leaf does."""
    below, above = np.flatnonzero(one.high < other.low), np.flatnonzero(other.high < one.low)
    axis, edge = (int(below[0]), one.high[below[0]]) if len(below) else (int(above[0]), other.high[above[0]])
    left, right = box.high.copy(), box.low.copy()
    left[axis] = np.floor(edge) if whole[axis] else edge
    right[axis] = left[axis] + 1 if whole[axis] else np.nextafter(edge, np.inf)
    return [Box(box.low, left), Box(right, box.high)]


def prove(
    ensemble: Ensemble, right: int, rivals: list[int], low: np.ndarray, high: np.ndarray, whole: np.ndarray, *, margin: float, most: int = 100_000
) -> TreeProof | None:
    """Prove that no rival wins in a box.

    That no rival comes within `margin` of the right class in the box from low to high, float64 [features] both; None where that takes too many boxes.

    whole: bool [features], columns of whole numbers. most: boxes looked at, a rival.
    """
    box = Box(np.where(whole, np.ceil(low), low), np.where(whole, np.floor(high), high))
    found = {}
    for rival in rivals:
        boxes = cut_boxes(ensemble, right, rival, whole, box, margin, most)
        if boxes is None:
            return None
        found[rival] = boxes
    return TreeProof(ensemble, box.low, box.high, whole, right, margin, found)
