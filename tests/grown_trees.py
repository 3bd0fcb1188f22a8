"""Random small trees and the truth about them, by plain enumeration that borrows nothing from `sparring`."""

import itertools

import numpy as np

EDGES = np.arange(1, 8) / 8


def grow(draw, features, depth, number=None):
    """A tree in XGBoost's dump form, its thresholds eighths and its leaves quarters, so that scores tie exactly."""
    number = itertools.count() if number is None else number
    node = {"nodeid": next(number)}
    if depth == 0 or draw.random() < 0.15:
        return {**node, "leaf": float(draw.integers(-4, 5)) / 4}
    children = [grow(draw, features, depth - 1, number) for _ in range(2)]
    split = {"split": int(draw.integers(features)), "split_condition": float(draw.choice(EDGES))}
    return {**node, **split, "yes": children[0]["nodeid"], "no": children[1]["nodeid"], "children": children}


def ends(tree, row):
    """The leaf of a row, as XGBoost finds it."""
    while "leaf" not in tree:
        tree = tree["children"][0 if np.float32(row[tree["split"]]) < np.float32(tree["split_condition"]) else 1]
    return tree["leaf"]


def sums(trees, rows, classes):
    """float64 [n, classes]"""
    total = np.zeros((len(rows), classes))
    for place, tree in enumerate(trees):
        total[:, 1 if classes == 2 else place % classes] += [ends(tree, row) for row in rows]
    return total


def cells(row, whole=()):
    """Points that stand for every cell of the grid of thresholds in [0, 1]: in each column the place of the cell nearest to the row's.

    A cell is left <= value < right; to the left of a threshold the nearest float32 below it stands for what comes arbitrarily near."""
    columns = []
    for place, value in enumerate(row):
        if place in whole:
            columns.append(np.array([0.0, 1.0]))
            continue
        left, right = np.concatenate([[0.0], EDGES]), np.concatenate([np.nextafter(EDGES.astype(np.float32), np.float32(0)).astype(float), [1.0]])
        columns.append(np.clip(value, left, right))
    return np.array(list(itertools.product(*columns)))


def truth(trees, row, right, order, classes=2, *, whole=(), ties=True):
    """Distance of the nearest point in [0, 1] at which another class has at least (ties) or more than the score of the right one."""
    points = cells(row, whole)
    scores = sums(trees, points, classes)
    rest = np.delete(scores, right, axis=1).max(1)
    lost = rest >= scores[:, right] if ties else rest > scores[:, right]
    change = np.abs(points - row)
    sizes = {np.inf: change.max(1), 2: np.sqrt((change**2).sum(1)), 1: change.sum(1), 0: (change > 0).sum(1).astype(float)}[order]
    return sizes[lost].min(initial=np.inf)
