"""Goals about values against the optimum: by a formula for a linear regressor, by counting all cells for boosted trees."""

import itertools

import numpy as np
import pytest
import torch
from sklearn.ensemble import GradientBoostingRegressor
from torch import nn

import sparring as sp
from sparring.core.expression import parse
from sparring.core.problem import Problem
from sparring.core.registry import find
from sparring.core.rng import Rng
from sparring.domains.table import Column, Table
from sparring.judge.judge import Status, judge
from sparring.tasks.values import Values

COUNT, RADIUS = 40, 0.1
GOALS = ("untargeted", "away 0.2", "up 0.3", "down 0.3", "above 0.1", "below -0.1")


def table(columns):
    """A table of numbers in [-10, 10], so that the box is out of reach."""
    return Table(tuple(Column(f"c{place}", "real", -10, 10) for place in range(columns)))


def goal_of(written):
    expression = parse(written)
    return find("goal", expression.name)(*expression.arguments, **expression.settings)


def verdicts(victim, x, y, threat, written):
    """Statuses of the points that an attack leaves."""
    expression, rng = parse(written), Rng.of(0, range(len(x)))
    attack, criterion = find("attack", expression.name).configure(**expression.settings), threat.goal.freeze(y, victim.task, rng)
    with victim.session():
        problem = Problem.open(victim, x, criterion, threat, rng)
        attack.run(problem)
        found = judge(victim, x, problem.best(), criterion, threat, torch.zeros(len(x), dtype=torch.bool), y)
    return found.status


@pytest.fixture(scope="module")
def linear():
    """Six weights, samples around 0, and a truth near the answer."""
    rng = np.random.default_rng(0)
    net = nn.Linear(6, 1).double()
    with torch.no_grad():
        net.weight.copy_(torch.from_numpy(rng.normal(size=(1, 6))))
        net.bias.zero_()
    x = torch.from_numpy(rng.normal(size=(COUNT, 6)) * 0.2)
    with torch.no_grad():
        y = net(x) + torch.from_numpy(rng.normal(size=(COUNT, 1)) * 0.2)
    return sp.victim(net, table(6), task=Values(1, 0.4, 1.0), search="plain"), x, y


def reachable(criterion, lowest, highest):
    """Whether some answer between two numbers meets the goal, per sample."""
    low, high = criterion.low[:, 0].numpy(), criterion.high[:, 0].numpy()
    return (highest > high) | (lowest < low)


@pytest.mark.parametrize("written", GOALS)
@pytest.mark.parametrize("attack", ["pgd_two_sided(steps=20)", "square_two_sided(queries=200)"])
def test_a_linear_regressor_falls_exactly_where_the_formula_says(linear, attack, written):
    """The largest shift within an Linf ball is the radius times the sum of the absolute weights, up as well as down."""
    victim, x, y = linear
    threat = sp.linf(RADIUS).toward(goal_of(written))
    with torch.no_grad():
        clean = victim.module(x)[:, 0].numpy()
    shift = RADIUS * float(victim.module.weight.detach().abs().sum())
    expected = reachable(threat.goal.freeze(y, victim.task, Rng.of(0, range(COUNT))), clean - shift, clean + shift)
    assert 0 < expected.sum() < COUNT
    assert [one is Status.BROKEN for one in verdicts(victim, x, y, threat, attack)] == expected.tolist()


@pytest.mark.parametrize("attack", ["pgd(steps=20)", "square(queries=200)"])
def test_a_one_way_search_follows_the_nearer_end_and_breaks_no_more(linear, attack):
    """Without the two ways the same verdicts hold where the goal is met on one side; where it is met on both, nothing breaks that cannot."""
    victim, x, y = linear
    with torch.no_grad():
        clean = victim.module(x)[:, 0].numpy()
    shift = RADIUS * float(victim.module.weight.detach().abs().sum())
    for written in GOALS:
        threat = sp.linf(RADIUS).toward(goal_of(written))
        expected = reachable(threat.goal.freeze(y, victim.task, Rng.of(0, range(COUNT))), clean - shift, clean + shift)
        broken = np.array([one is Status.BROKEN for one in verdicts(victim, x, y, threat, attack)])
        assert not (broken & ~expected).any()
        if written.split()[0] in ("up", "down", "above", "below"):
            assert (broken == expected).all()


def extremes(model, row, radius):
    """The lowest and the highest answer in an Linf ball around a row: all cells of the trees that it meets are counted."""
    edges = [sorted({float(one) for tree in np.ravel(model.estimators_) for one in tree.tree_.threshold[tree.tree_.feature == column]}) for column in range(2)]
    places = [
        [row[column] - radius, row[column] + radius]
        + [beside for edge in edges[column] if abs(edge - row[column]) < radius - 1e-6 for beside in (edge - 1e-9, edge + 1e-6)]
        for column in range(2)
    ]
    answers = model.predict(np.array(list(itertools.product(*places))))
    return answers.min(), answers.max()


@pytest.fixture(scope="module")
def boosted():
    """Boosted trees over two columns, and for every sample the extremes within the ball."""
    rng = np.random.default_rng(1)
    x = rng.uniform(-1, 1, (COUNT, 2))
    y = np.sin(4 * x[:, 0]) * np.cos(3 * x[:, 1])
    model = GradientBoostingRegressor(n_estimators=12, max_depth=3, learning_rate=0.4, random_state=0).fit(x, y)
    found = np.array([extremes(model, row, RADIUS) for row in x])
    return sp.victim(model, table(2), task=Values(1, 0.4, 1.0)), torch.from_numpy(x), torch.from_numpy(y)[:, None], found


@pytest.mark.parametrize("written", GOALS)
def test_boosted_trees_fall_where_some_cell_meets_the_goal(boosted, written):
    """Nothing falls that no cell of the ball breaks, and the search misses at most 4 of 40 samples, whose best cells lie inside the ball."""
    victim, x, y, (lowest, highest) = *boosted[:3], boosted[3].T
    threat = sp.linf(RADIUS).toward(goal_of(written))
    expected = reachable(threat.goal.freeze(y, victim.task, Rng.of(0, range(COUNT))), lowest, highest)
    broken = np.array([one is Status.BROKEN for one in verdicts(victim, x, y, threat, "square_two_sided(queries=100)")])
    assert not (broken & ~expected).any()
    assert expected.sum() > 5
    assert (expected & ~broken).sum() <= 4


def test_two_ways_are_better_than_one():
    """Answers rise by a hill that ends short of the goal, and fall by a slope that does not: the nearer end is the wrong one."""

    class Bent(nn.Module):
        def forward(self, x):
            return torch.where(x > 0, (x * 2).clamp(max=0.35), x * 8)

    victim = sp.victim(Bent(), table(1), task=Values(1, 0.5, 1.0), search="plain")
    x, y = torch.tensor([[0.01]], dtype=torch.float64), torch.tensor([[0.0]], dtype=torch.float64)
    threat = sp.linf(RADIUS)
    assert verdicts(victim, x, y, threat, "pgd(steps=20, random_start=false)") == [Status.HELD]
    assert verdicts(victim, x, y, threat, "pgd_two_sided(steps=20, restarts=1)") == [Status.BROKEN]
