"""The Wilson interval against SciPy's, number by number and array by array."""

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from sparring.core.rate import Rate, wilson
from sparring.domains.image import image
from sparring.models.adapter import victim
from sparring.models.eot import EotVictim


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
@pytest.mark.parametrize("n", [1, 2, 7, 100, 12345])
def test_the_interval_is_scipys(n, confidence):
    """For no hit, all hits and some between, to the last few bits."""
    hits = np.unique(np.linspace(0, n, 9).astype(int))
    found = wilson(hits, n, confidence)
    for place, one in enumerate(hits):
        expected = binomtest(int(one), n).proportion_ci(confidence, method="wilson")
        assert (found.low[place], found.high[place]) == pytest.approx((expected.low, expected.high), rel=1e-14, abs=1e-16)
        rate = Rate.of(int(one), n, confidence)
        assert (rate.low, rate.high) == (found.low[place], found.high[place])


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("n", [2, 3, 50])
def test_equal_values_have_the_interval_of_zeros_and_ones(value, n):
    """Their mean is no more certain than the share of n trials, however they are scaled; rounding makes no difference."""
    values = np.full(n, value) + 1e-17 * np.arange(n)
    expected = wilson(value * n, n)
    found, scaled = Rate.mean(values), Rate.mean(10 * values - 5, low=-5, high=5)
    assert (found.low, found.high) == pytest.approx((float(expected.low), float(expected.high)))
    assert (scaled.low, scaled.high) == pytest.approx((10 * found.low - 5, 10 * found.high - 5))
    assert found.low < found.high


def test_values_without_an_end_keep_students_interval():
    assert Rate.mean([2.0, 2.0], high=np.inf) == Rate(2.0, 2.0, 2.0, 2)


class Chance(torch.nn.Module):
    """Draws its answer at random: class 1 with a chance that grows with the input."""

    def forward(self, z):
        hit = (torch.rand(len(z)) < z.flatten(1).mean(1)).double()
        return torch.stack([1 - hit, hit], 1)


def test_the_votes_of_draws_have_the_same_interval():
    """Every row of a vote carries the interval of its own count."""
    x = torch.linspace(0, 1, 9)[:, None, None, None].expand(-1, 1, 2, 2)
    model = EotVictim(victim(Chance(), image(1, 2, 2), search="plain"), 20)
    with model.session(3):
        vote = model.vote(x, confidence=0.9)
    counts = (vote.share * 20).round().int().tolist()
    assert len(set(counts)) > 2
    for row, count in enumerate(counts):
        expected = binomtest(count, 20).proportion_ci(0.9, method="wilson")
        assert (float(vote.low[row]), float(vote.high[row])) == pytest.approx((expected.low, expected.high), abs=1e-15)
