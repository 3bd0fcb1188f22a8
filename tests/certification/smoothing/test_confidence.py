"""Bounds on a probability hold as often as they say, after a fixed number of draws and at every look of a sequence."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import binom

from sparring.certification.smoothing.confidence import holm, lower_bound, p_value, sequence_lower, sequence_p_value, upper_bound
from sparring.certification.smoothing.sequential import looks
from sparring.core.errors import PlanError


def test_clopper_pearson_in_closed_form():
    """All hits: alpha to the power of 1/n. No hit: nothing is known."""
    assert lower_bound(1000, 1000, 0.001) == pytest.approx(0.001 ** (1 / 1000), abs=1e-11)
    assert lower_bound(1000, 1000, 0.001) < 0.001 ** (1 / 1000)
    assert lower_bound(0, 10, 0.01) == 0
    assert upper_bound(10, 10, 0.01) == 1
    assert upper_bound(0, 50, 0.01) == pytest.approx(1 - 0.01 ** (1 / 50), abs=1e-11)


def test_coverage_after_a_fixed_number_of_draws():
    """Summed over all outcomes, so exactly: the bound is too high with probability at most alpha, and at some p nearly that often."""
    draws, alpha = 60, 0.05
    bounds = np.array([lower_bound(hits, draws, alpha) for hits in range(draws + 1)])
    false = [float(binom.pmf(np.arange(draws + 1), draws, p)[bounds > p].sum()) for p in np.linspace(0.01, 0.99, 397)]
    assert max(false) <= alpha
    assert max(false) > 0.8 * alpha


@pytest.mark.parametrize("truth", [0.5, 0.8, 0.95, 0.99])
def test_coverage_at_every_draw_of_a_sequence(truth):
    """10,000 sequences of 1,000 draws, looked at after every single one."""
    trials, draws, alpha = 10_000, 1000, 0.05
    least = []  # hits that make the bound false, after each draw
    for drawn in range(1, draws + 1):
        few, many = math.floor(truth * drawn), drawn + 1
        while many - few > 1:
            middle = (few + many) // 2
            few, many = (few, middle) if sequence_p_value(middle, drawn, truth) <= alpha else (middle, many)
        least.append(many)
    luck, false = np.random.default_rng(0), 0
    for _ in range(10):
        hits = (luck.random((trials // 10, draws)) < truth).cumsum(1)
        false += int((hits >= np.array(least)).any(1).sum())
    assert false / trials <= alpha
    assert false / trials > alpha / 20  # the bound is not empty


def test_coverage_where_the_sequence_ends_at_its_worst():
    """10,000 runs of `looks` that end as soon as the bound is false; fixed bounds at the same looks would be false far more often."""
    alpha, truth, luck = 0.05, 0.9, np.random.default_rng(1)
    false = sum(looks(lambda turn, count: int(luck.binomial(count, truth)), 3000, alpha, lambda low: low > truth).low > truth for _ in range(10_000))
    assert 0 < false / 10_000 <= alpha
    naive = 0
    for _ in range(500):
        hits, drawn = 0, 0
        while drawn < 1000:
            count = max(50, math.ceil(drawn / 4))
            hits, drawn = hits + int(luck.binomial(count, truth)), drawn + count
            if p_value(hits, drawn, truth) <= alpha:
                naive += 1
                break
    assert naive / 500 > 2 * alpha


def test_the_bound_of_a_sequence_is_where_its_martingale_reaches_one_over_alpha():
    """`sequence_p_value` is at most alpha below the bound, and above alpha from it on up to the share of hits."""
    for hits, draws, alpha in itertools.product((1, 7, 45, 99, 100), (100, 400), (0.3, 0.05, 1e-3)):
        low = sequence_lower(hits, draws, alpha)
        assert 0 <= low < hits / draws
        below, above = np.linspace(1e-9, low, 200)[:-1], np.linspace(low + 1e-9, hits / draws, 200)[:-1]
        assert all(sequence_p_value(hits, draws, float(p)) <= alpha * (1 + 1e-6) for p in below if low > 1e-8)
        assert all(sequence_p_value(hits, draws, float(p)) >= alpha * (1 - 1e-4) for p in above)


def test_the_mixture_against_quadrature():
    """The closed form of the integral, by the midpoint rule in an angle that takes the ends of the prior away."""
    hits, draws, p = 70, 80, 0.75
    angle = (np.arange(200_000) + 0.5) / 200_000 * math.pi / 2
    theta = np.sin(angle) ** 2  # beta(1/2, 1/2) is uniform in this angle
    inside = theta > p
    ratio = np.mean((theta[inside] / p) ** hits * ((1 - theta[inside]) / (1 - p)) ** (draws - hits))
    assert sequence_p_value(hits, draws, p) == pytest.approx(1 / ratio, rel=1e-4)


def test_fixed_draws_say_more_than_a_sequence_does():
    for hits, draws in [(50, 50), (480, 500), (9990, 10_000)]:
        assert lower_bound(hits, draws, 0.001) > sequence_lower(hits, draws, 0.001) > 0.8 * lower_bound(hits, draws, 0.001)


def test_the_p_value_is_the_chance_of_as_many_hits():
    assert p_value(3, 4, 0.5) == pytest.approx((4 + 1) / 16)
    assert p_value(0, 4, 0.5) == 1
    assert (p_value(990, 1000, 0.97) <= 0.001) == (lower_bound(990, 1000, 0.001) >= 0.97)


def test_holm_steps_down():
    """By hand: 0.01 <= 0.05/3, 0.024 <= 0.05/2, 0.05 <= 0.05/1; and a failure ends it."""
    assert holm([0.05, 0.01, 0.024], 0.05) == [True, True, True]
    assert holm([0.01, 0.026, 0.03], 0.05) == [True, False, False]
    assert holm([float("nan")], 0.05) == [False]
    assert holm([], 0.05) == []


def test_holm_keeps_the_family_wise_error():
    """Uniform p-values of 20 false claims beside 5 true ones: at most alpha of the families accept a false one."""
    luck, alpha = np.random.default_rng(2), 0.1
    families = luck.random((4000, 20))
    false = sum(any(holm([*family.tolist(), 1e-9, 1e-9, 1e-4, 0.5, 0.02], alpha)[:20]) for family in families)
    assert 0.5 * alpha < false / 4000 < alpha + 3 * math.sqrt(alpha * (1 - alpha) / 4000)


@pytest.mark.parametrize(("hits", "draws", "alpha"), [(3, 2, 0.1), (-1, 2, 0.1), (0, 0, 0.1), (1, 2, 0.0), (1, 2, 1.0), (1, 2, float("nan"))])
def test_counts_that_cannot_be_are_refused(hits, draws, alpha):
    for bound in (lower_bound, sequence_lower):
        with pytest.raises(PlanError):
            bound(hits, draws, alpha)
