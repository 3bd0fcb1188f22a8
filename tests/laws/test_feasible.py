"""Promises 1 and 2: what is called a success is allowed, in its deployed form, and a fresh call of the user's own model agrees."""

import numpy as np
import pytest
import torch
from support import ARENAS, fitting, short

from sparring.core.registry import find
from sparring.judge.judge import judge


def verdicts_of(name, arena, most=8):
    """What the judge says about the points an attack returns."""
    attack = short(find("attack", name), most)
    points = attack(arena.victim, arena.x, arena.y, arena.threat, arena.rng())
    criterion = arena.threat.goal.freeze(arena.y, arena.victim.task, arena.rng())
    with arena.victim.session():
        return judge(arena.victim, arena.x, points, criterion, arena.threat, torch.zeros(len(arena.y), dtype=torch.bool))


@pytest.mark.few(2, by="name")
@pytest.mark.parametrize(("name", "arena"), fitting())
def test_a_success_is_allowed_and_real(name, arena):
    """A point called broken obeys the threat as spelled out by hand, and the user's own model says so when asked anew; a point
    called held does not meet the goal."""
    arena = ARENAS[arena]
    verdicts = verdicts_of(name, arena)
    said = arena.own(verdicts.points).tolist()
    assert len(verdicts.points) == len(arena.y)
    for place, (status, radius, target) in enumerate(zip(verdicts.status, arena.radii(), arena.targets(), strict=True)):
        met = said[place] != int(arena.y[place]) if target is None else said[place] == target
        if status == "broken":
            assert arena.allowed(arena.x[place], verdicts.points[place], radius), f"sample {place} is not allowed"
        assert met == (status in ("broken", "infeasible"))
        assert int(verdicts.answers[place]) == said[place]


@pytest.mark.few(2, by="name")
@pytest.mark.parametrize(("name", "arena"), [pair for pair in fitting() if pair[1] != "linf-8bit"])
def test_every_returned_point_is_allowed(name, arena):
    """Where the deployed form is the array as fed, attacks return allowed points only, broken or not, of the shape and type of x."""
    arena = ARENAS[arena]
    points = short(find("attack", name))(arena.victim, arena.x, arena.y, arena.threat, arena.rng())
    assert type(points) is type(arena.x)
    assert points.shape == arena.x.shape
    assert points.dtype == arena.x.dtype
    for place, radius in enumerate(arena.radii()):
        assert arena.allowed(arena.x[place], points[place], radius), f"sample {place} is not allowed"


def test_the_arenas_are_fair():
    """Every arena has samples that fall and, with this little effort, samples that stand, so the laws above can fail."""
    for name in ("linf", "l2", "l1", "linf-8bit", "linf-targeted", "forest", "text-targeted"):
        seen = set()
        for attack, _ in fitting(name):
            seen |= {str(status) for status in verdicts_of(attack, ARENAS[name]).status}
            if {"broken", "held"} <= seen:
                break
        assert {"broken", "held"} <= seen, name


@pytest.mark.parametrize("arena", sorted(ARENAS))
def test_random_points_of_a_space_are_allowed(arena):
    """Samples and corners of every space are allowed, stay apart for different rng and are finite."""
    arena = ARENAS[arena]
    region = arena.threat.space.around(arena.x, arena.victim.domain)
    for turn in range(5):
        for draw in (region.sample, region.corner):
            points = draw(arena.rng().draw(turn))
            assert bool(region.inside(points).all())
            deployed = arena.victim.domain.deploy(points, arena.x)
            for place, radius in enumerate(arena.radii()):
                assert arena.allowed(arena.x[place], deployed[place], radius)
    drawn = [region.sample(arena.rng().draw(turn)) for turn in range(8)]
    assert any(not np.array_equal(np.asarray(drawn[0]), np.asarray(other)) for other in drawn[1:])


@pytest.mark.parametrize("arena", ["columns-l2", "columns-linf", "columns-l1", "linf", "l2", "l1"])
def test_a_point_outside_is_seen(arena):
    """A point one part in a thousand too far is refused, even where a column has no bounds."""
    arena = ARENAS[arena]
    threat = arena.threat.at(0.1)
    region = threat.space.around(arena.x, arena.victim.domain)
    coordinate = (0, 2) if arena.x.ndim == 2 else (0, 0, 2, 2)
    for factor, expected in ((1.001, False), (0.999, True)):
        point = arena.x.clone()
        point[coordinate] += 0.1 * factor if float(point[coordinate]) < 0.5 else -0.1 * factor
        assert bool(region.inside(point)[0]) is expected
