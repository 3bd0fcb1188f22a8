"""Promise 8 on decision trees: the cheapest change is found by enumerating the leaves."""

import functools
import itertools
import math

import numpy as np
import pytest
import torch
from sklearn.tree import DecisionTreeClassifier

from sparring.core.registry import find
from sparring.core.rng import Rng
from sparring.core.threat import Threat
from sparring.domains.table import Column, Table
from sparring.models.estimator import EstimatorVictim
from sparring.threats.goals import Untargeted
from sparring.threats.rules import Rule, Rules

COSTS = (1.0, 0.5, 2.0)
COUNT = 12


def leaves(tree):
    """(class, low [d], high [d]) of every leaf: it holds the rows with low < float32(x) <= high."""
    inner = tree.tree_
    waiting = [(0, np.full(inner.n_features, -np.inf), np.full(inner.n_features, np.inf))]
    while waiting:
        node, low, high = waiting.pop()
        if inner.children_left[node] < 0:
            yield int(tree.classes_[inner.value[node].argmax()]), low, high
            continue
        column, threshold = inner.feature[node], inner.threshold[node]
        left, right = high.copy(), low.copy()
        left[column], right[column] = min(high[column], threshold), max(low[column], threshold)
        waiting += [(inner.children_left[node], low, left), (inner.children_right[node], right, high)]


def price(value, low, high, column, whole):
    """The cheapest way for one column into (low, high]; infinite where the column's bounds or type forbid it."""
    if low < np.float32(value) <= high:
        return 0.0
    if np.float32(value) > high:
        reached = math.floor(high) if whole else float(high)
        return COSTS[column] * (value - reached) if reached > low and reached >= 0 else math.inf
    reached = math.floor(low) + 1 if whole else float(np.nextafter(np.float32(low), np.float32(np.inf)))
    return COSTS[column] * (reached - value) if reached <= high and reached <= 10 else math.inf


def cheapest(tree, row, label, whole, columns=3):
    """The smallest cost of leaving `label` by changing at most so many columns."""
    best = math.inf
    for said, low, high in leaves(tree):
        if said != label:
            prices = [price(value, low[place], high[place], place, whole[place]) for place, value in enumerate(row)]
            if sum(one > 0 for one in prices) <= columns:
                best = min(best, sum(prices))
    return best


@functools.cache
def planted(seed, whole):
    """A tree of depth 4 over three columns in [0, 10], and rows it is to be attacked at."""
    rng = np.random.default_rng(seed)

    def drawn(count):
        rows = rng.uniform(0, 10, (count, 3))
        return np.where(np.array(whole), rows.round(), rows)

    train = drawn(200)
    truth = ((train[:, 0] - 5) * (train[:, 1] - 5) + 4 * (train[:, 2] - 5) > 0).astype(int)
    tree = DecisionTreeClassifier(max_depth=4, random_state=0).fit(train, truth)
    rows = drawn(COUNT)
    domain = Table(tuple(Column(f"c{place}", "integer" if one else "real", 0, 10) for place, one in enumerate(whole)))
    return tree, rows, tree.predict(rows), EstimatorVictim(tree, domain)


def broken(victim, rows, labels, budget, **settings):
    """bool [n]: which rows fall to coordinate search when each may spend its own budget."""
    space = Rules(torch.from_numpy(budget), tuple(Rule(f"c{place}", cost=cost) for place, cost in enumerate(COSTS)))
    points = find("attack", "coordinate")(victim, torch.from_numpy(rows), labels, Threat(space, Untargeted()), Rng.of(0, range(len(rows))), **settings)
    return victim.model.predict(points.numpy()) != labels


CASES = list(itertools.product(range(3), [(False, False, False), (True, True, True), (False, True, False)]))


@pytest.mark.parametrize(("seed", "whole"), CASES)
def test_one_column_is_exhaustive(seed, whole):
    """A row that one column can turn falls in one step as soon as the budget covers the cheapest such change; below it, it stands
    in one step. Values next to a threshold are neighbours in float32, hence the 5e-6."""
    tree, rows, labels, victim = planted(seed, whole)
    single = np.array([cheapest(tree, row, label, whole, columns=1) for row, label in zip(rows, labels, strict=True)])
    reachable = np.isfinite(single)
    assert reachable.any()
    assert broken(victim, rows, labels, np.where(reachable, single + 5e-6, 0.0), steps=1, restarts=1)[reachable].all()
    assert not broken(victim, rows, labels, np.where(reachable, single * (1 - 1e-4) - 5e-6, 30.0).clip(0), steps=1, restarts=1).any()


@pytest.mark.parametrize(("seed", "whole"), CASES)
def test_several_columns_within_a_factor(seed, whole):
    """Below the cheapest change of all nothing falls; at 1.5 times of it 9 of 10 rows do, at 3 times all."""
    tree, rows, labels, victim = planted(seed, whole)
    exact = np.array([cheapest(tree, row, label, whole) for row, label in zip(rows, labels, strict=True)])
    assert not broken(victim, rows, labels, (exact * (1 - 1e-4) - 5e-6).clip(0)).any()
    assert broken(victim, rows, labels, exact * 1.5 + 1e-6).mean() >= 0.9
    assert broken(victim, rows, labels, exact * 3 + 1e-6).all()


def test_the_enumeration_is_right():
    """The criterion itself: on a grid of cheaper points no other class is met, and the found cost is reached."""
    tree, rows, labels, _ = planted(0, (True, True, True))
    grid = np.array(list(itertools.product(range(11), repeat=3)), dtype=float)
    said = tree.predict(grid)
    for row, label in zip(rows, labels, strict=True):
        costs = (np.abs(grid - row) * COSTS).sum(1)
        assert costs[said != label].min() == pytest.approx(cheapest(tree, row, label, (True, True, True)))
