"""Minimum-norm attacks by gradient descent: how near they come to the exact distance of linear models, whatever the units."""

import functools

import numpy as np
import pytest
import torch
from support import ARENAS, COUNT, Planted

import sparring as sp
from sparring.core.problem import Problem
from sparring.core.registry import find
from sparring.tasks.classes import Classes
from sparring.threats.balls import L1, L2, Linf

FACTOR = {
    ("ddn", "l2"): 1.01,
    ("fmn", "l2"): 1.02,
    ("fmn", "linf"): 1.05,
    ("fmn", "l1"): 1.15,
    ("cw", "l2"): 1.2,
    ("cw_linf", "linf"): 1.1,
    ("ead", "l1"): 1.5,
    ("pdpgd", "l1"): 1.5,
    ("pdpgd", "l2"): 1.3,
    ("pdpgd", "linf"): 1.5,
}
"""On the exact distance: the smallest change found with 100 gradients is at most so large, in every sample."""

TUNED = {"ddn": {"factor": 0.1}, "fmn": {"factor": 0.1}, "cw": {"turns": 4}, "ead": {"turns": 8}}
"""Settings of the set `minimum`, which find small changes with few gradients."""

COUNTING = ("fmn", "sigma_zero", "jsma")


@functools.cache
def planted(kind, box, targeted):
    return Planted(kind, 2, box, targeted=targeted)


def sizes(name, task, threat, **settings):
    """float64 [COUNT]: sizes of the smallest successes, and the points themselves, flat."""
    problem = Problem.open(task.victim, task.batch, threat.goal.freeze(task.labels, task.victim.task, task.rng), threat, task.rng)
    with task.victim.session():
        points = find("attack", name).configure(**{**TUNED.get(name, {}), **settings}).run(problem)
    return problem.smallest().numpy(), points.reshape(COUNT, -1).double().numpy()


@pytest.mark.few(2, by="name")
@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("box", [False, True])
@pytest.mark.parametrize(("name", "kind"), FACTOR)
def test_the_smallest_change_is_near_the_distance(name, kind, box, targeted):
    """The size named is that of the point returned, never below the exact distance, and at most the stated factor above it."""
    task = planted(kind, box, targeted)
    found, points = sizes(name, task, task.threat(50.0).smallest(), steps=100)
    order = {"l1": 1, "l2": 2, "linf": np.inf}[kind]
    assert np.allclose(np.linalg.norm(points - task.x, order, axis=1), found, rtol=1e-9)
    assert (np.array([task.margin(row, points[row]) for row in range(COUNT)]) > -1e-12).all()  # the boundary is met to a rounding
    assert (found >= task.distances * (1 - 1e-6)).all()
    assert (found <= task.distances * FACTOR[name, kind]).all(), f"{(found / task.distances).round(3)}"


@pytest.mark.parametrize(("name", "kind"), FACTOR)
def test_rows_do_not_know_each_other(name, kind):
    """Where rows go on after a success, one alone ends on the same size as among the others."""
    task = planted(kind, True, False)
    threat = task.threat(50.0).smallest()
    together, _ = sizes(name, task, threat, steps=20)
    for row in (0, 3):
        part = torch.tensor([row])
        rng = task.rng.take(part)
        problem = Problem.open(task.victim, task.batch[part], threat.goal.freeze(task.labels[part], Classes(2), rng), threat, rng)
        with task.victim.session():
            find("attack", name).configure(steps=20, **TUNED.get(name, {})).run(problem)
        assert float(problem.smallest()) == pytest.approx(together[row], rel=1e-6)


@pytest.mark.parametrize("name", COUNTING)
def test_few_places_change(name):
    """On a linear model the fewest places are those of largest gain, one after the other; with 60 steps at most two more are used."""
    from sparring.core.threat import Threat
    from sparring.threats.goals import Untargeted
    from sparring.threats.sparse import L0

    task = planted("l1", True, False)
    found, points = sizes(name, task, Threat(L0(16.0), Untargeted()).smallest(), steps=60)
    for row in range(COUNT):
        way = task.weights[1 - task.y[row]] - task.weights[task.y[row]]
        gain = np.sort(np.where(way > 0, 1 - task.x[row], task.x[row]) * np.abs(way))[::-1]
        fewest = int((gain.cumsum() + task.margin(row, task.x[row]) <= 0).sum()) + 1
        assert fewest <= found[row] <= fewest + 2
        assert (points[row] != task.x[row]).sum() == found[row]


@pytest.mark.parametrize("name", ["ddn", "fmn", "cw", "pdpgd"])
def test_units_do_not_matter(name):
    """The distance in an unbounded column scales with the inputs: nothing is tuned to images in [0, 1]."""
    arena = ARENAS["columns-l2"]
    problem = arena.problem(arena.threat.at(50.0).smallest())
    with arena.victim.session():
        find("attack", name).configure(steps=60).run(problem)
    assert bool(problem.smallest().isfinite().all())
    assert bool((problem.smallest()[:5] > 0).all())


@pytest.mark.parametrize("space", [Linf, L2, L1])
def test_within_is_the_projection_at_another_radius(space):
    """For points of the box `within` is the exact projection; `shrunk` solves its proximal planted."""
    arena = ARENAS["l2"]
    x = (arena.x + 0.3 * arena.rng().normal(1, 6, 6)).clamp(0, 1)
    size = torch.tensor([0.0, 0.01, 0.05, 0.1, 0.2, 0.3], dtype=torch.float64)
    region = space(9.0).around(arena.x, arena.victim.domain)
    exact = space(size).around(arena.x, arena.victim.domain)
    assert torch.allclose(region.within(x, size), exact.project(x), atol=1e-6)
    assert bool(exact.inside(region.within(x, size)).all())
    best = region.shrunk(x, size)

    def objective(point):
        return (point.double() - x.double()).square().flatten(1).sum(1) / 2 + size * region.size(point)

    for turn in range(20):
        other = best + 10.0 ** -(turn % 4 + 1) * arena.rng().draw(turn).normal(1, 6, 6)
        assert bool((objective(best) <= objective(other) + 1e-6).all())


def test_excess_is_what_clipping_takes_away():
    """The change splits into what a smaller Linf ball keeps and the excess; at a size that holds everything there is none."""
    arena = ARENAS["linf"]
    region = Linf(9.0).around(arena.x, arena.victim.domain)
    x = (arena.x + 0.3 * arena.rng().normal(1, 6, 6)).clamp(0, 1)
    size = torch.tensor([0.0, 0.01, 0.05, 0.1, 0.2, 2.0], dtype=torch.float64)
    excess = region.excess(x, size)
    assert torch.allclose(x - excess, region.within(x, size), atol=1e-6)
    assert bool((excess[0] == (x - arena.x)[0]).all())
    assert bool((excess[5] == 0).all())
    assert bool((excess * (x - arena.x) >= 0).all())


def test_no_place_is_taken_twice():
    """JSMA moves a place to its edge and leaves it there: on a model where it would go back and forth, more places are used."""
    from sparring.core.threat import Threat
    from sparring.threats.goals import Untargeted
    from sparring.threats.sparse import L0

    network = torch.nn.Sequential(torch.nn.Flatten(), Wave())
    victim = sp.victim(network, sp.image(1, 4, 4))
    x, y = torch.zeros(1, 1, 4, 4), torch.zeros(1, dtype=torch.int64)
    threat = Threat(L0(16.0), Untargeted())
    found = find("attack", "jsma")(victim, x, y, threat, steps=8)
    assert int(network(found).argmax(1)) == 1
    assert int((found != x).sum()) == 3


class Wave(torch.nn.Module):
    """Class 1 wins once three places are high; the slope of each place points down as soon as it is, as if going back helped."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        lead = (1.5 * x - 0.9 * x.square()).sum(1) - 1.5  # 0.6 for each place at 1, its slope there is -0.3
        return torch.stack([-lead, lead], 1)


def test_onto_reaches_the_length_in_the_box():
    """`onto` gives the length asked for where the box allows it, and never more."""
    arena = ARENAS["l2"]
    region = L2(9.0).around(arena.x, arena.victim.domain)
    x = arena.x + 0.1 * arena.rng().normal(1, 6, 6)
    for wanted in (0.05, 0.5, 1.5):
        size = torch.full((6,), wanted, dtype=torch.float64)
        moved = region.onto(x, size)
        assert bool((region.size(moved) <= wanted * (1 + 1e-6)).all())
        assert bool((region.size(moved) >= wanted * 0.995).all())
        assert bool(((moved >= 0) & (moved <= 1)).all())
