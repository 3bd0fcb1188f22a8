"""The exact smallest change against enumeration, and bounds below it, on random small ensembles."""

import grown_trees as grown
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparring.certification.trees.clique import clique_bound, levels, merge
from sparring.certification.trees.milp import TOLERANCE, solve
from sparring.certification.trees.parts import duel, size
from sparring.certification.trees.search import search
from sparring.models.trees.xgboost_json import read_dump

ORDERS = [np.inf, 2, 1, 0]
NEAR = 1e-6
"""Eighths and quarters differ by far more; float32's neighbours by less."""


def made(seed, trees=3, features=2, depth=2, classes=2):
    draw = np.random.default_rng(seed)
    dump = [grown.grow(draw, features, depth) for _ in range(trees)]
    rows = np.where(draw.random((4, features)) < 0.3, draw.choice(grown.EDGES, (4, features)), draw.random((4, features)))
    return dump, read_dump(dump, features, classes=classes), rows


def duels(ensemble, right, whole=(), *, strict=False):
    columns = np.isin(np.arange(ensemble.features), whole)
    box = np.zeros(ensemble.features), np.ones(ensemble.features), columns
    return [duel(ensemble, right, rival, *box, strict=strict) for rival in range(ensemble.classes) if rival != right]


def same(found, expected):
    return np.array_equal(np.isinf(found), np.isinf(expected)) and np.allclose(
        np.where(np.isinf(found), 0, found), np.where(np.isinf(expected), 0, expected), atol=NEAR
    )


def nearest_leaf(parts, x, order):
    """Of one tree the exact distances in closed form: that of the nearest leaf in which the rival may win, infinite where it wins nowhere."""
    assert parts.groups == 1
    lost = parts.weight[0] <= parts.limit
    return np.where(lost, parts.distance(x, order)[:, 0], np.inf).min(1)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([1, 2, 3, 5]), st.sampled_from([1, 2, 3]), st.sampled_from(ORDERS), st.booleans())
def test_the_search_finds_what_enumeration_finds(seed, trees, features, order, strict):
    dump, ensemble, rows = made(seed, trees, features)
    for right in (0, 1):
        expected = np.array([grown.truth(dump, row, right, order, ties=not strict) for row in rows])
        found = search(duels(ensemble, right, strict=strict)[0], rows, order)
        assert found.done.all()
        assert same(found.distance, expected)
        assert same(found.proved, expected)
        hit = np.isfinite(found.distance)
        scores = grown.sums(dump, found.counterexample[hit], 2)
        gap = scores[:, 1 - right] - scores[:, right]
        assert (gap > 0 if strict else gap >= 0).all()
        assert np.allclose(size(np.abs(found.counterexample - rows)[hit], order), found.distance[hit])


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([3, 6]), st.sampled_from(ORDERS))
def test_many_classes(seed, trees, order):
    dump, ensemble, rows = made(seed, trees, classes=3)
    for right in range(3):
        expected = np.array([grown.truth(dump, row, right, order, 3) for row in rows])
        found = np.min([search(parts, rows, order).distance for parts in duels(ensemble, right)], 0)
        assert same(found, expected)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([np.inf, 2, 1]))
def test_columns_of_whole_numbers_stay_whole(seed, order):
    dump, ensemble, rows = made(seed, 4, 3)
    rows[:, 1] = rows[:, 1].round()
    expected = np.array([grown.truth(dump, row, 0, order, whole=(1,)) for row in rows])
    found = search(duels(ensemble, 0, whole=(1,))[0], rows, order)
    assert same(found.distance, expected)
    assert np.isin(found.counterexample[:, 1], (0, 1)).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(ORDERS))
def test_bounds_rise_with_merging_up_to_the_exact_distance(seed, order):
    _, ensemble, rows = made(seed, 4, 3, 2)
    parts = duels(ensemble, 0)[0]
    exact = search(parts, rows, order).distance
    bounds = [clique_bound(levels(parts, 2, level), rows, order) for level in range(3)]
    assert (bounds[0] <= bounds[1]).all()
    assert (bounds[1] <= bounds[2]).all()
    assert (bounds[2] <= exact).all()
    assert same(clique_bound(merge(parts, 4), rows, order), exact)
    assert same(nearest_leaf(merge(parts, 4), rows, order), exact)


def test_the_bound_is_no_trivial_one():
    """Merging must help somewhere, and the unmerged bound must fall short somewhere."""
    gains = []
    for seed in range(40):
        _, ensemble, rows = made(seed, 6, 3, 3)
        parts = duels(ensemble, 0)[0]
        exact = search(parts, rows, np.inf).distance
        some = np.isfinite(exact)
        gains += list(zip(*(clique_bound(levels(parts, 2, level), rows, np.inf)[some] for level in (0, 1)), exact[some], strict=True))
    none, once, exact = np.array(gains).T
    assert (none < once - NEAR).any()
    assert (once < exact - NEAR).any()
    assert once.mean() > 0.5 * exact.mean() > 0


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([2, 4]), st.sampled_from(ORDERS))
def test_the_solver_agrees(seed, trees, order):
    _, ensemble, rows = made(seed, trees, 2)
    parts = duels(ensemble, 0)[0]
    found = search(parts, rows[:2], order)
    for place, row in enumerate(rows[:2]):
        solved = solve(parts, row, order)
        assert same(np.array([solved.distance]), found.distance[place : place + 1])
        assert solved.proved <= found.distance[place]
        if np.isfinite(solved.proved):
            assert solved.proved >= found.distance[place] - (20 * TOLERANCE) ** (0.5 if order == 2 else 1)
            assert solved.counterexample is not None


def test_the_solver_proves_nothing_without_time_and_the_reach_where_nothing_is_near():
    _, ensemble, rows = made(3, 5, 3, 3)
    parts = duels(ensemble, 0)[0]
    distance = search(parts, rows, np.inf).distance
    row = int(np.flatnonzero(np.isfinite(distance) & (distance > 0.1))[0])
    half = solve(parts, rows[row], np.inf, reach=distance[row] / 2)
    assert half.counterexample is None
    assert half.proved == distance[row] / 2


@pytest.mark.parametrize("order", ORDERS)
def test_nothing_beyond_the_reach_is_found_and_the_reach_is_proved(order):
    _, ensemble, rows = made(11, 5, 3, 3)
    parts = duels(ensemble, 0)[0]
    full = search(parts, rows, order).distance
    reach = np.where(np.isfinite(full), full * 0.999, 0.5)
    found = search(parts, rows, order, reach=reach)
    assert np.isinf(found.distance[full > 0]).all()
    assert np.array_equal(found.proved[full > 0], reach[full > 0])
    assert np.array_equal(search(parts, rows, order, reach=np.where(np.isfinite(full), full, 9.0)).distance, full)


def test_a_search_that_is_stopped_proves_less_than_the_truth_and_says_so():
    stopped = 0
    for seed in range(30):
        _, ensemble, rows = made(seed, 8, 3, 3)
        parts = duels(ensemble, 0)[0]
        full = search(parts, rows, 2).distance
        found = search(parts, rows, 2, states=1)
        assert (found.proved <= full).all()
        assert (found.distance >= full).all()
        assert np.array_equal(found.proved[found.done], full[found.done])
        stopped += int((~found.done).sum())
    assert stopped > 10


@pytest.mark.parametrize("order", ORDERS)
def test_rows_that_are_searched_one_by_one_in_stages_find_the_same(monkeypatch, order):
    """Large ensembles are searched among the leaves nearby, row by row; here every ensemble is large."""
    for seed in range(6):
        dump, ensemble, rows = made(seed, 6, 3, 3)
        parts = duels(ensemble, 0)[0]
        expected = search(parts, rows, order)
        monkeypatch.setattr("sparring.certification.trees.search.MANY", 0)
        staged = search(parts, rows, order)
        monkeypatch.undo()
        assert staged.done.all()
        assert same(staged.distance, expected.distance)
        assert same(staged.proved, expected.proved)
        hit = np.isfinite(staged.distance)
        assert np.allclose(size(np.abs(staged.counterexample - rows)[hit], order), staged.distance[hit])
        scores = grown.sums(dump, staged.counterexample[hit], 2)
        assert (scores[:, 1] >= scores[:, 0]).all()


def test_batches_and_single_rows_agree():
    _, ensemble, rows = made(5, 6, 3, 3)
    rows = np.random.default_rng(0).random((60, 3))
    parts = duels(ensemble, 1)[0]
    together = search(parts, rows, 1)
    for batch in (1, 7):
        assert np.array_equal(search(parts, rows, 1, batch=batch).distance, together.distance)
    assert np.array_equal(np.concatenate([search(parts, row[None], 1).distance for row in rows[:10]]), together.distance[:10])


def test_on_the_threshold_and_one_float_beside_it():
    """XGBoost sends what is below the threshold, after rounding to float32, to the left."""
    stump = [{"nodeid": 0, "split": 0, "split_condition": 0.5, "yes": 1, "no": 2, "children": [{"nodeid": 1, "leaf": -1.0}, {"nodeid": 2, "leaf": 1.0}]}]
    ensemble = read_dump(stump, 1)
    below = 0.5 - 2.0**-26  # rounds to 0.5, the even neighbour
    rows = np.array([[0.5], [below], [np.nextafter(below, 0)], [0.25]])
    assert ensemble.label(rows).tolist() == [1, 1, 0, 0]
    found = search(duels(ensemble, 0)[0], rows, np.inf)
    assert found.distance.tolist() == [0.0, 0.0, below - np.nextafter(below, 0), below - 0.25]
    found = search(duels(ensemble, 1)[0], rows, np.inf)
    assert found.distance.tolist() == [0.5 - np.nextafter(below, 0), below - np.nextafter(below, 0), 0.0, 0.0]


def test_an_ensemble_that_says_the_same_everywhere():
    ensemble = read_dump([{"nodeid": 0, "leaf": 1.0}], 2)
    rows = np.random.default_rng(0).random((3, 2))
    assert np.isinf(search(duels(ensemble, 1)[0], rows, np.inf).proved).all()
    assert np.isinf(nearest_leaf(duels(ensemble, 1)[0], rows, np.inf)).all()
    assert search(duels(ensemble, 0)[0], rows, 2).distance.tolist() == [0, 0, 0]
    assert np.isinf(solve(duels(ensemble, 1)[0], rows[0], 1).proved)
