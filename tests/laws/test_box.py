"""The bounds of the domain hold whatever the radius: a point outside them is not allowed."""

import pytest
import torch
from support import ARENAS

from sparring.judge.judge import judge
from sparring.tasks.classes import Classes


@pytest.mark.parametrize("arena", ["linf", "l2", "l1", "columns-linf", "columns-l2", "columns-l1"])
def test_a_region_ends_at_the_box(arena):
    """With a radius that reaches everything, a point just outside the bounds is refused and one on them is not."""
    arena = ARENAS[arena]
    region = arena.threat.at(100.0).space.around(arena.x, arena.victim.domain)
    column = (slice(None), 0) if arena.x.ndim == 2 else (slice(None), 0, 1, 1)
    for value, expected in ((1.0, True), (1.0001, False), (0.0, True), (-0.0001, False)):
        point = arena.x.clone()
        point[column] = value
        assert region.inside(point).tolist() == [expected] * len(point)


def test_the_judge_asks_the_domain_too():
    """A point that its space allows but its domain does not is infeasible: half a year is no age."""
    from dataclasses import dataclass
    from typing import ClassVar

    from sparring.core.threat import Threat
    from sparring.threats.balls import Linf, LinfRegion
    from sparring.threats.goals import Untargeted

    arena = ARENAS["linf"]

    class Careless(LinfRegion):
        def inside(self, x):
            return torch.ones(len(x), dtype=torch.bool)

    @dataclass(frozen=True)
    class Anything(Linf):
        region: ClassVar = Careless

        def around(self, origin, domain):
            return Careless(**vars(super().around(origin, domain)))

    threat = Threat(Anything(9.0), Untargeted())
    criterion = threat.goal.freeze(arena.y, Classes(3), arena.rng())
    points = arena.x + 2.0
    verdicts = judge(arena.victim, arena.x, points, criterion, threat, torch.zeros(6, dtype=torch.bool))
    assert "broken" not in verdicts.status
    assert "infeasible" in verdicts.status
