"""What the attacks that ask for scores must do, worked out by hand: shapes, schedules, and optima of small linear models."""

import itertools
import math

import numpy as np
import pytest
import torch
from support import ARENAS, COUNT, Planted
from torch import nn

from sparring.attacks.evasion.query.simba import _vector
from sparring.attacks.evasion.query.sparse_rs import exchange
from sparring.attacks.evasion.query.square_l2 import bump, stretched, two_bumps
from sparring.core.errors import NeedsError, PlanError
from sparring.core.problem import Problem
from sparring.core.registry import find
from sparring.core.rng import Rng
from sparring.core.threat import Threat
from sparring.domains.image import Image
from sparring.domains.table import Column, Table
from sparring.models.torch import TorchVictim
from sparring.tasks.classes import Classes
from sparring.threats.balls import L1, L2
from sparring.threats.goals import Untargeted
from sparring.threats.patch import Patch
from sparring.threats.sparse import L0
from sparring.threats.threats import l0, l1, l2, linf, patch

SIDE, CHANNELS = 4, 2


def linear(channels=CHANNELS, seed=0, gap=None):
    """Two classes over images of 4 x 4 pixels that keep away from the edges: weights [c, 4, 4], victim, images, labels."""
    rng = np.random.default_rng(seed)
    weights, x = rng.normal(size=(channels, SIDE, SIDE)), rng.uniform(0.2, 0.8, (COUNT, channels, SIDE, SIDE))
    net = nn.Sequential(nn.Flatten(), nn.Linear(channels * SIDE * SIDE, 2)).double()
    with torch.no_grad():
        net[1].weight.copy_(torch.from_numpy(np.stack([-weights.ravel(), weights.ravel()])))
        net[1].bias.copy_(torch.tensor([0.0, 0.0] if gap is None else [gap, 0.0]))
    victim = TorchVictim(net, Image((channels, SIDE, SIDE)), search="plain")
    return weights, victim, torch.from_numpy(x), net


def gains(weights, x, sign):
    """[n, 4, 4]: the most that each pixel adds to sign * (w . x), all its channels at their edges."""
    way = sign * weights
    return (np.maximum(way, 0) * (1 - x) + np.maximum(-way, 0) * x).sum(1)


def reached(weights, x, points):
    """[n]: by how much w . x rose."""
    return (weights * (points - x)).reshape(len(x), -1).sum(1)


def settled(name, victim, x, threat, **settings):
    points = find("attack", name)(victim, x, [0] * len(x), threat, Rng.of(0, range(len(x))), **settings)
    return points.numpy()


# Spaces ---------------------------------------------------------------------------------------------------------------


def test_l0_projects_onto_the_nearest_point():
    """Of all choices of two pixels, the one kept leaves the least distance to x; values beyond the box are cut."""
    rng = np.random.default_rng(1)
    origin, x = rng.uniform(0, 1, (8, 2, 2, 3)), rng.normal(0.5, 1.0, (8, 2, 2, 3))
    region = L0(2.0).around(torch.from_numpy(origin), Image((2, 2, 3)))
    found = region.project(torch.from_numpy(x)).numpy()
    for row in range(8):
        best = math.inf
        for pair in itertools.combinations(range(6), 2):
            tried = origin[row].reshape(2, 6).copy()
            tried[:, pair] = x[row].reshape(2, 6)[:, pair].clip(0, 1)
            best = min(best, ((tried - x[row].reshape(2, 6)) ** 2).sum())
        assert ((found[row] - x[row]) ** 2).sum() == pytest.approx(best)
    assert bool(region.inside(torch.from_numpy(found)).all())


def test_l0_counts_pixels_not_channels():
    """Two channels of one pixel are one change; two pixels are two."""
    x = torch.full((1, 3, 2, 2), 0.5)
    region = L0(1.0).around(x, Image((3, 2, 2)))
    one, two = x.clone(), x.clone()
    one[0, :, 1, 1] = 0.9
    two[0, 0, 0, 0] = two[0, 1, 1, 1] = 0.6
    assert (float(region.size(one)), float(region.size(two))) == (1.0, 2.0)
    assert (bool(region.inside(one)), bool(region.inside(two))) == (True, False)


def test_an_8bit_image_written_anew_is_no_change():
    """The deployed form of an untouched image differs from it by roundings, which change no pixel; at radius 0 they do."""
    x = (torch.arange(256) / 255).float().reshape(1, 1, 16, 16)
    domain = Image((1, 16, 16), low=-0.3, high=1.2, deployed="8bit")
    x = domain.deploy(x * 1.5 - 0.3, x * 1.5 - 0.3)
    again = domain.deploy(x, x) + torch.finfo(torch.float32).eps / 2
    again = again.clamp(-0.3, 1.2)
    assert not torch.equal(again, x)
    assert float(L0(3.0).around(x, domain).size(again)) == 0
    assert not bool(L0(0.0).around(x, domain).inside(again))


def test_patch_projects_onto_the_nearest_point():
    """Of all places of the window, the one kept leaves the least distance to x; each sample has its own side."""
    rng = np.random.default_rng(2)
    origin, x = rng.uniform(0, 1, (6, 2, 4, 5)), rng.normal(0.5, 1.0, (6, 2, 4, 5))
    sides = [0, 1, 2, 3, 4, 9]
    region = Patch(torch.tensor(sides, dtype=torch.float64)).around(torch.from_numpy(origin), Image((2, 4, 5)))
    found = region.project(torch.from_numpy(x)).numpy()
    for row, side in enumerate(sides):
        tall, wide, best = min(side, 4), min(side, 5), math.inf
        for down, right in itertools.product(range(4 - tall + 1), range(5 - wide + 1)):
            tried = origin[row].copy()
            part = (slice(None), slice(down, down + tall), slice(right, right + wide))
            tried[part] = x[row][part].clip(0, 1)
            best = min(best, ((tried - x[row]) ** 2).sum())
        assert ((found[row] - x[row]) ** 2).sum() == pytest.approx(best)


def test_patch_size_by_hand():
    """The side of the smallest square around the changed pixels."""
    x = torch.zeros(4, 1, 5, 5)
    points = x.clone()
    points[1, 0, 2, 2] = points[2, 0, 0, 4] = points[2, 0, 2, 4] = points[3, 0, 4, 0] = points[3, 0, 4, 4] = 1.0
    assert Patch(3.0).around(x, Image((1, 5, 5))).size(points).tolist() == [0, 1, 3, 5]
    assert Patch(3.0).around(x, Image((1, 5, 5))).inside(points).tolist() == [True, True, True, False]


def test_patches_lie_everywhere():
    """Random places reach all four corners of the image, and all are inside."""
    x = torch.full((300, 1, 4, 4), 0.5)
    region = Patch(2.0).around(x, Image((1, 4, 4)))
    upper, left = region.place(Rng.of(0, range(300)))
    assert sorted(set(zip(upper.tolist(), left.tolist(), strict=True))) == list(itertools.product(range(3), repeat=2))


def test_wrong_counts_are_refused():
    """Half a pixel, fewer than none, a patch on a table."""
    for space in (L0, Patch):
        for count in (0.5, -1, True, "ten"):
            with pytest.raises(PlanError):
                space.parse(count)
    arena = ARENAS["columns-l2"]
    with pytest.raises(NeedsError, match="a patch needs images"):
        Patch(2.0).around(arena.x, arena.victim.domain)


@pytest.mark.parametrize("count", [1, 3])
def test_a_gradient_finds_the_best_pixels(count):
    """On a linear model one step of FGSM in L0 is the optimum: the pixels of highest gain, at their edges."""
    weights, victim, x, _ = linear(gap=100.0)
    points = settled("fgsm", victim, x, l0(count), loss="margin")
    best = np.sort(gains(weights, x.numpy(), 1).reshape(COUNT, -1), 1)[:, -count:].sum(1)
    assert reached(weights, x.numpy(), points) == pytest.approx(best)


def test_a_gradient_finds_the_best_patch():
    """On a linear model one step of FGSM in the space of patches is the optimum over all places."""
    weights, victim, x, _ = linear(gap=100.0)
    points = settled("fgsm", victim, x, patch(2), loss="margin")
    gain = gains(weights, x.numpy(), 1)
    sums = gain[:, :-1, :-1] + gain[:, 1:, :-1] + gain[:, :-1, 1:] + gain[:, 1:, 1:]
    assert reached(weights, x.numpy(), points) == pytest.approx(sums.reshape(COUNT, -1).max(1))


# Shapes and schedules -------------------------------------------------------------------------------------------------


def test_bumps_are_equation_2():
    """A bump of 5 x 5: in the middle 1 + 1/4 + 1/9, around it 1/4 + 1/9, at the rim 1/9, then scaled to length 1."""
    rings = np.array([[1 / 9] * 5, *[[1 / 9, *[1 / 4 + 1 / 9] * 3, 1 / 9]] * 3, [1 / 9] * 5])
    rings[2, 2] += 1
    assert bump(5, 5).numpy() == pytest.approx(rings / np.sqrt((rings**2).sum()))
    both = two_bumps(6, 6).numpy()
    assert np.sqrt((both**2).sum()) == pytest.approx(1)
    assert both[:3] == pytest.approx(-both[3:])
    assert both.sum() == pytest.approx(0)


def test_bumps_of_l1_are_sharp_and_of_length_1():
    """With rings that fall with the fourth power: 1 + 1/16 + 1/81 in the middle, and the absolute values add up to 1."""
    drawn = bump(5, 5, 1, 4)
    assert float(drawn.sum()) == pytest.approx(1)
    assert float(drawn[2, 2] / drawn[0, 0]) == pytest.approx((1 + 1 / 16 + 1 / 81) * 81)
    assert float(two_bumps(6, 5, 1, 4).abs().sum()) == pytest.approx(1)


@pytest.mark.parametrize("order", [1, 2])
def test_stretched_fills_the_room(order):
    """One of three numbers has room for 0.1 only; the others share what is left of the radius in their proportion."""
    x = torch.tensor([[0.9, 0.5, 0.5]], dtype=torch.float64)
    victim = TorchVictim(nn.Linear(3, 2).double(), Table(tuple(Column(name, low=0.0, high=1.0) for name in "abc")), search="plain")
    threat = Threat((L1 if order == 1 else L2)(0.4), Untargeted(), "scores")
    rng = Rng.of(0, [0])
    problem = Problem.open(victim, x, threat.goal.freeze(torch.tensor([0]), Classes(2), rng), threat, rng)
    change = (stretched(problem, torch.tensor([[2.0, 1.0, -2.0]], dtype=torch.float64), order) - x)[0].tolist()
    rest = (0.4**order - 0.1**order) / (1 + 2**order)
    assert change == pytest.approx([0.1, rest ** (1 / order), -2 * rest ** (1 / order)])


def test_sparse_rs_exchanges_less_and_less():
    """The official schedule for 10,000 queries, and ten times as fast for 1,000."""
    turns = [1, 50, 51, 201, 501, 1001, 2001, 4001, 6001, 8001]
    assert [0.3 / exchange(0.3, turn, 10000) for turn in turns] == pytest.approx([2, 2, 4, 5, 6, 8, 10, 12, 15, 20])
    assert exchange(0.3, 6, 1000) == exchange(0.3, 51, 10000)


def test_waves_are_an_orthonormal_basis():
    """The cosine waves of all places have length 1 and right angles; the first is constant."""
    like = torch.zeros(24, 2, 3, 4, dtype=torch.float64)
    waves = _vector(torch.arange(24), "dct", 2, 3, 4, like).flatten(1)
    assert torch.allclose(waves @ waves.T, torch.eye(24, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(waves[0], torch.cat([torch.full((12,), 12**-0.5), torch.zeros(12)]).double())


class Asked:
    """Collects what a network is asked."""

    def __init__(self, net):
        self.points = []
        self.handle = net.register_forward_hook(lambda module, inputs, output: self.points.append(inputs[0].detach().clone()))

    def __enter__(self):
        return self.points

    def __exit__(self, *_):
        self.handle.remove()


@pytest.mark.parametrize(("name", "order"), [("square_l2", 2), ("square_l1", 1)])
def test_square_spends_its_whole_radius(name, order):
    """Every point asked lies at the radius exactly, on the clean side of the box or not, and samples have windows of their own."""
    task = Planted(f"l{order}", 2, True)
    with Asked(task.net) as points:
        find("attack", name)(task.victim, task.batch, task.labels, task.threat(0.05), task.rng, queries=30)
    assert len(points) == 30
    for point in points:
        length = (point - task.batch).flatten(1).norm(p=order, dim=1)
        assert torch.allclose(length, torch.full_like(length, 0.05), rtol=1e-6)
    moved = (points[1] != points[0]).flatten(1)
    assert len({tuple(row) for row in moved.tolist()}) > 1


def test_square_begins_warm_where_something_is_known():
    """With warm=True the first question is the best point so far, without stripes; where nothing was asked it is stripes."""
    task = Planted("linf", 2, False)
    threat = task.threat(1e-3)
    for name in ("square", "square_l2"):
        space = threat if name == "square" else Threat(find("space", "l2")(1e-3), Untargeted())
        firsts = {}
        for known, warm in itertools.product((False, True), repeat=2):
            problem = ARENAS["linf"].with_victim(task.victim).problem().open(task.victim, task.batch, task_reference(task), space, task.rng)
            with task.victim.session():
                if known:
                    problem.scores(task.batch)
                with Asked(task.net) as points:
                    find("attack", name).configure(queries=2, warm=warm).run(problem)
            firsts[known, warm] = points[0]
        assert torch.equal(firsts[True, True], task.batch)
        assert torch.equal(firsts[False, True], firsts[False, False])
        assert torch.equal(firsts[True, False], firsts[False, False])
        assert not torch.equal(firsts[False, True], task.batch)


def task_reference(task):
    return Untargeted().freeze(task.labels, task.victim.task, task.rng)


def test_restarts_of_square_see_other_windows():
    """The windows of a second restart are not those of the first."""
    task = Planted("linf", 2, False)
    with Asked(task.net) as points:
        find("attack", "square")(task.victim, task.batch, task.labels, task.threat(1e-3), task.rng, queries=9, restarts=2)
    one, two = ([(b != a).flatten(1) for a, b in itertools.pairwise(points[first : first + 9])] for first in (0, 9))
    assert any(not torch.equal(a, b) for a, b in zip(one, two, strict=True))


# Optima of linear models ----------------------------------------------------------------------------------------------


def test_sparse_rs_finds_the_best_pixels():
    """Two of sixteen pixels, two channels: the optimum is found, and no point asked changes more pixels than two."""
    weights, victim, x, net = linear(gap=100.0)
    with Asked(net) as asked:
        points = settled("sparse_rs", victim, x, l0(2), queries=400)
    best = np.sort(gains(weights, x.numpy(), 1).reshape(COUNT, -1), 1)[:, -2:].sum(1)
    assert reached(weights, x.numpy(), points) == pytest.approx(best)
    assert max(int(((point - x).abs().amax(1) > 0).flatten(1).sum(1).max()) for point in asked) == 2


def test_sparse_rs_finds_the_best_patch():
    """All nine places of a 2 x 2 patch with all its colours: most samples reach the optimum, and all come near it."""
    weights, victim, x, _ = linear(gap=100.0)
    points = settled("sparse_rs_patch", victim, x, patch(2), queries=50, restarts=12)
    gain = gains(weights, x.numpy(), 1)
    sums = gain[:, :-1, :-1] + gain[:, 1:, :-1] + gain[:, :-1, 1:] + gain[:, 1:, 1:]
    shares = reached(weights, x.numpy(), points) / sums.reshape(COUNT, -1).max(1)
    assert shares.max() <= 1 + 1e-9
    assert shares.min() > 0.85
    assert (shares > 0.999).sum() >= COUNT // 2


def test_one_pixel_finds_the_best_pixel():
    """One of sixteen pixels: at least 90 % of the best gain for every sample, and one pixel only."""
    weights, victim, x, _ = linear(gap=100.0)
    points = settled("one_pixel", victim, x, l0(1), generations=25, population=40)
    best = gains(weights, x.numpy(), 1).reshape(COUNT, -1).max(1)
    assert (reached(weights, x.numpy(), points) >= 0.9 * best).all()
    assert ((points != x.numpy()).any(1).reshape(COUNT, -1).sum(1) == 1).all()


def test_signhunter_needs_one_pass():
    """A linear model: after the single numbers were turned over once, the point is the corner of highest margin, and it took
    1 + 1 + 2 + 4 + 8 + 16 + 32 queries for 32 numbers."""
    weights, victim, x, net = linear(gap=100.0)
    with Asked(net) as asked:
        points = settled("signhunter", victim, x, linf(0.1), queries=64)
    assert len(asked) == 64
    assert points == pytest.approx(x.numpy() + 0.1 * np.sign(weights))


LINEAR_SHARE = {
    ("simba", "linf"): ({"steps": 40, "step_size": 1.0}, 0.999),
    ("simba", "l2"): ({"steps": 150, "step_size": 0.2}, 0.9),
    ("nes", "linf"): ({"steps": 20, "samples": 20}, 0.8),
    ("nes", "l2"): ({"steps": 20, "samples": 20, "directions": "signs"}, 0.8),
    ("cmaes", "linf"): ({"generations": 40}, 0.9),
    ("cmaes", "l2"): ({"generations": 40}, 0.9),
    ("genetic", "linf"): ({"generations": 60}, 0.5),
    ("threshold", "linf"): ({"generations": 30, "population": 30}, 0.3),
    ("square_l2", "l2"): ({"queries": 150}, 0.5),
}


@pytest.mark.parametrize(("name", "kind"), LINEAR_SHARE)
def test_share_of_the_optimum(name, kind):
    """How much of the best gain of a linear model each search reaches, for every sample."""
    settings, share = LINEAR_SHARE[name, kind]
    weights, victim, x, _ = linear(gap=100.0)
    threat, best = (linf(0.1), 0.1 * np.abs(weights).sum()) if kind == "linf" else (l2(0.2), 0.2 * np.sqrt((weights**2).sum()))
    gain = reached(weights, x.numpy(), settled(name, victim, x, threat, **settings))
    assert (gain <= best * (1 + 1e-9)).all()
    assert (gain >= share * best).all(), f"{gain / best}"


BUDGETED = ["square", "square_l1", "square_l2", "simba", "nes", "signhunter", "sparse_rs", "sparse_rs_patch", "genetic", "one_pixel", "threshold", "cmaes"]


@pytest.mark.parametrize("budget", [1, 17])
@pytest.mark.parametrize("name", BUDGETED)
def test_a_budget_is_spent_to_the_last_query(name, budget):
    """On a model that cannot be broken every sample asks exactly what it may, unless the attack ends before."""
    _, victim, x, net = linear(gap=100.0)
    spaces = {"square_l1": l1(0.2), "square_l2": l2(0.2), "sparse_rs": l0(2), "one_pixel": l0(2), "sparse_rs_patch": patch(2)}
    threat = spaces.get(name, linf(0.1)).within(queries=budget)
    with Asked(net) as asked:
        settled(name, victim, x, threat)
    assert sum(len(points) for points in asked) == budget * COUNT
