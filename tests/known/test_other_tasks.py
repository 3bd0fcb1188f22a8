"""Universal changes and transfer on values and masks: they use the answers of the task, or say that they need classes."""

import pytest
import torch
from arenas_of_tasks import SKETCHES, task_arena
from support import tiny_net
from torch import nn

import sparring as sp
from sparring.attacks.evasion.learned.generator import generator
from sparring.attacks.evasion.learned.rl_square import reinforce
from sparring.attacks.evasion.transfer.transfer import transfer
from sparring.attacks.evasion.universal.universal import universal
from sparring.core.errors import NeedsError
from sparring.models.torch import TorchVictim


@pytest.fixture(params=sorted(SKETCHES))
def arena(request):
    return task_arena(request.param, "linf")


def other(arena, width=0):
    """Another network for the same inputs and, unless a width is given, the same answers."""
    one = SKETCHES[arena.victim.task.kind]
    net = tiny_net(width, 5) if width else nn.Sequential(*tiny_net(one.width, 5), nn.Unflatten(1, one.shape))
    return TorchVictim(net.double(), arena.victim.domain, name="other", search="plain", task=None if width else one.task)


def test_a_task_says_what_is_right():
    """Masks and values near enough to the truth are right; what is no answer is not."""
    for kind in SKETCHES:
        arena = task_arena(kind, "linf")
        answers = arena.own(arena.x)
        assert arena.victim.task.right(answers, arena.y).tolist() == [True] * 5 + [False]
        assert arena.victim.task.right(arena.victim.task.no_answer(answers), arena.y).tolist() == [False] * 6


def test_a_universal_change_is_learned_for_every_task(arena):
    """It counts the samples that are right without attack, and is kept with the task that it was learned for."""
    threat = arena.threat.at(0.3)
    found = universal(arena.victim, arena.x, arena.y, threat, epochs=20, step=0.3, held_out=0.0)
    assert found.trained.n == 5
    assert found.trained.hits >= 1
    assert found.attack().misfit(arena.victim, threat) is None
    assert "learn one for these" in found.attack().misfit(other(arena, width=3), threat)


@pytest.mark.parametrize("learn", [generator, reinforce])
def test_what_is_told_a_class_is_refused(arena, learn):
    with pytest.raises(NeedsError, match=f"this is learned for classes; linf answers {arena.victim.task}: try sp.universal"):
        learn(arena.victim, arena.x, arena.y, arena.threat)


def test_surrogates_for_the_same_answers(arena):
    """Gradients of another model for the same answers are followed; one for other answers is refused."""
    points = transfer(other(arena), steps=3)(arena.victim, arena.x, arena.y, arena.threat)
    assert not torch.equal(points, arena.x)
    with pytest.raises(NeedsError, match=r"the surrogate other answers 3 classes, the victim .*: give one for the same answers"):
        transfer(other(arena, width=3))(arena.victim, arena.x, arena.y, arena.threat)


def test_mixing_in_images_of_another_class_needs_classes(arena):
    with pytest.raises(NeedsError, match=r"admix is for classes; .*: leave it out of changes"):
        sp.attacks.transfer(arena.victim, arena.x, arena.y, arena.threat, changes="admix")
