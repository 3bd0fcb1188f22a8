"""Attacks that see labels only, on planes whose distance is known, and the pieces they share."""

import functools

import numpy as np
import pytest
import torch
from support import COUNT, Planted

from sparring.attacks.evasion.query import walk
from sparring.attacks.evasion.query.rays import block_of
from sparring.attacks.evasion.query.surfree import _noise, cosines
from sparring.core.problem import Problem
from sparring.core.registry import find
from sparring.core.rng import Rng
from sparring.core.threat import Threat
from sparring.domains.image import Image
from sparring.domains.table import Column, Table
from sparring.models.callable import CallableVictim
from sparring.threats.balls import L2
from sparring.threats.goals import Targeted, Untargeted

FACTORS = {("boundary", "l2"): 1.3, ("rays", "linf"): 1.02, ("surfree", "l2"): 1.12, ("sign_flip", "linf"): 1.25}
"""Times the exact distance at which 1,000 labels must break every sample."""

TUNED = {"boundary": {"aside": 0.1, "closer": 0.03}}
"""First lengths for so few queries; those of the paper adapt over thousands."""


@functools.cache
def planted(kind):
    return Planted(kind, 2, False)


@pytest.mark.parametrize(("name", "kind"), FACTORS)
def test_comes_near_the_boundary(name, kind):
    """At the stated factor on the exact distance to a plane every sample breaks; just below the distance none does."""
    task = planted(kind)
    for factor, budget, expected in ((FACTORS[name, kind], 1000, True), (0.999, 300, False)):
        threat = task.threat(torch.as_tensor(task.distances * factor)).within(queries=budget)
        points = find("attack", name).configure(**TUNED.get(name, {}))(task.victim, task.batch, task.labels, threat, task.rng).reshape(COUNT, -1).numpy()
        broken = np.array([task.margin(row, points[row]) for row in range(COUNT)]) > 0
        assert (broken == expected).all(), f"{name} at {factor}: {broken}"


def test_blocks_of_rays_by_hand():
    """Five coordinates: none, all, runs of three, runs of two, single ones again and again."""
    expected = [(0, 0), (0, 5), (0, 3), (3, 5), (0, 2), (2, 4), (4, 5), *((one, one + 1) for one in (0, 1, 2, 3, 4, 0, 1))]
    assert [block_of(turn, 5) for turn in range(len(expected))] == expected


def test_low_frequencies_are_orthonormal():
    """The basis of the cosine transform has unit length, right angles, and begins with a constant."""
    basis = cosines(7, 4, torch.zeros(1, dtype=torch.float64))
    assert torch.allclose(basis.T @ basis, torch.eye(4, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(basis[:, 0], torch.full((7,), 7**-0.5, dtype=torch.float64))


@pytest.mark.parametrize("dimensions", [8, 200])
def test_directions_have_no_preference(dimensions):
    """Few coordinates or many: mean 0, equal variance, no correlation; a sample's numbers are its own."""
    rng = Rng.of(0, range(400))
    drawn = walk.directions(rng, dimensions, torch.float32)
    assert drawn.shape == (400, walk.BLOCK, dimensions)
    flat = drawn.reshape(-1, dimensions).double()
    flat = flat / flat.std()
    assert float(flat.mean(0).abs().max()) < 0.08
    covariance = flat.T @ flat / len(flat)
    assert float((covariance - torch.eye(dimensions, dtype=torch.float64)).abs().max()) < 0.12
    assert torch.equal(walk.directions(rng.take(torch.tensor([7])), dimensions, torch.float32)[0], drawn[7])


def test_coins_and_chances_are_fair():
    """As many heads as tails in every place, true as often as asked, and a sample's numbers are its own."""
    rng, x = Rng.of(0, range(2000)), torch.zeros(2000, 3, 5, 9)
    heads = walk.coins(rng, x)
    assert heads.unique().tolist() == [-1, 1]
    assert float(heads.mean(0).abs().max()) < 0.1
    share = torch.linspace(0.01, 0.9, 2000, dtype=torch.float64)
    true = walk.chances(rng, share, x)
    assert float((true.flatten(1).double().mean(1) - share).abs().max()) < 0.2
    assert abs(float(true.double().mean() - share.mean())) < 0.01
    one = rng.take(torch.tensor([7]))
    assert torch.equal(walk.coins(one, x[:1])[0], heads[7])
    assert torch.equal(walk.chances(one, share[7:8], x[:1])[0], true[7])


def test_rows_that_used_up_low_frequencies_get_all():
    """Of 20 x 20 pixels, noise of half the frequencies has nothing in the upper ones; in the rows that want everything it has."""
    victim = CallableVictim(lambda images: np.zeros(len(images), dtype=int), Image((1, 20, 20)), classes=2, labels_only=True)
    problem = problem_of(victim, torch.full((4, 1, 20, 20), 0.5), torch.zeros(4, dtype=torch.int64), Threat(L2(1.0), Untargeted(), "labels"))
    everything = torch.tensor([False, True, False, True])
    basis = cosines(20, 20, problem.x)
    high = (basis.T @ _noise(problem, 0.5, everything, 3) @ basis)[:, 0, 10:, 10:].flatten(1).norm(dim=1)
    assert bool((high[~everything] < 1e-3).all())
    assert bool((high[everything] > 5).all())


def problem_of(victim, x, y, threat):
    rng = Rng.of(0, range(len(x)))
    return Problem.open(victim, x, threat.goal.freeze(y, victim.task, rng), threat, rng)


def test_a_start_is_found_without_bounds():
    """Where a column has no bounds, tries reach further and further; a lower bound alone is kept."""
    columns = (Column("free"), Column("half", low=0.0))
    victim = CallableVictim(lambda rows: (np.asarray(rows)[:, 0] > 60).astype(int), Table(columns), classes=2, labels_only=True)
    x, y = torch.zeros(5, 2, dtype=torch.float64), torch.zeros(5, dtype=torch.int64)
    problem = problem_of(victim, x, y, Threat(L2(0.1), Untargeted(), access="labels"))
    found = walk.first_points(problem, 60)
    assert bool((found.x[:, 0] > 60).all())
    assert bool((found.x[:, 1] >= 0).all())
    assert torch.allclose(found.size, found.x.norm(dim=1))


def test_a_targeted_start_needs_more_than_uniform_noise():
    """Classes of very bright images, which uniform noise never shows, are reached by the other kinds of start; a row for which
    nothing was found is the clean input with size 0."""

    def brightness(images):
        mean = np.asarray(images).reshape(len(images), -1).mean(1)
        return (mean > 0.85).astype(int) + (mean > 1.5).astype(int)

    victim = CallableVictim(brightness, Image((1, 12, 12)), classes=3, labels_only=True)
    x = torch.full((6, 1, 12, 12), 0.3)
    y = torch.zeros(6, dtype=torch.int64)
    found = walk.first_points(problem_of(victim, x, y, Threat(L2(0.1), Targeted(1), "labels")), 100)
    assert bool((found.size > 0).all())
    assert bool((found.x.flatten(1).mean(1) > 0.85).all())
    missed = walk.first_points(problem_of(victim, x, y, Threat(L2(0.1), Targeted(2), "labels")), 20)
    assert not bool(missed.size.any())
    assert torch.equal(missed.x, x)


@pytest.mark.parametrize("times", [1.1, 1.2, 1.3, 1.5])
def test_probes_known_to_lie_outside_hide_nothing(monkeypatch, times):
    """Not measuring probes that cannot lie inside changes no result; at several radii, as few walks have a probe that hits inside first."""
    task = planted("l2")
    threat = task.threat(torch.as_tensor(task.distances * times)).within(queries=400)

    def points():
        return find("attack", "hopskipjump")(task.victim, task.batch, task.labels, threat, task.rng)

    short_cut = points()
    monkeypatch.setattr(walk, "replace", lambda problem, allowed: problem)
    assert torch.equal(points(), short_cut)
