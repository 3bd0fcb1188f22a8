"""Projections onto ball and box are exact: compared with bisection of the dual in float64 and with a general solver."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from sparring.domains.image import Image
from sparring.domains.table import Column, Table
from sparring.threats.balls import L1, L2, Linf

SPACES = {"linf": Linf, "l2": L2, "l1": L1}
ORDERS = {"linf": math.inf, "l2": 2, "l1": 1}


def nearest(kind, target, origin, low, high, radius):
    """The nearest point of ball and box to `target`, by bisecting the multiplier of the ball (one sample, float64)."""
    d = target - origin
    down, up = low - origin, high - origin

    def moved(t):
        if kind == "linf":
            return np.clip(np.clip(d, -radius, radius), down, up)
        shrunk = d / (1 + t) if kind == "l2" else np.sign(d) * np.maximum(np.abs(d) - t, 0)
        return np.clip(shrunk, down, up)

    def length(t):
        return np.linalg.norm(moved(t), ORDERS[kind])

    if length(0.0) <= radius:
        return origin + moved(0.0)
    least, most = 0.0, 1.0
    while length(most) > radius and most < 1e300:
        most *= 2
    for _ in range(200):
        middle = (least + most) / 2
        least, most = (middle, most) if length(middle) > radius else (least, middle)
    return origin + moved(most)


def cases(rng, count, dimensions):
    """Origins inside and on the edge of the box, targets near and far, radii from nothing to everything."""
    origin = rng.uniform(0, 1, (count, dimensions))
    edge = rng.uniform(size=origin.shape)
    origin = np.where(edge < 0.15, 0.0, np.where(edge > 0.85, 1.0, origin))
    target = origin + rng.normal(size=origin.shape) * 10.0 ** rng.uniform(-2, 1.5, (count, 1))
    target = np.where(rng.uniform(size=target.shape) < 0.1, origin, target)
    radius = 10.0 ** rng.uniform(-2.5, 1.2, count)
    radius[: count // 8] = 0.0
    return origin, target, radius


@pytest.mark.parametrize("dimensions", [1, 2, 7, 60])
@pytest.mark.parametrize("kind", SPACES)
def test_projection_is_the_nearest_point(kind, dimensions):
    """300 random cases with a radius each, in float64: the same point as the bisection, to 1e-7 of the distance."""
    rng = np.random.default_rng(dimensions)
    origin, target, radius = cases(rng, 300, dimensions)
    domain = Image((1, 1, dimensions))
    region = SPACES[kind](torch.from_numpy(radius)).around(torch.from_numpy(origin).reshape(-1, 1, 1, dimensions), domain)
    projected = region.project(torch.from_numpy(target).reshape(-1, 1, 1, dimensions)).reshape(-1, dimensions).numpy()
    for row in range(300):
        expected = nearest(kind, target[row], origin[row], 0.0, 1.0, radius[row])
        assert np.abs(projected[row] - expected).max() <= 1e-7 * max(1.0, np.abs(target[row]).max()), f"case {row}"
        assert np.linalg.norm(projected[row] - origin[row], ORDERS[kind]) <= radius[row] * (1 + 1e-9) + 1e-12
    assert np.array_equal(projected[:37], origin[:37])


@pytest.mark.parametrize("kind", ["l2", "l1"])
def test_projection_against_a_general_solver(kind):
    """A quadratic program solved by SLSQP comes to the same distance; it never finds a nearer point."""
    rng = np.random.default_rng(5)
    origin, target, radius = cases(rng, 24, 4)
    radius = np.maximum(radius, 0.05)
    region = SPACES[kind](torch.from_numpy(radius)).around(torch.from_numpy(origin).reshape(-1, 1, 2, 2), Image((1, 2, 2)))
    projected = region.project(torch.from_numpy(target).reshape(-1, 1, 2, 2)).reshape(-1, 4).numpy()
    for row in range(24):
        # up and down parts make the L1 length smooth: z = origin + p - q
        def point(parts, row=row):
            return origin[row] + parts[:4] - parts[4:]

        def size(parts, row=row):
            return radius[row] - (parts.sum() if kind == "l1" else math.sqrt(((parts[:4] - parts[4:]) ** 2).sum() + 1e-18))

        bounds = [(0, 1 - one) for one in origin[row]] + [(0, one) for one in origin[row]]
        start = np.concatenate([np.clip(projected[row] - origin[row], 0, None), np.clip(origin[row] - projected[row], 0, None)]) * 0.9 + 1e-6
        solved = minimize(
            lambda parts, row=row: ((point(parts) - target[row]) ** 2).sum(),
            np.clip(start, 0, [b[1] for b in bounds]),
            bounds=bounds,
            constraints={"type": "ineq", "fun": size},
            method="SLSQP",
        )
        ours = ((projected[row] - target[row]) ** 2).sum()
        assert ours <= solved.fun * (1 + 1e-5) + 1e-7


@pytest.mark.parametrize("kind", ["l2", "l1"])
def test_projection_where_ball_and_box_touch(kind):
    """The radius is exactly the length of the corner of the box, up to a rounding either way: every coordinate is at the edge."""
    worst = 0.0
    for dimensions in range(1, 80):
        for room in (0.1, 0.3, 1 / 3, 0.7):
            origin = torch.full((3, 1, 1, dimensions), 1 - room, dtype=torch.float64)
            corner = float(torch.linalg.vector_norm(1 - origin[0].reshape(-1), ord=ORDERS[kind]))
            radius = torch.tensor([corner, math.nextafter(corner, 0), corner * (1 - 1e-15)], dtype=torch.float64)
            for far in (2.0, 50.0):
                target = origin + torch.linspace(far / 2, far, dimensions)
                projected = SPACES[kind](radius).around(origin, Image((1, 1, dimensions))).project(target)
                worst = max(worst, float((1 - projected).abs().max()))
    assert worst < 1e-6


@pytest.mark.parametrize("kind", SPACES)
def test_projection_in_single_precision_is_inside(kind):
    """In float32 the projected point passes the exact check and lies within 1e-5 of the float64 one."""
    rng = np.random.default_rng(2)
    origin, target, radius = cases(rng, 200, 30)
    shape = (-1, 1, 5, 6)
    single, far = torch.from_numpy(origin).float().reshape(shape), torch.from_numpy(target).float().reshape(shape)
    region = SPACES[kind](torch.from_numpy(radius)).around(single, Image((1, 5, 6)))
    projected = region.project(far)
    assert bool(region.inside(projected).all())
    for row in range(200):
        expected = nearest(kind, far[row].double().numpy().ravel(), single[row].double().numpy().ravel(), 0.0, 1.0, radius[row])
        assert np.abs(projected[row].double().numpy().ravel() - expected).max() < 1e-5 * max(1.0, float(far[row].abs().max()))


@pytest.mark.parametrize("kind", SPACES)
def test_projection_without_a_box(kind):
    """Columns without bounds are only held by the ball; with one bounded column the box is still met."""
    columns = (Column("free"), Column("half", low=0.0), Column("boxed", low=-1.0, high=1.0))
    rng = np.random.default_rng(3)
    origin = np.stack([rng.normal(size=50) * 5, rng.uniform(0, 2, 50), rng.uniform(-1, 1, 50)], 1)
    target, radius = origin + rng.normal(size=origin.shape) * 4, rng.uniform(0.01, 6, 50)
    region = SPACES[kind](torch.from_numpy(radius)).around(torch.from_numpy(origin), Table(columns))
    projected = region.project(torch.from_numpy(target)).numpy()
    low, high = np.array([-np.inf, 0.0, -1.0]), np.array([np.inf, np.inf, 1.0])
    for row in range(50):
        assert projected[row] == pytest.approx(nearest(kind, target[row], origin[row], low, high, radius[row]), abs=1e-7)
    assert bool(region.inside(torch.from_numpy(projected)).all())


@pytest.mark.parametrize("kind", ["linf", "l2", "l1"])
def test_steepest_has_unit_size_and_ascends_most(kind):
    """The steepest direction has size 1 and no random direction of that size ascends faster."""
    rng = torch.Generator().manual_seed(0)
    region = SPACES[kind](1.0).around(torch.full((8, 1, 6, 10), 0.5, dtype=torch.float64), Image((1, 6, 10)))
    g = torch.randn(8, 1, 6, 10, generator=rng, dtype=torch.float64)
    direction = region.steepest(g)
    sizes = torch.linalg.vector_norm(direction.reshape(8, -1), ord=ORDERS[kind], dim=1)
    assert sizes.tolist() == pytest.approx([1.0] * 8)
    gain = (g * direction).reshape(8, -1).sum(1)
    flat = g.reshape(8, -1)
    dual = {"linf": flat.abs().sum(1), "l2": flat.norm(dim=1), "l1": flat.abs().amax(1)}[kind]
    assert gain.tolist() == pytest.approx(dual.tolist())


@pytest.mark.parametrize("kind", SPACES)
def test_the_edge_of_the_box_is_met_exactly(kind):
    """A coordinate that the box stops is at its edge to the last bit, in float32 too: who asks whether it can move gets the truth."""
    origin = torch.linspace(0.001, 0.999, 400).reshape(1, 1, 20, 20)
    region = SPACES[kind](1000.0).around(origin, Image((1, 20, 20)))
    for sign, edge in ((1.0, 1.0), (-1.0, 0.0)):
        assert bool((region.project(origin + 5 * sign) == edge).all())


def test_an_l1_step():
    """A step of L1 ascent moves each row by exactly its length while there is room, the largest gradients first, 5 % of the
    coordinates at once, and never past the edge of the box."""
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(6, 1, 6, 10, generator=rng, dtype=torch.float64)
    g = torch.randn(6, 1, 6, 10, generator=rng, dtype=torch.float64)
    length = torch.tensor([0.0, 0.01, 0.5, 2.0, 9.0, 100.0], dtype=torch.float64)
    region = L1(1.0).around(x, Image((1, 6, 10)))
    moved = region.ascend(x, g, length)
    assert bool(((moved >= 0) & (moved <= 1)).all())
    room = torch.where(g > 0, 1 - x, x).flatten(1)
    change = (moved - x).abs().flatten(1)
    assert change.sum(1).tolist() == pytest.approx(torch.minimum(length, room.sum(1)).tolist(), abs=1e-9)
    assert bool((((moved - x) * g) >= 0).all())
    for row in range(6):
        left = float(length[row])
        for place in g[row].flatten().abs().argsort(descending=True).tolist():
            step = min(float(room[row, place]), float(length[row]) / 3, left)
            assert float(change[row, place]) == pytest.approx(step, abs=1e-9)
            left -= step
