"""The task of values, by hand."""

import json
import math

import pytest
import torch

import sparring as sp
from sparring.core.errors import InputError, LoadError, NeedsError
from sparring.core.registry import find
from sparring.data.dataset import Data
from sparring.tasks.values import Values

TRUTH = torch.tensor([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]], dtype=torch.float64)


def test_an_answer_is_wrong_beyond_the_tolerance_in_some_output():
    wrong = Values(2, (0.5, 5.0)).wrong(TRUTH)
    answer = torch.tensor([[1.5, 15.0], [2.0, 26.0], [2.25, math.nan]], dtype=torch.float64)
    assert wrong.met(answer).tolist() == [False, True, False]
    assert wrong.take(torch.tensor([0, 1])).loss(answer[:2]).tolist() == [0.0, 1.0]
    assert wrong.take(torch.tensor([1])).loss(answer[1:2]).tolist() == [1.0]
    assert wrong.untargeted
    assert wrong.aimed() == [None] * 3


def test_the_loss_leads_out_of_the_interval():
    scores = torch.tensor([[1.25], [0.75]], dtype=torch.float64, requires_grad=True)
    Values(1, 1.0).wrong(torch.ones(2, 1, dtype=torch.float64)).loss(scores).sum().backward()
    assert scores.grad.tolist() == [[1.0], [-1.0]]


def test_quality_falls_with_the_square_of_the_error():
    task = Values(2, 1.0, (2.0, 10.0))
    answer = torch.tensor([[1.0, 10.0], [3.0, 25.0], [math.nan, 30.0]], dtype=torch.float64)
    assert task.quality(answer, TRUTH).tolist() == [1.0, (0.75 + 0.75) / 2, 0.0]


def test_data_measure_tolerance_and_scale():
    data = Data.of(torch.zeros(2, 1, 2, 2), [1.0, 5.0], sp.image(2, 2), task=Values())
    assert data.task == Values(1, (1.0,), (2.0,))
    assert data.y.tolist() == [[1.0], [5.0]]
    given = Data.of(torch.zeros(2, 1, 2, 2), [1.0, 5.0], sp.image(2, 2), task=Values(tolerance=0.25))
    assert given.task == Values(1, 0.25, (2.0,))


def test_what_is_not_finite_is_no_answer():
    task = Values(2, 1.0)
    answer = task.answer(torch.tensor([[1.0, 0.1], [math.inf, 2.0]]))
    assert task.answered(answer).tolist() == [True, False]
    packed = task.pack(answer)
    assert packed[1] == ""
    assert torch.equal(task.unpack(packed).nan_to_num(-7), answer.nan_to_num(-7))
    assert task.answered(task.no_answer(answer)).tolist() == [False, False]


@pytest.mark.parametrize("task", [Values(), Values(2, 0.5, 3.0), Values(2, (1.0, 2.0), (3.0, 4.0))])
def test_a_description_restores_the_task(task):
    assert find("task", "values").restore(json.loads(json.dumps(task.describe()))) == task


def test_wrong_input_is_refused():
    for settings in ({"outputs": 0}, {"tolerance": -1.0}, {"outputs": 2, "tolerance": (1.0,)}, {"scale": 0}):
        with pytest.raises(InputError):
            Values(**settings)
    for truth in ([1.0], [1.0, math.nan], ["a", "b"], [[1.0, 2.0]] * 2):
        with pytest.raises(InputError):
            Values().check(truth, 2)
    with pytest.raises(LoadError):
        Values(2).fitted(torch.zeros(3, 1), "m")
    with pytest.raises(NeedsError):
        Values().wrong(torch.zeros(1, 1))
