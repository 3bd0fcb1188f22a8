"""Lower bounds on the smallest change by cliques of leaves: Chen, Zhang, Si, Li, Boning, Hsieh 2019, "Robustness verification of
tree-based models" (arXiv:1906.03849), section 3.2.

Leaves of different trees that meet form the cliques of a graph with one part a tree. Trees are merged `max_clique` at a time into
groups whose leaves are all places where their leaves meet, `max_level` times over; then each group may do its worst
by itself. We differ in three ways. The groups are made once for an ensemble and not once a row and radius: which leaves meet depends on
neither. The radius is therefore not found by ten halvings but exactly. And since a group's leaf has a distance in every norm, the bound
is not for Linf alone.
"""

import itertools

import numpy as np

from sparring.certification.trees.parts import BLOCK, Parts, needed, pack


def merge(parts: Parts, count: int, *, most: int = 200_000) -> Parts:
    """Return the groups with every `count` neighbours merged.

    most: leaves that a group may have; groups that would have more stay as they are.
    """
    groups = [(parts.low[place][real], parts.high[place][real], parts.weight[place][real]) for place, real in enumerate(parts.real)]
    made = []
    for start in range(0, len(groups), count):
        own = groups[start : start + count]
        together = own[0]
        for low, high, weight in own[1:]:
            if len(together[2]) * len(weight) * max(1, low.shape[1]) > BLOCK * 8 or len(together[2]) > most:
                made.append(together)
                together = (low, high, weight)
                continue
            together = _meeting(together, (low, high, weight))
        made.append(together)
    return pack(made, parts.limit, parts.columns)


def _meeting(one: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    together = np.ones((len(one[2]), len(other[2])), dtype=bool)
    for place in range(one[0].shape[1]):
        together &= (one[0][:, place, None] <= other[1][None, :, place]) & (other[0][None, :, place] <= one[1][:, place, None])
    first, second = together.nonzero()
    return np.maximum(one[0][first], other[0][second]), np.minimum(one[1][first], other[1][second]), one[2][first] + other[2][second]


def levels(parts: Parts, max_clique: int = 2, max_level: int = 1) -> Parts:
    """Merge groups `max_level` times; level 0 is the sum of the worst leaves."""
    for _, _ in itertools.product(range(max_level), range(parts.groups > 1)):
        parts = merge(parts, max_clique)
    return parts


def clique_bound(parts: Parts, x: np.ndarray, order: float) -> np.ndarray:
    """Return a lower bound of the distance at which the rival may win.

    float64 [n]: rows [n, features] closer than this to the given ones keep the right class ahead of the rival; infinite where the rival never wins.

    parts: merged by `levels`. order: infinity, 2, 1 or 0.
    """
    step = max(1, BLOCK // max(1, parts.groups * parts.width))
    return np.concatenate([needed(parts, parts.distance(x[start : start + step], order)).radius for start in range(0, len(x), step)] or [np.zeros(0)])
