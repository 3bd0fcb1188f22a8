"""Promises 5 and 6: radius 0 changes nothing, a larger budget never helps the defender, and every question is metered."""

import numpy as np
import pytest
import torch
from support import ARENAS, Instrumented, fitting, plans_ahead, short

from sparring.core.registry import find


@pytest.mark.few(2, by="name")
@pytest.mark.parametrize(("name", "arena"), fitting())
def test_radius_zero_changes_nothing(name, arena):
    """At radius 0 every attack returns x itself, bit for bit, also where the clean answer is wrong."""
    arena = ARENAS[arena]
    points = short(find("attack", name))(arena.victim, arena.x, arena.y, arena.threat.at(0.0), arena.rng())
    assert np.array_equal(np.asarray(points), np.asarray(arena.x))


@pytest.mark.parametrize(("budget", "drift"), [(0, 0.0), (1, 0.3), (7, 0.0), (7, 0.3), (50, 0.3)])
@pytest.mark.few(2, by="name")
@pytest.mark.parametrize(("name", "arena"), fitting("linf", "l2-labels", "linf-scores", "forest", "text"))
def test_metered_equals_asked_and_budgets_hold(name, arena, budget, drift):
    """The meter of a sample shows what an instrumented victim was asked about it, successes confirmed by the deployed model
    included; no sample is asked about more often than its budget allows."""
    arena = ARENAS[arena]
    attack = short(find("attack", name), 40)
    total = []
    for rows in ([0], [1], [2], [0, 1, 2]):
        victim = Instrumented(arena.victim, drift=drift)
        problem = arena.with_victim(victim).problem(arena.threat.within(queries=budget), rows)
        with victim.session():
            attack.run(problem)
        cost = problem.ledger.cost
        assert int(cost.queries.sum()) == int(cost.forwards.sum()) == victim.asked
        assert int(cost.backwards.sum()) == victim.differentiated
        assert int(cost.queries.max()) <= budget
        total.append(cost.queries.tolist())
    alone, together = [one for costs in total[:3] for one in costs], total[3]
    assert alone == together


@pytest.mark.few(2, by="name")
@pytest.mark.parametrize(("name", "arena"), fitting())
def test_without_a_limit_the_meter_is_right_too(name, arena):
    """The same without a budget, for every arena."""
    arena = ARENAS[arena]
    victim = Instrumented(arena.victim)
    problem = arena.with_victim(victim).problem()
    with victim.session():
        short(find("attack", name)).run(problem)
    assert int(problem.ledger.cost.queries.sum()) == victim.asked
    assert int(problem.ledger.cost.backwards.sum()) == victim.differentiated
    assert not bool(problem.ledger.spent.any())


@pytest.mark.few(2, by="name")
@pytest.mark.parametrize(("name", "arena"), [pair for pair in fitting() if not plans_ahead(pair[0])])
def test_a_larger_budget_never_helps_the_defender(name, arena):
    """What a budget broke, a larger one breaks: under a smaller budget an attack asks the first of the same questions."""
    arena = ARENAS[arena]
    before = torch.zeros(len(arena.y), dtype=torch.bool)
    for budget in (2, 9, 30):
        problem = arena.problem(arena.threat.within(queries=budget))
        with arena.victim.session():
            short(find("attack", name), 30).run(problem)
        assert bool((problem.ledger.broken | ~before).all())
        before = problem.ledger.broken


@pytest.mark.few(2, by="name")
@pytest.mark.parametrize(("name", "arena"), fitting("linf", "l2", "text", "linf-scores"))
def test_finished_samples_cost_nothing_more(name, arena):
    """No question is put about a sample after the question that broke it."""
    arena = ARENAS[arena]
    victim, queries = Instrumented(arena.victim), []
    problem = arena.with_victim(victim).problem()
    with victim.session():
        original = type(problem)._charge

        def charge(self, what, owner, count, *, backwards=0):
            rows = self.rows if owner is None else self.rows[owner]
            queries.extend((row, bool(self.ledger.broken[row])) for row in rows.tolist())
            return original(self, what, owner, count, backwards=backwards)

        type(problem)._charge = charge
        try:
            short(find("attack", name)).run(problem)
        finally:
            type(problem)._charge = original
    assert queries
    assert [row for row, finished in queries if finished] == []
    assert len(queries) == victim.asked


def test_spent_rows_get_no_answers():
    """Beyond the budget there are NaN scores, label -1 and a zero gradient."""
    from sparring.attacks.losses import margin

    arena = ARENAS["linf"]
    victim = Instrumented(arena.victim)
    problem = arena.with_victim(victim).problem(arena.threat.within(queries=1).at(0.0), [0, 1])
    problem.scores(arena.x[:2])
    asked = victim.asked
    assert bool(problem.scores(arena.x[:2]).isnan().all())
    assert problem.answers(arena.x[:2]).tolist() == [-1, -1]
    assert not bool(problem.gradient(arena.x[:2], margin).grad.any())
    assert bool(problem.losses(arena.x[:2]).isnan().all())
    assert victim.asked == asked
    assert bool(problem.ledger.spent.all())


def test_several_points_of_one_sample_are_each_paid():
    """Five points of one sample against a budget of three: three are answered, in their order."""
    arena = ARENAS["linf"]
    victim = Instrumented(arena.victim)
    problem = arena.with_victim(victim).problem(arena.threat.within(queries=3).at(0.0), [0, 1])
    owner = torch.tensor([0, 0, 1, 0, 0, 0])
    answers = problem.answers(arena.x[:2][owner], owner)
    assert (answers >= 0).tolist() == [True, True, True, True, False, False]
    assert victim.asked == 4
    assert problem.ledger.cost.queries.tolist() == [3, 1]


def test_the_best_of_several_points_of_one_sample_is_kept():
    """Few points that all belong to one of many samples: the one of highest margin is remembered, with its own margin."""
    arena = ARENAS["linf"]
    problem = arena.problem()
    row = int(arena.right().nonzero()[0])
    region = arena.threat.space.around(arena.x, arena.victim.domain)
    tried = torch.stack([region.sample(arena.rng().draw(turn))[row] for turn in range(5)])
    tried = tried * 0.05 + arena.x[row] * 0.95
    owner = torch.full((5,), row)
    margins = problem.losses(tried, owner).double()
    best = int(margins.argmax())
    assert torch.equal(problem.best()[row], tried[best])
    assert float(problem.ledger.loss[row]) == float(margins[best])


def test_seconds_end_an_attack():
    """A budget of no seconds answers nothing."""
    arena = ARENAS["linf"]
    victim = Instrumented(arena.victim)
    problem = arena.with_victim(victim).problem(arena.threat.within(seconds=0.0))
    assert bool(problem.scores(arena.x).isnan().all())
    assert victim.asked == 0
    assert bool(problem.ledger.spent.all())


def test_steps_end_an_attack():
    """A budget of two steps is two gradients and one last look."""
    arena = ARENAS["linf"]
    problem = arena.problem(arena.threat.within(steps=2).at(0.001), arena.right().nonzero().squeeze(1))
    with arena.victim.session():
        find("attack", "pgd").run(problem)
    assert set(problem.ledger.cost.backwards.tolist()) == {2}
    assert set(problem.ledger.cost.queries.tolist()) == {3}
