"""Noise on a grid: exactly where and as often as it should be; and what plain noise in floating point certifies falsely."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, norm

import sparring as sp
from sparring.certification.certificate import Verdict
from sparring.certification.smoothing.certify import smoothing
from sparring.certification.smoothing.float_sound import DIGITS, GridGaussian
from sparring.certification.smoothing.smoothed import smoothed
from sparring.core.errors import PlanError
from sparring.core.rng import Rng
from sparring.models.callable import CallableVictim

SIGMA = 0.25
DOMAIN = sp.image(1, 28, 28)


def of_levels(levels):
    """float32 images [1, 1, 28, 28] that stand for whole levels of 255."""
    return (levels.double() / 255).float().reshape(-1, 1, 28, 28)


def test_copies_lie_on_the_grid_and_depend_on_the_level_alone():
    """Every number is the float32 of k / 255 for a whole k; inputs that differ by float32 rounding are copied alike."""
    levels = torch.randint(0, 256, (784,), generator=torch.Generator().manual_seed(0))
    x, noise = of_levels(levels), GridGaussian(SIGMA)
    points = noise.around(x, Rng.of(0, ["a"]), 200, DOMAIN).points
    whole = (points.double() * 255).round()
    assert torch.equal((whole * (1 / 255)).float(), points)
    assert float(whole.min()) < 0
    assert float(whole.max()) > 255  # copies are not cut at the bounds
    nudged = torch.nextafter(x, torch.ones_like(x))
    assert torch.equal(noise.around(nudged, Rng.of(0, ["a"]), 200, DOMAIN).points, points)
    assert noise.moved(x, DOMAIN) == 0
    assert noise.moved(nudged, DOMAIN) < 1e-5  # and what is not quite on the grid pays for it


def test_whole_numbers_are_those_of_a_rounded_normal():
    """Counts of each k against the probability of its cell, with the tails in one cell each."""
    noise = GridGaussian(1.7, step=1.0)
    points = noise.around(torch.zeros(1, 1, 28, 28), Rng.of(1, ["a"]), 500, DOMAIN).points.flatten().numpy()
    counts = np.array([(points == k).sum() for k in range(-6, 7)])
    edges = norm.cdf((np.arange(-6, 8) - 0.5) / 1.7)
    expected = np.diff(edges) / (edges[-1] - edges[0]) * counts.sum()
    assert chisquare(counts, expected).pvalue > 1e-3
    assert abs(points).max() <= 16


def test_the_table_is_exact_within_its_slack():
    """Edges are whole multiples of 2^-53, symmetric, rising, and as far off the normal distribution as the slack allows, edge by edge, in 40 digits."""
    mpmath = pytest.importorskip("mpmath")
    noise = GridGaussian(SIGMA)
    edges, most = noise.edges, len(noise.edges) // 2
    assert torch.equal(edges * DIGITS, (edges * DIGITS).round())
    assert torch.equal(edges, 1 - edges.flip(0))
    assert bool((edges.diff() >= 0).all())
    with mpmath.workdps(40):
        off = [abs(mpmath.mpf(float(edge)) - mpmath.ncdf((k - most + mpmath.mpf(1) / 2) / 255 / mpmath.mpf(SIGMA))) for k, edge in enumerate(edges.tolist())]
        assert sum(off) <= noise.slack_of(1)
        assert 2 * mpmath.ncdf(-(most + mpmath.mpf(1) / 2) / 255 / SIGMA) <= noise.slack_of(1)
    assert noise.slack_of(784) < 1e-8


def test_inputs_off_the_grid_pay_for_it():
    """Half a step in every one of 784 numbers: the certified radius is shorter by that way, 28 / 510."""
    constant = CallableVictim(lambda x: np.zeros(len(x), int), DOMAIN, classes=2, labels_only=True)
    victim, y = smoothed(constant, SIGMA, float_sound=True), torch.zeros(1, dtype=torch.int64)
    on, off = (smoothing.configure(n=300)(victim, of_levels(torch.full((784,), level)), y, sp.l2(0.1), Rng.of(0, [0]))[0] for level in (100.0, 100.499))
    assert on.radius - off.radius == pytest.approx(0.499 / 255 * 28, rel=1e-4)
    assert "on the grid" in on.guarantee
    assert "floating point" in on.guarantee


class LastBits:
    """Class 1 if a number near 0 has bits that float32 cannot hold next to 2^-6: deterministic, and always the same for equal inputs.

    A copy of the black image keeps such bits. A copy of the image with every pixel at 2^-6 comes near 0 only by noise near -2^-6,
    which is a multiple of 2^-30, and so is the sum. In real arithmetic both have them with probability 1.
    """

    def __call__(self, x):
        flat = x.reshape(len(x), -1).astype(np.float64)
        fine = np.mod(flat * 2.0**30, 1) != 0
        return (fine & (np.abs(flat) < 2.0**-8)).any(1).astype(np.int64)


def test_plain_float_noise_certifies_what_is_false_and_the_grid_does_not():
    """Black image, and every pixel at 2^-6 (4/255 on the grid): 0.44 apart. Plain smoothing certifies class 1 beyond that, and is wrong."""
    model = CallableVictim(LastBits(), DOMAIN, classes=2, labels_only=True)
    black, y = torch.zeros(1, 1, 28, 28), torch.ones(1, dtype=torch.int64)
    near = torch.full_like(black, 2.0**-6)
    distance = float(near.double().norm())
    certify = smoothing.configure(n=2000)
    plain = smoothed(model, SIGMA)
    claimed = certify(plain, black, y, sp.l2(distance), Rng.of(0, [0]))[0]
    assert claimed.proved  # the failure: a property of float arithmetic, not of our code
    assert claimed.radius > distance
    with plain.session():
        assert plain.label(near).tolist() == [0]

    sound, grey = smoothed(model, SIGMA, float_sound=True), of_levels(torch.full((784,), 4.0))
    with sound.session():
        first, second = sound.label(black), sound.label(grey)
    said = certify(sound, black, y, sp.l2(float(grey.double().norm())), Rng.of(0, [0]))[0]
    assert int(first) == int(second) == 0  # on the grid no pixel has the last bits that the model looks for
    assert said.verdict is not Verdict.PROVED


def test_a_grid_needs_a_beginning_and_a_step():
    for step in (0.0, 2.0, float("nan")):
        with pytest.raises(PlanError, match="grid"):
            GridGaussian(SIGMA, step=step)
    assert "bounds" in GridGaussian(SIGMA).complaint(torch.zeros(1, 1, 28, 28), sp.image(28, 28, low=-float("inf"), high=float("inf")))
