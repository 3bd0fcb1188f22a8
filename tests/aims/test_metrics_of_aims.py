"""Rates of membership, poisoning and extraction against scikit-learn, textbook and hand."""

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from sparring.core.errors import PlanError
from sparring.core.rate import Rate, wilson
from sparring.core.registry import find
from sparring.metrics.excess import difference, excess
from sparring.metrics.extraction import copy_accuracy, fidelity
from sparring.metrics.membership import auc, tpr
from sparring.metrics.poisoning import accuracy_drop, damaged, trained_accuracy


def cell(members, others):
    wanted = ["member"] * len(members) + ["non-member"] * len(others)
    return pd.DataFrame({"wanted": wanted, "score": [*members, *others], "status": "scored"})


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("levels", [4, 1000])
def test_auc_and_tpr_against_scikit_learn(seed, levels):
    """With many ties and with few."""
    rng = np.random.default_rng(seed)
    members, others = (rng.integers(0, levels, n) + shift for n, shift in ((83, 0.3 * levels), (131, 0.0)))
    rows = cell(members.round(), others)
    truth = (rows.wanted == "member").to_numpy()
    assert auc(rows).value == pytest.approx(roc_auc_score(truth, rows.score), abs=1e-12)
    false, true, _ = roc_curve(truth, rows.score, drop_intermediate=False)
    for most in (0.001, 0.01, 0.05, 0.3):
        assert tpr(rows, fpr=most).value == pytest.approx(true[false <= most].max(), abs=1e-12)
        assert tpr(rows, fpr=most).n == 83


def test_the_interval_of_auc_covers():
    """DeLong's interval covers the known area of two normal distributions in about 95 of 100 samples."""
    rng = np.random.default_rng(0)
    known = 0.5 * (1 + math.erf(0.8 / 2))
    hits = 0
    for _ in range(400):
        found = auc(cell(rng.normal(0.8, 1, 60), rng.normal(0, 1, 80)))
        hits += found.low <= known <= found.high
    assert 0.91 <= hits / 400 <= 0.985


@pytest.mark.parametrize(("members", "others", "area"), [([2.0] * 4, [1.0] * 3, 1.0), ([1.0, 1.0], [1.0] * 5, 0.5), ([0.0] * 3, [1.0, 2.0], 0.0)])
def test_scores_without_variance_claim_no_certainty(members, others, area):
    """The interval of the area is Wilson's for the smaller group."""
    found, expected = auc(cell(members, others)), wilson(area * min(len(members), len(others)), min(len(members), len(others)))
    assert (found.value, found.low, found.high) == (area, pytest.approx(float(expected.low)), pytest.approx(float(expected.high)))
    assert found.low < found.high


def test_nobody_is_found_without_records():
    assert auc(cell([], [1.0, 2.0])).n == tpr(cell([], [1.0])).n == 0
    with pytest.raises(PlanError, match="between 0 and 1"):
        tpr(cell([1.0], [0.0]), fpr=1.5)


def test_fidelity_counts_copies_within_the_queries():
    """Errors count for nothing; a copy of more queries is not looked at."""
    rows = pd.DataFrame({"status": ["broken", "broken", "held", "error"], "budget": 100, "quality": [1.0, 0.0, 1.0, math.nan]})
    assert (fidelity(rows).value, fidelity(rows).n) == (pytest.approx(2 / 3), 3)
    assert fidelity(rows, queries=99).n == 0
    assert fidelity(rows, queries=100).n == 3
    assert copy_accuracy(rows).value == pytest.approx(2 / 3)


def test_trials_by_hand():
    """The mean with Student's interval: 0.8, 0.9, 0.7 have the mean 0.8 and the half width 4.302653 x 0.1 / sqrt 3."""
    rows = pd.DataFrame({"quality": [0.8, 0.9, 0.7], "margin": [-0.1, 0.0, -0.2], "status": ["broken", "held", "broken"], "test_n": 600})
    half = 4.302653 * 0.1 / math.sqrt(3)
    assert (trained_accuracy(rows).value, trained_accuracy(rows).low) == (pytest.approx(0.8), pytest.approx(0.8 - half, abs=1e-6))
    assert trained_accuracy(rows).high == 1.0
    assert (accuracy_drop(rows).value, accuracy_drop(rows).low) == (pytest.approx(0.1), pytest.approx(0.1 - half, abs=1e-6))
    assert damaged(rows).value == pytest.approx(2 / 3)


@pytest.mark.parametrize("trials", [2, 3, 10])
def test_trials_that_agree_claim_no_certainty(trials):
    """The interval is then Wilson's of the 600 test samples: 540 hits, and a drop of 0 halfway between -1 and 1."""
    rows = pd.DataFrame({"quality": [0.9] * trials, "margin": [0.0] * trials, "status": "held", "test_n": 600})
    kept, lost = trained_accuracy(rows), accuracy_drop(rows)
    right, even = Rate.of(540, 600), Rate.of(300, 600)
    assert (kept.value, kept.low, kept.high, kept.n) == (pytest.approx(0.9), pytest.approx(right.low), pytest.approx(right.high), trials)
    assert (lost.value, lost.low, lost.high) == (0.0, pytest.approx(2 * even.low - 1), pytest.approx(2 * even.high - 1))


def test_the_difference_of_two_rates():
    """Newcombe 1998, table II, example (a): 56/70 - 48/80, method 10: 0.2000, from 0.0524 to 0.3339."""
    found = difference(Rate.of(56, 70), Rate.of(48, 80))
    assert (found.value, found.low, found.high) == (pytest.approx(0.2), pytest.approx(0.0524, abs=5e-5), pytest.approx(0.3339, abs=5e-5))
    assert found.n == 70
    assert difference(Rate.of(0, 5), Rate.of(5, 5)).low == -1.0


def test_the_excess_is_over_every_control():
    """Each attack against each control; without a control, or without rows of it, nothing is said."""
    rows = pd.concat([cell([3.0, 4, 5, 6], [1.0, 2, 3, 4]).assign(attack="loss"), cell([1.0, 2, 3, 4], [1.0, 2, 3, 4]).assign(attack="blind")])
    beyond = excess(find("metric", "auc"))
    ((name, rate),) = beyond.of_case(rows, ["loss"], ["blind"])
    assert name == "loss beyond blind"
    assert rate.value == pytest.approx(auc(rows[rows.attack == "loss"]).value - 0.5)
    assert rate.low < rate.value < rate.high
    for controls in ([], ["absent"]):
        ((name, rate),) = beyond.of_case(rows, ["loss"], controls)
        assert (name, rate.n) == ("", 0)


def test_a_mean_of_few():
    """One value says nothing about the spread; none says nothing at all."""
    assert (Rate.mean([0.4]).low, Rate.mean([0.4]).high) == (0.0, 1.0)
    assert Rate.mean([]).n == 0
    assert math.isnan(Rate.mean([]).value)
