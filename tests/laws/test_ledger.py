"""The ledger of a problem: what it keeps is its own, and it keeps the best."""

import pytest
import torch
from support import ARENAS, Instrumented

from sparring.tasks.classes import Classes


def test_the_best_points_are_copies():
    """Writing a success does not reach the batch the problem was opened with, nor do later changes of a batch reach the ledger."""
    arena = ARENAS["linf"]
    clean = arena.x.clone()
    mine = arena.x.clone()
    criterion = arena.threat.goal.freeze(arena.y, Classes(3), arena.rng())
    problem = arena.problem().open(arena.victim, mine, criterion, arena.threat, arena.rng())
    region = arena.threat.space.around(arena.x, arena.victim.domain)
    for turn in range(20):
        asked = region.corner(arena.rng().draw(turn))
        problem.losses(asked)
        kept = problem.best().clone()
        asked.fill_(7.0)
        assert torch.equal(problem.best(), kept)
    assert not torch.equal(problem.best(), clean)
    assert torch.equal(mine, clean)


def test_a_broken_row_keeps_its_first_success():
    """The first point that met the goal stays, whatever comes later; its margin is its own."""
    arena = ARENAS["linf"]
    problem = arena.problem(arena.threat.at(0.6))
    region = arena.threat.at(0.6).space.around(arena.x, arena.victim.domain)
    first = {}
    for turn in range(30):
        asked = region.corner(arena.rng().draw(turn))
        margins = problem.losses(asked)
        for row, margin in enumerate(margins.tolist()):
            if margin > 0 and row not in first:
                first[row] = (asked[row].clone(), margin)
    assert len(first) >= 3
    for row, (point, margin) in first.items():
        assert bool(problem.ledger.broken[row])
        assert torch.equal(problem.best()[row], point)
        assert float(problem.ledger.loss[row]) == margin


def test_several_successes_of_one_row_keep_the_highest():
    """Of several points of one row asked at once, the success of highest margin is written, also among many rows."""
    arena = ARENAS["linf"]
    for count in (2, 6):
        problem = arena.problem(arena.threat.at(0.6))
        region = arena.threat.at(0.6).space.around(arena.x, arena.victim.domain)
        drawn = [region.corner(arena.rng().draw(turn)) for turn in range(40)]
        with torch.no_grad():
            scores = torch.stack([arena.victim.module(points.double())[1] for points in drawn])
        label = int(arena.y[1])
        order = (scores[:, [k for k in range(3) if k != label]].amax(1) - scores[:, label]).argsort(descending=True)[:count]
        tried = torch.stack([drawn[turn][1] for turn in order.tolist()])  # the best comes first
        margins = problem.losses(tried, torch.full((count,), 1))
        assert float(margins[0]) > 0
        assert torch.equal(problem.best()[1], tried[0])


def test_where_the_smallest_change_is_wanted_the_smallest_success_is_kept():
    """Rows go on after their first success, keep the smallest one whatever its margin, and name its size."""
    arena = ARENAS["linf"]
    problem = arena.problem(arena.threat.at(0.6).smallest())
    region = arena.threat.at(0.6).space.around(arena.x, arena.victim.domain)
    seen = [[] for _ in arena.x]
    problem.losses(arena.x)
    for turn in range(40):
        asked = torch.cat(
            [region.toward(region.corner(arena.rng().draw(turn)), torch.full((6,), size, dtype=torch.float64)) for size in (0.6, 0.3 + 0.005 * turn)]
        )
        margins = problem.losses(asked, torch.arange(6).repeat(2))
        for point, margin, row in zip(asked, margins.tolist(), list(range(6)) * 2, strict=True):
            if margin > 0:
                seen[row].append(float((point - arena.x[row]).abs().max()))
    assert sum(len(set(one)) > 1 for one in seen) >= 3
    assert bool((problem.smallest()[5:] == 0).all()), "the last sample is wrong as it is"
    assert problem.unfinished().tolist() == [True] * 5 + [False]
    for row, sizes in enumerate(seen[:5]):
        assert bool(problem.ledger.broken[row]) == bool(sizes)
        if sizes:
            assert float(problem.smallest()[row]) == pytest.approx(min(sizes), abs=1e-7)
            assert float((problem.best()[row] - arena.x[row]).abs().max()) == pytest.approx(min(sizes), abs=1e-7)


def test_gradients_of_several_classes_are_those_of_each_and_cost_a_backward_each():
    arena = ARENAS["linf"]
    victim = Instrumented(arena.victim)
    problem = arena.with_victim(victim).problem(arena.threat.smallest().at(0.0))
    classes = torch.tensor([[0, 1], [1, 2], [2, 0], [0, 2], [1, 0], [2, 1]])
    together = problem.gradients(arena.x, lambda scores, criterion: scores.gather(1, classes), 2)
    for place in range(2):
        alone = problem.gradient(arena.x, lambda scores, criterion: scores.gather(1, classes[:, place, None]).squeeze(1))
        assert torch.allclose(together.grad[:, place], alone.grad, atol=1e-6)
        assert torch.allclose(together.value[:, place], alone.value, atol=1e-6)
    assert problem.ledger.cost.backwards.tolist() == [4] * 6
    assert problem.ledger.cost.forwards.tolist() == [3] * 6
    assert victim.differentiated == 24


def test_at_other_radii_the_threat_still_decides():
    """A view at larger radii counts no success outside the threat; one at smaller radii is finished once it is inside them."""
    arena = ARENAS["linf"]
    problem = arena.problem(arena.threat.at(0.1))
    far = problem.at(torch.full((6,), 0.6, dtype=torch.float64))
    corners = far.region.corner(arena.rng())
    assert bool((far.losses(corners)[:5] > 0).any()), "some corner is adversarial, outside the threat"
    assert not bool(problem.ledger.broken[:5].any())

    problem = arena.problem(arena.threat.at(0.6).smallest())
    problem.losses(corners)
    hit = problem.ledger.broken
    assert bool(hit[:5].any())
    assert bool(problem.unfinished()[:5].all())
    assert torch.equal(problem.at(torch.full((6,), 0.6, dtype=torch.float64)).unfinished(), ~hit)
    assert bool(problem.at(torch.full((6,), 0.3, dtype=torch.float64)).unfinished()[:5].all())


def test_an_averaged_answer_is_paid_draw_by_draw():
    """A question to a victim that asks its model four times costs four queries, and a budget of ten allows two."""
    from sparring.models.eot import EotVictim

    arena = ARENAS["linf"]
    inner = Instrumented(arena.victim)
    victim = EotVictim(inner, draws=4)
    problem = arena.with_victim(victim).problem(arena.threat.at(0.0).within(queries=10))
    for _ in range(5):
        problem.gradient(arena.x, lambda scores, criterion: scores[:, 0])
    cost = problem.ledger.cost
    assert cost.queries.tolist()[:5] == [8] * 5
    assert int(cost.queries.sum()) == inner.asked
    assert int(cost.backwards.sum()) == inner.differentiated
    assert bool((problem.left() == 0).all())
