"""The growing radius and the falling rate."""

import pytest

from sparring.core.errors import PlanError
from sparring.defences.training.optimiser import Adam, Cycle, Falls, Sgd
from sparring.defences.training.radius_schedule import RadiusSchedule


@pytest.mark.parametrize("soft", [False, True])
def test_the_radius_rises_without_jumps_from_0_to_1(soft):
    schedule = RadiusSchedule(0.2, 0.6, soft)
    values = [schedule(place / 1000) for place in range(1001)]
    assert values[:201] == [0.0] * 201
    assert values[600:] == [1.0] * 401
    assert values == sorted(values)
    assert max(b - a for a, b in zip(values, values[1:], strict=False)) < 0.005
    assert schedule(0.4) == pytest.approx(0.5) if not soft else schedule(0.4) < 0.5


def test_the_soft_start_goes_on_along_its_tangent():
    """On [0, 1]: a fourth power up to 1/4 that reaches 1/13 there, then a line of slope 16/13."""
    schedule = RadiusSchedule(0.0, 1.0)
    assert schedule(0.25) == pytest.approx(1 / 13)
    assert schedule(0.125) == pytest.approx(1 / 13 / 16)
    assert schedule(0.5) == pytest.approx(1 / 13 + 0.25 * 16 / 13)
    assert schedule(0.9999) == pytest.approx(1, abs=1e-3)


def test_a_schedule_without_length_is_the_full_radius():
    assert [RadiusSchedule(0, 0)(progress) for progress in (0.0, 0.5, 1.0)] == [1, 1, 1]


@pytest.mark.parametrize(("begin", "end"), [(-0.1, 0.5), (0.6, 0.5), (0.0, 1.1), (float("nan"), 0.5)])
def test_shares_out_of_place_are_refused(begin, end):
    with pytest.raises(PlanError, match="shares of the training"):
        RadiusSchedule(begin, end)


def test_rates():
    assert [Falls((0.5, 0.75), 0.1)(one) for one in (0.0, 0.49, 0.5, 0.75)] == pytest.approx([1, 1, 0.1, 0.01])
    assert [Falls((), warm=0.2)(one) for one in (0.0, 0.1, 0.2, 1.0)] == pytest.approx([0, 0.5, 1, 1])
    assert [Cycle(0.25)(one) for one in (0.0, 0.125, 0.25, 0.625, 1.0)] == pytest.approx([0, 0.5, 1, 0.5, 0])
    for build in (lambda: Adam(0.0), lambda: Sgd(-1.0), lambda: Adam(1.0, -0.1)):
        with pytest.raises(PlanError):
            build()
