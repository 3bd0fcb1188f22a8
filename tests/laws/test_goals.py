"""Promise 7: targeted moves toward the target, untargeted away from the label."""

import math

import numpy as np
import pytest
import torch
from support import Arena, ball_allows, short
from torch import nn

from sparring.core.registry import everything, find
from sparring.core.threat import Threat
from sparring.domains.image import Image
from sparring.models.torch import TorchVictim
from sparring.tasks.classes import ClassCriterion, Classes
from sparring.threats.balls import L1, L2, Linf
from sparring.threats.goals import Targeted, Untargeted


def linear(classes, space, goal, seed=0):
    """Scores W x + b on 3 x 3 images, in float64."""
    rng = torch.Generator().manual_seed(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(9, classes)).double()
    with torch.no_grad():
        net[1].weight.copy_(torch.randn(classes, 9, generator=rng, dtype=torch.float64))
    x = torch.rand(5, 1, 3, 3, generator=rng, dtype=torch.float64) * 0.6 + 0.2
    victim = TorchVictim(net, Image((1, 3, 3)), search="plain")
    with torch.no_grad():
        y = net(x).argmax(1)
    return Arena("linear", victim, x, y, Threat(space, goal), lambda z: net(z).argmax(1), ball_allows(math.inf))


def score_margin(scores, label, target):
    """How far past the goal one row of scores is, in plain Python."""
    if target is None:
        return max(value for place, value in enumerate(scores) if place != label) - scores[label]
    return scores[target] - max(value for place, value in enumerate(scores) if place != target)


GOALS = {"untargeted": Untargeted(), "targeted": Targeted("next")}
BALLS = {"linf": Linf(0.02), "l2": L2(0.05), "l1": L1(0.1)}
ARENAS = {(space, classes, goal): linear(classes, BALLS[space], GOALS[goal]) for space in BALLS for classes in (2, 4) for goal in GOALS}
CLIMBS = [
    (name, *key)
    for name, attack in everything("attack").items()
    if attack.needs & {"gradients", "scores"}
    for key, arena in ARENAS.items()
    if not attack.misfit(arena.victim, arena.threat)
]


@pytest.mark.few(2, by="name")
@pytest.mark.parametrize(("name", "space", "classes", "goal"), CLIMBS)
def test_a_step_goes_the_right_way(name, space, classes, goal):
    """On a linear model and a tiny ball, the point an attack returns is nearer to its goal than the clean input."""
    arena = ARENAS[space, classes, goal]
    points = short(find("attack", name), 24)(arena.victim, arena.x, arena.y, arena.threat, arena.rng())
    with torch.no_grad():
        before, after = arena.victim.module(arena.x).tolist(), arena.victim.module(points).tolist()
    for place, label in enumerate(arena.y.tolist()):
        target = None if goal == "untargeted" else (label + 1) % classes
        assert score_margin(after[place], label, target) > score_margin(before[place], label, target)


WIDE = linear(3, Linf(0.5), Targeted(torch.tensor([0, 1, 2, 0, 1])))


def test_most_attacks_climb():
    """The laws here reach most attacks: those of balls, each in several of them."""
    assert len({name for name, *_ in CLIMBS}) >= 25
    assert {tuple(key) for _, *key in CLIMBS} == set(ARENAS)


@pytest.mark.parametrize("name", [name for name, one in everything("attack").items() if not one.misfit(WIDE.victim, WIDE.threat)])
def test_a_targeted_success_is_the_target(name):
    """With three classes and a ball that reaches everything, a broken sample is at its own target, not merely wrong.

    Controls follow no model, and an attack without settings asks only once: they may miss.
    """
    arena, targets = WIDE, torch.tensor([0, 1, 2, 0, 1])
    victim, threat = arena.victim, arena.threat
    away = arena.y != targets
    points = short(find("attack", name), 100)(victim, arena.x, arena.y, threat, arena.rng())
    problem = arena.problem()
    with victim.session():
        short(find("attack", name), 100).run(problem)
    said = arena.own(points)
    assert bool((said[problem.ledger.broken] == targets[problem.ledger.broken]).all())
    assert bool((problem.ledger.broken & away).any()) or find("attack", name).control or not find("attack", name).defaults


@pytest.mark.parametrize("loss", [name for name, one in everything("loss").items() if one.fits(ClassCriterion)])
@pytest.mark.parametrize("classes", [2, 3, 4, 6])
def test_every_loss_grows_toward_the_goal(loss, classes):
    """Each loss of classes rises when the goal's margin rises along a straight way, for both goals."""
    climbed = find("loss", loss)
    rng = np.random.default_rng(1)
    for goal in (Untargeted(), Targeted("next")):
        for _ in range(20):
            scores = torch.from_numpy(rng.normal(size=(1, classes)))
            label = scores.argmax(1)
            criterion = goal.freeze(label, Classes(classes), None)
            aim = int(criterion.reference_class)
            better = scores.clone()
            if goal.kind == "untargeted":
                better[0, aim] -= 0.01
            else:
                better[0, aim] += 0.01
            assert float(climbed(better, criterion)) > float(climbed(scores, criterion))
