"""One tree: the nearest leaf in which another class wins, in closed form and in any norm."""

import numpy as np

from sparring.certification.trees.parts import Parts


def nearest_leaf(parts: Parts, x: np.ndarray, order: float) -> np.ndarray:
    """float64 [n]: exact distance of rows [n, features] to the nearest input that the rival may win; infinite where it wins nowhere.

    parts: of one group, see `duel`. order: infinity, 2, 1 or 0.
    """
    if parts.groups > 1:
        raise ValueError(f"{parts.groups} trees: the closed form is for one")
    lost = parts.weight[0] <= parts.limit
    return np.where(lost, parts.distance(x, order)[:, 0], np.inf).min(1)
