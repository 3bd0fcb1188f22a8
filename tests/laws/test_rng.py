"""Rng: numbers keyed by (seed, sample, draw) that look random and depend on nothing else."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from sparring.core.rng import Rng

IDS = [f"data/{number:05d}" for number in range(400)]


def test_uniform_is_uniform():
    """In [0, 1), flat by a Kolmogorov-Smirnov test, in both precisions."""
    for dtype in (torch.float32, torch.float64):
        drawn = Rng.of(0, IDS).uniform(100, dtype=dtype)
        assert drawn.dtype is dtype
        assert 0 <= float(drawn.min()) < 0.001
        assert 0.999 < float(drawn.max()) < 1
        assert stats.kstest(drawn.flatten().double().numpy(), "uniform").pvalue > 1e-3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_uniform_is_below_one_in_low_precision(dtype):
    """Rounding to a coarse type must not reach 1, nor overflow."""
    drawn = Rng.of(0, IDS).uniform(200, dtype=dtype)
    assert 0 <= float(drawn.min()) <= float(drawn.max()) < 1
    assert abs(float(drawn.double().mean()) - 0.5) < 0.01


def test_normal_is_normal():
    """Standard normal by a Kolmogorov-Smirnov test; odd counts too."""
    drawn = Rng.of(0, IDS).normal(101, dtype=torch.float64)
    assert drawn.shape == (400, 101)
    assert bool(drawn.isfinite().all())
    assert stats.kstest(drawn.flatten().numpy(), "norm").pvalue > 1e-3
    assert abs(float((drawn**4).mean()) - 3) < 0.15


def test_signs_are_fair():
    """-1 and +1 with equal chance."""
    drawn = Rng.of(0, IDS).signs(100)
    assert set(drawn.flatten().tolist()) == {-1.0, 1.0}
    assert abs(float(drawn.mean())) < 4 / math.sqrt(drawn.numel())


def test_integers_cover_their_range():
    """Every value of [0, high) and no other, equally often, with one bound or one a sample."""
    drawn = Rng.of(0, IDS).integers(7, 50)
    counts = np.bincount(drawn.flatten().numpy())
    assert len(counts) == 7
    assert stats.chisquare(counts).pvalue > 1e-3
    bounds = torch.arange(400) % 5 + 1
    several = Rng.of(0, IDS).integers(bounds, 60)
    assert several.amin(1).tolist() == [0] * 400
    assert several.amax(1).tolist() == (bounds - 1).tolist()


def test_samples_and_draws_are_independent():
    """No correlation between samples, between draws, between seeds or along one stream."""
    rng = Rng.of(0, IDS)
    first = rng.draw("a").normal(200, dtype=torch.float64)
    pairs = {
        "samples": (first[:-1], first[1:]),
        "draws": (first, rng.draw("b").normal(200, dtype=torch.float64)),
        "numbered draws": (rng.draw(0).normal(200, dtype=torch.float64), rng.draw(1).normal(200, dtype=torch.float64)),
        "seeds": (first, Rng.of(1, IDS).draw("a").normal(200, dtype=torch.float64)),
        "a stream": (first[:, :-1], first[:, 1:]),
        "the two of a pair": (first[:, :100], first[:, 100:]),
        "a draw and its parent": (first, rng.normal(200, dtype=torch.float64)),
    }
    for what, (one, other) in pairs.items():
        correlation = float(np.corrcoef(one.flatten().numpy(), other.flatten().numpy())[0, 1])
        assert abs(correlation) < 5 / math.sqrt(one.numel()), what


def test_a_number_belongs_to_its_sample():
    """Neither position nor neighbours matter: keyed by id, not by place."""
    whole, order = Rng.of(3, IDS).draw("x").uniform(5), torch.randperm(len(IDS))
    assert torch.equal(Rng.of(3, [IDS[row] for row in order.tolist()]).draw("x").uniform(5), whole[order])
    assert torch.equal(Rng.of(3, IDS).take(order).draw("x").uniform(5), whole[order])
    assert torch.equal(Rng.of(3, IDS[7:8]).draw("x").uniform(5), whole[7:8])
    assert len({tuple(row) for row in whole.tolist()}) == len(IDS)


def test_numbers_never_change():
    """These numbers are part of every record: a change of them is a change of every result."""
    drawn = Rng.of(0, ["a", "b"]).draw("draw").uniform(2, dtype=torch.float64)
    assert drawn.tolist() == PINNED


PINNED = [[0.24215013140487307, 0.7514432342078258], [0.32810839652573576, 0.15224573051171064]]
