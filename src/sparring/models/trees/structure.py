"""Checks that arrays of nodes are trees, before any library follows their indices."""

import numpy as np

from sparring.core.errors import LoadError

DEPTH = 4000
"""Levels that a tree may have: the libraries go down by recursion, and trees in use have some hundreds at most."""

NUMBERS = 1 << 27
"""Numbers that the leaf values of all trees may come to, nodes times classes: a gibibyte."""


def check_structure(feature: np.ndarray, left: np.ndarray, right: np.ndarray, root: np.ndarray, features: int, source: str) -> None:
    """Refuse nodes that are no trees; nodes that no root leads to are harmless.

    Args:
        feature: int [nodes], -1 at a leaf.
        left: int [nodes], the places of left children.
        right: int [nodes], the places of right children.
        root: int [trees], the places of the roots.
        features: Columns of a row.
        source: What holds the nodes, for errors.

    Raises:
        LoadError: Where a split asks for a column that rows lack, where a child is no node, where two nodes have the same child, and where a tree is too deep.
    """
    count = len(feature)
    if len(left) != count or len(right) != count:
        raise LoadError(f"{source} has {count} features, {len(left)} left and {len(right)} right children: there must be one of each per node")
    inner = feature >= 0
    if bool((feature < -1).any()):
        raise LoadError(f"{source} splits on column {int(feature.min())}: columns are numbered from 0")
    if inner.any() and int(feature.max()) >= features:
        raise LoadError(f"{source} splits on column {int(feature.max())}, but rows have the columns 0 to {features - 1}")
    children = np.concatenate([left[inner], right[inner]])
    check_range(children, 0, count, f"{source} has the child")
    reached = np.bincount(np.concatenate([root, children]), minlength=count)
    if (reached > 1).any():
        raise LoadError(f"{source}: {int(reached.max())} ways lead to node {int(reached.argmax())}, in a tree there is one: save the model again")
    level = root
    for _ in range(DEPTH):
        level = level[inner[level]]
        if not len(level):
            return
        level = np.concatenate([left[level], right[level]])
    raise LoadError(f"{source} has a tree of more than {DEPTH} levels: limit their depth, max_depth=")


def check_range(values: np.ndarray, least: int, end: int, what: str) -> None:
    """Raise LoadError for the first of some whole numbers that does not lie in [least, end)."""
    outside = (values < least) | (values >= end)
    if outside.any():
        raise LoadError(f"{what} {values[outside][0]}, outside {least} to {end - 1}: save the model again")


def check_numbers(nodes: int, classes: int, source: str) -> None:
    """Refuse leaf values that would fill the memory."""
    if classes < 1 or nodes * classes > NUMBERS:
        raise LoadError(f"{source} has {nodes:,} nodes for {classes:,} classes, more than {NUMBERS:,} numbers: train fewer or smaller trees")
