"""The pieces of the cascade, by hand: who is nearly there, which class is nearest, which step comes when."""

import math

import numpy as np
import pytest
import torch
from support import COUNT, Planted

from sparring.aims.evasion.choice import choose
from sparring.attacks.attack import read_attack
from sparring.attacks.attack_set import known_sets
from sparring.attacks.evasion.gradient.ascent import averaged, nearest_classes
from sparring.attacks.evasion.gradient.md import _anchor, _rival
from sparring.attacks.evasion.gradient.odi import _promise
from sparring.attacks.evasion.gradient.pgd import cosine
from sparring.attacks.losses import loss_of
from sparring.attacks.reach import reachable
from sparring.core.problem import Left, Problem
from sparring.tasks.classes import ClassCriterion

DUAL = {"linf": lambda g: np.abs(g).sum(), "l2": lambda g: np.sqrt((g**2).sum())}


def open_problem(planted, radius, left=None):
    threat = planted.threat(radius)
    return Problem.open(planted.victim, planted.batch, threat.goal.freeze(planted.labels, planted.victim.task, planted.rng), threat, planted.rng, left)


def leads(planted, row, x):
    """(lead of the label over each wrong class, dual norm of its gradient) at a flat image."""
    scores, label = planted.weights @ x, planted.y[row]
    wrong = [k for k in range(planted.classes) if k != label]
    return {k: (scores[label] - scores[k], DUAL[planted.kind](planted.weights[k] - planted.weights[label])) for k in wrong}


def halfway(planted, share):
    """Points that have closed a share of each sample's margin, and those margins."""
    margins = np.array([planted.margin(row, planted.x[row]) for row in range(COUNT)])
    left = np.array([margins[row] * (1 - share[row]) for row in range(COUNT)])
    return Left(planted.batch.clone(), torch.from_numpy(left))


@pytest.mark.parametrize("within", [0.25, 1.0, 3.0])
def test_nearly_there_is_what_lacks_little_beside_what_was_gained(within):
    """With a share s of the margin closed, what lacks is (1 - s) and what was gained is s."""
    planted = Planted("linf", 3, box=False)
    share = np.array([0.05, 0.3, 0.49, 0.51, 0.79, 0.95])
    problem = open_problem(planted, 0.1, halfway(planted, share))
    with planted.victim.session():
        kept = reachable(problem, within)
    assert kept.tolist() == [(1 - one) <= within * one for one in share]
    assert problem.ledger.cost.forwards.tolist() == [1] * COUNT
    assert problem.ledger.cost.backwards.tolist() == [0] * COUNT


def test_where_nothing_was_searched_everybody_is_in():
    """Alone, or after attacks that gained nothing, `within` leaves nobody out."""
    planted = Planted("linf", 3, box=False)
    with planted.victim.session():
        assert bool(reachable(open_problem(planted, 0.1), 0.1).all())
        assert bool(reachable(open_problem(planted, 0.1, halfway(planted, np.zeros(COUNT))), 0.1).all())


def test_the_scale_of_the_scores_does_not_matter():
    planted, scaled = Planted("linf", 3, box=False), Planted("linf", 3, box=False)
    scaled.weights *= 1000.0
    with torch.no_grad():
        scaled.net[1].weight.mul_(1000.0)
    share = np.linspace(0.1, 0.9, COUNT)
    with planted.victim.session():
        one = reachable(open_problem(planted, 0.1, halfway(planted, share)), 0.7)
    with scaled.victim.session():
        other = reachable(open_problem(scaled, 0.1, halfway(scaled, share)), 0.7)
    assert torch.equal(one, other)
    assert 0 < int(one.sum()) < COUNT


def test_within_leaves_the_others_alone():
    """An attack with `within` asks one forward of a sample that is far, and no more."""
    planted = Planted("linf", 3, box=False)
    problem = open_problem(planted, 0.01 * float(planted.distances.min()), halfway(planted, np.full(COUNT, 0.1)))
    with planted.victim.session():
        read_attack("pgd(steps=9, within=0.1)").run(problem)
    assert problem.ledger.cost.forwards.tolist() == [1] * COUNT
    assert problem.ledger.cost.backwards.tolist() == [0] * COUNT


def uneven(planted):
    """The same planted with classes whose scores differ in scale, so that the nearest class is not the highest."""
    planted.weights *= np.linspace(0.3, 3.0, planted.classes)[:, None]
    with torch.no_grad():
        planted.net[1].weight.copy_(torch.from_numpy(planted.weights))
    planted.y = (planted.x @ planted.weights.T).argmax(1)
    planted.labels = torch.from_numpy(planted.y)
    return planted


@pytest.mark.parametrize("kind", DUAL)
def test_the_nearest_class_is_the_nearest(kind):
    """Linearised order on a linear model is the order of the true distances."""
    planted = uneven(Planted(kind, 5, box=False))
    with planted.victim.session():
        ranked = nearest_classes(open_problem(planted, 0.1), planted.batch, "linearised")
        by_score = nearest_classes(open_problem(planted, 0.1), planted.batch, "scores")
    for row in range(COUNT):
        found = leads(planted, row, planted.x[row])
        assert ranked[row].tolist() == sorted(found, key=lambda k: found[k][0] / found[k][1])
        assert by_score[row].tolist() == sorted(found, key=lambda k: found[k][0])
    assert not torch.equal(ranked, by_score)


def test_more_classes_than_the_pool_are_ranked_by_score_first(monkeypatch):
    monkeypatch.setattr("sparring.attacks.evasion.gradient.ascent.POOL", 3)
    planted = Planted("linf", 6, box=False)
    with planted.victim.session():
        ranked = nearest_classes(open_problem(planted, 0.1), planted.batch, "linearised")
        by_score = nearest_classes(open_problem(planted, 0.1), planted.batch, "scores")
    assert ranked.shape == (COUNT, 3)
    assert torch.equal(ranked.sort(1).values, by_score.sort(1).values)


def test_averaged_gradients_are_paid_for_and_are_means():
    planted = Planted("linf", 3, box=False)
    problem = open_problem(planted, 0.1)
    with planted.victim.session():
        once = problem.gradient(planted.batch, loss_of("ce"))
        four = averaged(problem, planted.batch, loss_of("ce"), None, 4)
    assert torch.allclose(once.grad, four.grad)
    assert problem.ledger.cost.backwards.tolist() == [5] * COUNT


def test_cosine_by_hand():
    assert cosine(0, 10) == 1.0
    assert cosine(5, 10) == pytest.approx(0.5)
    assert cosine(10, 10) == pytest.approx(0.0)


def test_the_two_halves_of_the_margin_by_hand():
    """Both terms add up to the margin, for leaving a class and for reaching one."""
    scores = torch.tensor([[1.0, 4.0, 2.0], [3.0, 0.5, 2.5]])
    for sign in (1.0, -1.0):
        criterion = ClassCriterion(torch.tensor([1, 0]), torch.tensor([1, 0]), torch.tensor([sign, sign]))
        both = _anchor(scores, criterion) + _rival(scores, criterion)
        assert torch.allclose(both, loss_of("margin")(scores, criterion))
        assert torch.allclose(both, sign * torch.tensor([2.0 - 4.0, 2.5 - 3.0]))


def test_odi_promises_the_runner_up():
    planted = Planted("linf", 4, box=False)
    with planted.victim.session():
        problem = open_problem(planted, 0.1)
        signs = _promise(problem, problem.scores(planted.batch))
    for row in range(COUNT):
        scores = planted.weights @ planted.x[row]
        second = int(np.argsort(-scores)[1])
        assert signs[row].tolist() == [1.0 if k == second else -1.0 if k == planted.y[row] else 0.0 for k in range(4)]


def test_mifpe_lives_where_cross_entropy_has_died():
    """At logits a thousand apart the softmax is one in floating point and its gradient zero; the scaled one is not."""
    scores = torch.tensor([[1000.0, 0.0, -50.0]], requires_grad=True)
    criterion = ClassCriterion(torch.tensor([0]), torch.tensor([0]), torch.tensor([1.0]))
    (dead,) = torch.autograd.grad(loss_of("ce")(scores, criterion).sum(), scores)
    (alive,) = torch.autograd.grad(loss_of("mifpe")(scores, criterion).sum(), scores)
    assert not bool(dead.any())
    share = math.exp(-1) / (1 + math.exp(-1) + math.exp(-1.05))
    assert float(alive[0, 1]) == pytest.approx(share / 1000, rel=1e-5)
    assert float(alive[0, 0]) < 0


@pytest.mark.few(3, by="name")
@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("kind", ["linf", "l2", "l1"])
@pytest.mark.parametrize("name", ["standard", "plus", "rand", "fast"])
def test_the_sets_work_for_few_classes(name, kind, classes):
    """AutoAttack itself fails below four classes. Here every set breaks what can be broken at 1.5 times the largest distance."""
    planted = Planted(kind, classes, box=False)
    threat = planted.threat(1.5 * float(planted.distances.max()))
    chosen = choose(name, planted.victim, threat)
    names = [one.name for one in chosen]
    assert ("apgd_l1" in names) == (kind == "l1" and name != "fast")
    assert ("apgd" in names) == (kind != "l1" and name != "fast")
    problem = open_problem(planted, 1.5 * float(planted.distances.max()))
    with planted.victim.session():
        for attack in chosen:
            if not attack.name.startswith(("square", "noise")):
                attack.configure(**{key: min(value, 20) for key, value in {**attack.defaults, **attack.settings}.items() if key == "steps"}).run(problem)
    assert bool(problem.ledger.broken.all())


def test_every_named_set_can_be_read():
    known = known_sets()
    for one in known.values():
        for entry in one.entries:
            read_attack(entry.attack)
    assert [known[alias].name for alias in ("default", "fast", "autoattack", "exhaustive")] == ["fast-1", "fast-1", "standard-1", "exhaustive-1"]
