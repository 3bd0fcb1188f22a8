"""Every registered task, those of plugins included: truth, answers, quality and the criterion of success agree with each other."""

import json

import pytest
import torch

from sparring.core.errors import LoadError, UsageError
from sparring.core.registry import everything

SHAPES = ((2,), (1,), (3,), (2, 4, 4), (4, 4))
"""Shapes of the scores of one sample that are tried until the task takes one."""

COUNT = 40


def scores_for(shape, seed=0):
    return torch.randn(COUNT, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def example(name):
    """A task with its sizes known, random scores and true answers, which are what a model with other random scores says."""
    kind = everything("task")[name]
    for shape in SHAPES:
        try:
            task = kind().fitted(kind().scores(scores_for(shape), "the model"), "the model")
        except LoadError:
            continue
        truth = task.check(task.answer(scores_for(task.score_shape, 1)), COUNT)
        return task.measured(truth), scores_for(task.score_shape), truth
    raise AssertionError(f"{name} takes scores of none of the shapes {SHAPES}: add the one it takes")


@pytest.mark.parametrize("name", everything("task"))
def test_a_description_restores_the_task(name):
    """Through JSON, and nothing is lost."""
    task, *_ = example(name)
    assert everything("task")[name].restore(json.loads(json.dumps(task.describe()))) == task
    assert task.describe()["kind"] == task.kind == name


@pytest.mark.parametrize("name", everything("task"))
def test_answers_are_packed_and_unpacked(name):
    """An answer comes back as it was; an empty string is no answer, and only that."""
    task, scores, truth = example(name)
    answer = task.answer(scores)
    nothing = task.no_answer(answer)
    assert task.answered(answer).all()
    assert not task.answered(nothing).any()
    packed = task.pack(answer)
    assert all(packed)
    assert torch.equal(task.unpack(packed), answer)
    assert task.pack(nothing) == [""] * COUNT
    assert not task.answered(task.unpack([""] * COUNT)).any()
    assert torch.equal(task.check(truth, COUNT), truth)


@pytest.mark.parametrize("name", everything("task"))
def test_the_truth_is_the_best_answer(name):
    """It has quality 1, no answer has quality 0, and all others lie between."""
    task, scores, truth = example(name)
    assert torch.allclose(task.quality(truth, truth), torch.ones(COUNT, dtype=torch.float64))
    assert task.quality(task.no_answer(truth), truth).eq(0).all()
    found = task.quality(task.answer(scores), truth)
    assert found.dtype == torch.float64
    assert bool(((found >= 0) & (found <= 1)).all())


@pytest.mark.parametrize("name", everything("task"))
def test_the_criterion_knows_the_truth(name):
    """The truth and no answer meet no goal; the loss is positive exactly where the answer to the scores meets it; rows do not mix."""
    task, scores, truth = example(name)
    wrong = task.wrong(truth)
    assert not wrong.met(truth).any()
    assert not wrong.met(task.no_answer(truth)).any()
    met = wrong.met(task.answer(scores))
    assert met.any(), "no random answer is wrong"
    assert torch.equal(wrong.loss(scores) > 0, met)
    some = torch.arange(0, COUNT, 3)
    assert torch.equal(wrong.take(some).loss(scores[some]), wrong.loss(scores)[some])
    assert len(wrong.aimed()) == COUNT


@pytest.mark.parametrize("name", everything("task"))
def test_every_loss_climbs(name):
    """Each registered loss gives one number per sample with a gradient by the scores, or refuses with a sentence."""
    task, scores, truth = example(name)
    wrong = task.wrong(truth)
    for loss in everything("loss").values():
        asked = scores.clone().requires_grad_(True)
        try:
            value = loss(asked, wrong)
        except UsageError:
            continue
        assert value.shape == (COUNT,)
        (slope,) = torch.autograd.grad(value.sum(), asked)
        assert bool(torch.isfinite(slope).all())
        assert slope.abs().sum() > 0
    assert torch.equal(everything("loss")["margin"](scores, wrong), wrong.loss(scores))


@pytest.mark.parametrize("name", everything("task"))
def test_wrong_truth_is_refused(name):
    """Another number of answers, words in the place of answers, and answers of no sample at all."""
    task, _, truth = example(name)
    for given in (truth[:-1], ["a"] * COUNT, None):
        with pytest.raises(UsageError):
            task.check(given, COUNT)
