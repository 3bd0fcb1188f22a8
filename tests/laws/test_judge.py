"""Promise 2, the verdict itself: every status, decided by a fresh call of the deployed model on the deployed form."""

import math

import pytest
import torch
from support import ARENAS, Instrumented
from torch import nn

from sparring.core.threat import Threat
from sparring.domains.image import Image
from sparring.judge.judge import judge
from sparring.models.torch import TorchVictim
from sparring.tasks.classes import Classes
from sparring.threats.balls import Linf
from sparring.threats.goals import Targeted, Untargeted


class Brightness(nn.Module):
    """Three classes by the first pixel: below 0.5, below 0.8, above; NaN at exactly 1."""

    def forward(self, x):
        first = x[:, 0, 0, :1]
        scores = torch.cat([0.5 - first, torch.minimum(first - 0.5, 0.8 - first), (first - 0.8) * 2], 1)
        return torch.where(first == 1, torch.nan, scores)


def verdicts(pixels, *, start=0.4, radius=0.3, goal=None, deployed="float", spent=False, label=0):
    """The judge's answer for points that differ from a grey image in the first pixel."""
    victim = TorchVictim(Brightness(), Image((1, 1, 2), deployed=deployed), search="plain")
    x = torch.full((len(pixels), 1, 1, 2), start)
    points = x.clone()
    points[:, 0, 0, 0] = torch.tensor(pixels)
    threat = Threat(Linf(radius), goal or Untargeted())
    criterion = threat.goal.freeze(torch.full((len(pixels),), label), Classes(3), None)
    with victim.session():
        return judge(victim, x, points, criterion, threat, torch.full((len(pixels),), spent))


def test_each_status():
    """Held, broken, infeasible, error: from the point alone."""
    answer = verdicts([0.4, 0.45, 0.6, 0.75, 1.0, 1.2])
    assert answer.status == ["held", "held", "broken", "infeasible", "error", "infeasible"]
    assert answer.answers.tolist() == [0, 0, 1, 1, -1, 2]
    assert answer.size.tolist() == pytest.approx([0, 0.05, 0.2, 0.35, 0.6, 0.8], abs=1e-6)
    assert answer.margin[2] == pytest.approx(-0.2, abs=1e-6)
    assert "0.35" in answer.note[3]
    assert "NaN" in answer.note[4]


def test_spent_is_out_of_budget_only_where_nothing_broke():
    """A budget that ended the attack is told from an attack that ended by itself; a success stays one."""
    assert verdicts([0.45, 0.6], spent=True).status == ["out_of_budget", "broken"]


def test_a_targeted_success_is_the_target_only():
    """A wrong class that is not the target is no success."""
    answer = verdicts([0.6, 0.85, 0.4], radius=0.5, goal=Targeted(2))
    assert answer.status == ["held", "broken", "held"]


def test_the_deployed_form_is_judged():
    """A success that rounding to 8 bits undoes is none, and the recorded point is the rounded one."""
    just_over = 0.5 + 0.2 / 255
    assert verdicts([just_over], start=100 / 255, deployed="float").status == ["broken"]
    answer = verdicts([just_over], start=100 / 255, deployed="8bit")
    assert answer.status == ["held"]
    assert float(answer.points[0, 0, 0, 0]) * 255 == pytest.approx(127, abs=1e-3)


@pytest.mark.parametrize("sign", [1, -1])
def test_rounding_stays_in_the_ball(sign):
    """Rounding goes toward the clean input, so a point at a radius between two levels stays allowed."""
    start, radius = 128 / 255, 30.7 / 255
    answer = verdicts([start + sign * radius], start=start, radius=radius, deployed="8bit", label=2)
    assert answer.status == ["broken"]
    assert round(float(answer.points[0, 0, 0, 0]) * 255) == 128 + sign * 30


def test_search_and_judge_ask_different_things():
    """The judge asks the deployed model, never the search copy."""
    victim = Instrumented(ARENAS["linf"].victim, drift=1000.0)
    arena = ARENAS["linf"].with_victim(victim)
    criterion = arena.threat.goal.freeze(arena.y, Classes(3), arena.rng())
    answer = judge(victim, arena.x, arena.x, criterion, arena.threat, torch.zeros(6, dtype=torch.bool))
    assert answer.answers.tolist() == arena.own(arena.x).tolist()


def test_a_copy_that_errs_is_not_believed():
    """A success of the search copy that the deployed model does not confirm does not stop the attack."""
    from sparring.core.registry import find

    victim = Instrumented(ARENAS["linf"].victim, drift=1000.0)
    arena = ARENAS["linf"].with_victim(victim)
    problem = arena.problem()
    with victim.session():
        find("attack", "pgd").configure(steps=10, restarts=2).run(problem)
    points = problem.best()
    broken = problem.ledger.broken
    assert bool((arena.own(points)[broken] != arena.y[broken]).all())
    assert not bool(broken.all())


@pytest.mark.parametrize("scores", [[math.nan, 0.0], [math.inf, 0.0], [0.0, math.nan]])
def test_scores_that_are_not_finite_are_no_answer(scores):
    """NaN and +inf have no highest class; -inf is a score like any other."""
    from sparring.tasks.classes import label_of

    assert label_of(torch.tensor([scores])).tolist() == [-1]
    assert label_of(torch.tensor([[-math.inf, 0.0]])).tolist() == [1]
