"""The goal erase on masks: one class disappears."""

import pytest
import torch
from torch import nn

from sparring.aims.evasion.choice import choose
from sparring.attacks.attack import read_attack
from sparring.core.errors import InputError, NeedsError, PlanError
from sparring.core.expression import parse
from sparring.core.registry import find
from sparring.core.rng import Rng
from sparring.core.threat import Threat
from sparring.domains.image import Image
from sparring.models.adapter import victim
from sparring.tasks.classes import Classes
from sparring.tasks.mask import mask
from sparring.threats.balls import Linf
from sparring.threats.erase import Erase

TRUTH = torch.tensor([[[1, 1, 1, 1, 1], [0, 0, 0, 0, -1]], [[0, 0, 0, 0, 0], [0, 0, 0, 0, -1]]])
"""Five pixels of class 1, and none."""


def frozen(goal, truth=TRUTH, task=None):
    return goal.freeze(truth, task or mask(2, names=("back", "cell"), size=(2, 5)), Rng.of(0, range(len(truth))))


def test_it_is_read_by_number_and_by_name():
    for written in ("erase 1", "erase cell", "erase(1)", 'erase("cell", share=0.5)'):
        read = parse(written)
        goal = find("goal", read.name)(*read.arguments, **read.settings)
        assert frozen(goal).truth[0].tolist() == [[1, 1, 1, 1, 1], [-1] * 5]


@pytest.mark.parametrize(("share", "needed"), [(0.99, 5), (1.0, 5), (0.8, 4), (0.61, 4), (0.6, 3), (0.1, 1)])
def test_so_many_pixels_must_fall(share, needed):
    """Of the five pixels of the class; what the other pixels are answered does not matter."""
    criterion = frozen(Erase(1, share))
    for fallen in range(6):
        answer = torch.ones(2, 2, 5, dtype=torch.int64)
        answer[0, 0, :fallen] = 0
        scores = nn.functional.one_hot(answer, 2).movedim(-1, 1).double()
        assert bool(criterion.met(answer)[0]) == (fallen >= needed)
        assert bool(criterion.loss(scores)[0] > 0) == (fallen >= needed)


def test_a_sample_without_the_class_is_outside_the_question():
    """Its truth meets the goal already, by which an evaluation skips it."""
    assert frozen(Erase(1)).met(TRUTH.clamp_min(0)).tolist() == [False, True]


def test_an_answer_that_lacks_the_class_is_wrong_without_attack():
    assert Erase(1).clean() == Erase(1)


@pytest.mark.parametrize("target", [2, -1, "membrane"])
def test_an_unknown_class_is_refused(target):
    with pytest.raises(InputError, match="the classes are back, cell"):
        frozen(Erase(target))


@pytest.mark.parametrize(("target", "share"), [(True, 0.5), (1.5, 0.5), (1, 0), (1, 1.1), (1, "much")])
def test_settings_are_checked(target, share):
    with pytest.raises(PlanError, match="give"):
        Erase(target, share)


def test_other_tasks_are_refused():
    with pytest.raises(InputError, match="of the kind labels or mask, but the model answers 3 classes: choose one of the goals targeted, untargeted"):
        frozen(Erase(1), torch.tensor([0]), Classes(3))
    net = victim(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), Image((1, 2, 2)))
    threat = Threat(Linf(0.1), Erase(1))
    for written in ("fast", "pgd"):
        with pytest.raises(NeedsError, match="the goal erase is for answers of the kind labels or mask, but Sequential answers 3 classes"):
            choose(written, net, threat)


class Level(nn.Module):
    """Class 1 where a pixel is above 0.5."""

    def forward(self, x):
        return torch.cat([0.5 - x, x - 0.5], 1)


@pytest.mark.parametrize("written", ["pgd", "apgd", "square(queries=2000)"])
@pytest.mark.parametrize(("radius", "broken"), [(0.29, False), (0.31, True)])
def test_the_optimum_is_known(written, radius, broken):
    """Of three bright pixels the dearest lies 0.3 above the threshold; the dark one may be answered anyhow."""
    net, x, y = victim(Level(), Image((1, 2, 2)), task=mask(2)), torch.tensor([[[[0.55, 0.6], [0.8, 0.1]]]]), torch.tensor([[[1, 1], [1, 0]]])
    threat = Threat(Linf(radius), Erase(1))
    with net.session():
        points = read_attack(written)(net, x, y, threat)
        assert frozen(Erase(1), y, net.task).met(net.answer(points)).tolist() == [broken]
