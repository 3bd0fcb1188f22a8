"""The promises of attacks hold on every task that `spar ls attacks --tasks` calls possible, and every other pair is refused with a sentence.

The laws beside this one ask the same of attacks on classes, in more arenas and with more budgets.
"""

import copy
import random

import numpy as np
import pytest
import torch
from arenas_of_tasks import SKETCHES, SPACES, arena_for, task_arena
from support import Instrumented, plans_ahead, short, statuses

from sparring.cli.matrix import REFUSED, RUNS, matrix
from sparring.core.errors import NeedsError
from sparring.core.registry import everything

CELLS = [(row["name"], task, cell) for row in matrix("attacks", "attack") for task, cell in row["tasks"].items() if task in SKETCHES]
POSSIBLE = [(name, task) for name, task, cell in CELLS if cell != REFUSED]
IMPOSSIBLE = [(name, task) for name, task, cell in CELLS if cell == REFUSED]


def prepared(name, task, most=8):
    """The attack as the matrix says that it runs, cut short, and its arena."""
    cell = next(cell for one, other, cell in CELLS if (one, other) == (name, task))
    attack = short(everything("attack")[name], most)
    return attack if cell == RUNS else attack.configure(loss="margin"), arena_for(name, task)


def attacked(attack, arena, rows=None, batch=100):
    rows = torch.arange(len(arena.y)) if rows is None else torch.as_tensor(rows)
    return attack(arena.victim, arena.x[rows], arena.y[rows], arena.threat.take(rows), arena.rng().take(rows), batch=batch)


def opened(attack, arena, rows, budget):
    """The problem after an attack under a budget, and the victim that wrote down what it was asked."""
    victim = Instrumented(arena.victim, drift=0.3 if budget == 7 else 0.0)
    problem = arena.with_victim(victim).problem(arena.threat.within(queries=budget), rows)
    with victim.session():
        attack.run(problem)
    return problem, victim


def test_every_task_has_a_sketch():
    """A task that nobody drew a sketch of has no laws."""
    missing = set(everything("task")) - {"classes"} - set(SKETCHES)
    assert not missing, f"no sketch of {', '.join(sorted(missing))}: register one with `sketch`, see tests/arenas_of_tasks.py"


def test_every_possible_pair_has_an_arena():
    """What the matrix calls possible fits an arena of that task."""
    assert [pair for pair in POSSIBLE if arena_for(*pair) is None] == []
    assert len(POSSIBLE) > 80


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("task", SKETCHES)
def test_victims_answer_row_by_row_as_the_users_own_model(task, space):
    """In any batch and order, by answers and by scores; what is packed for the record comes back."""
    arena = task_arena(task, space)
    expected, order = arena.own(arena.x), torch.tensor([4, 0, 5, 2, 1, 3])
    with arena.victim.session():
        answers, scores = arena.victim.answer(arena.x), arena.victim.scores(arena.x)
        alone = torch.cat([arena.victim.answer(arena.x[row : row + 1]) for row in range(6)])
        turned = arena.victim.answer(arena.x[order])
        decided = arena.victim.decide(arena.x, scores)
    assert scores.shape == (6, *arena.victim.task.score_shape)
    for said in (answers, alone, decided, turned[order.argsort()], arena.victim.task.unpack(arena.victim.task.pack(answers))):
        assert torch.allclose(said.double(), expected.double(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("task", SKETCHES)
def test_the_arenas_are_fair(task):
    """In every arena of a task the clean answers meet no goal but the last, which meets it; attacks of all arenas together break some and leave some."""
    seen = set()
    for space in SPACES:
        arena = task_arena(task, space)
        assert met(task, arena, arena.own(arena.x)) == [False] * 5 + [True]
    for name in [name for name, other in POSSIBLE if other == task][:12]:
        attack, arena = prepared(name, task)
        seen |= {str(status) for status in statuses(arena, attacked(attack, arena))[:-1]}
    assert {"broken", "held"} <= seen


def met(task, arena, answers):
    """Which answers meet the goal, by hand."""
    return [SKETCHES[task].met(arena.threat.goal.kind, said, true) for said, true in zip(answers, arena.y, strict=True)]


@pytest.mark.few(1, by="name")
@pytest.mark.parametrize(("name", "task"), POSSIBLE)
def test_points_are_allowed_and_successes_real(name, task):
    """Every returned point obeys the threat as spelled out by hand; the judge calls exactly those broken that the user's own model answers wrongly."""
    attack, arena = prepared(name, task)
    points = attacked(attack, arena)
    assert type(points) is type(arena.x)
    assert points.shape == arena.x.shape
    for place, radius in enumerate(arena.radii()):
        assert arena.allowed(arena.x[place], points[place], radius), f"sample {place} is not allowed"
    assert [one == "broken" for one in statuses(arena, points)] == met(task, arena, arena.own(points))


@pytest.mark.few(1, by="name")
@pytest.mark.parametrize(("name", "task"), POSSIBLE)
def test_input_stays_and_radius_zero_changes_nothing(name, task):
    """x, y and the global generators are as before; at radius 0 every attack returns x itself, bit for bit."""
    attack, arena = prepared(name, task)
    x, y = copy.deepcopy(arena.x), arena.y.clone()
    before = random.getstate(), str(np.random.get_state()), torch.random.get_rng_state()
    attacked(attack, arena)
    points = attack(arena.victim, arena.x, arena.y, arena.threat.at(0.0), arena.rng())
    assert np.array_equal(np.asarray(points), np.asarray(x))
    assert np.array_equal(np.asarray(arena.x), np.asarray(x))
    assert torch.equal(arena.y, y)
    assert before[:2] == (random.getstate(), str(np.random.get_state()))
    assert torch.equal(before[2], torch.random.get_rng_state())


@pytest.mark.few(1, by="name")
@pytest.mark.parametrize(("name", "task"), POSSIBLE)
def test_budgets_hold_and_metered_equals_asked(name, task):
    """The meter shows what the victim was asked, alone as among others, and no sample is asked more often than its budget allows.

    What a budget broke, a larger one breaks, unless the attack plans by what is left.
    """
    attack, arena = prepared(name, task, 30)
    rows = torch.arange(len(arena.y))
    for budget in (7, None):
        problem, victim = opened(attack, arena, rows, budget)
        cost = problem.ledger.cost
        assert int(cost.queries.sum()) == int(cost.forwards.sum()) == victim.asked
        assert int(cost.backwards.sum()) == victim.differentiated
        assert int(cost.queries.max()) <= (budget or 2**62)
        if budget:
            alone, _ = opened(attack, arena, rows[1:2], budget)
            assert alone.ledger.cost.queries.tolist() == cost.queries[1:2].tolist()
    if not plans_ahead(name):
        fewer, more = (opened(attack, arena, rows, budget)[0].ledger.broken for budget in (3, 20))
        assert bool((fewer <= more).all())


@pytest.mark.few(1, by="name")
@pytest.mark.parametrize(("name", "task"), POSSIBLE)
def test_batches_and_order_change_nothing(name, task):
    """The same seed gives the same points bit for bit; batches of 1 and some of the samples in another order give every sample the same point and verdict."""
    attack, arena = prepared(name, task)
    whole = attacked(attack, arena)
    assert np.array_equal(np.asarray(whole), np.asarray(attacked(attack, arena)))
    verdicts = statuses(arena, whole)
    for rows, batch in (([0, 1, 2, 3, 4, 5], 1), ([4, 0, 3], 100)):
        some = attacked(attack, arena, rows, batch)
        assert same(some, whole[torch.tensor(rows)]), f"rows {rows}, batch {batch}"
        assert statuses(arena, some, rows) == [verdicts[row] for row in rows]


def same(one, other):
    """Equal up to the rounding of float32; strings are equal."""
    if isinstance(one, torch.Tensor):
        return torch.allclose(one.double(), other.double(), rtol=1e-5, atol=1e-5)
    return np.array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.parametrize(("name", "task"), IMPOSSIBLE)
def test_an_impossible_pair_is_refused(name, task):
    """Before the first question, with a sentence that names what the attack is for, the task, and attacks that do work here."""
    attack = everything("attack")[name]
    for space in SPACES:
        arena = task_arena(task, space)
        victim = Instrumented(arena.victim)
        with pytest.raises(NeedsError) as refused:
            attack(victim, arena.x, arena.y, arena.threat)
        said, _, others = str(refused.value).partition(": try ")
        assert said == f"{name} is for {', '.join(sorted(attack.tasks))}; {victim.name} answers {arena.victim.task}"
        assert others.split(", ")
        assert [other for other in others.split(", ") if everything("attack")[other].misfit(victim, arena.threat)] == []
        assert victim.asked == 0
