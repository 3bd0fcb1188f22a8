"""Goals about values, by hand."""

import pytest
import torch

from sparring.core.errors import InputError, PlanError
from sparring.core.expression import parse
from sparring.core.registry import find
from sparring.tasks.classes import Classes
from sparring.tasks.values import Values

TRUTH = torch.tensor([[1.0], [1.0], [1.0], [1.0], [1.0]], dtype=torch.float64)
ANSWER = torch.tensor([[0.0], [0.5], [1.0], [1.5], [2.0]], dtype=torch.float64)


def goal(written):
    expression = parse(written)
    return find("goal", expression.name)(*expression.arguments, **expression.settings)


@pytest.mark.parametrize(
    ("written", "met"),
    [("away 0.5", [1, 0, 0, 0, 1]), ("up 0.25", [0, 0, 0, 1, 1]), ("down 0.5", [1, 0, 0, 0, 0]), ("above 0.75", [0, 0, 1, 1, 1]), ("below 1", [1, 1, 0, 0, 0])],
)
def test_a_goal_is_met_exactly_where_its_loss_is_positive(written, met):
    criterion = goal(written).freeze(TRUTH, Values(), None)
    assert criterion.met(ANSWER).int().tolist() == met
    assert (criterion.loss(ANSWER) > 0).int().tolist() == met
    assert (criterion.loss(ANSWER.float()) > 0).int().tolist() == met


@pytest.mark.parametrize("written", ["up -1", "away nan", "above inf", "down x"])
def test_wrong_bounds_are_refused(written):
    with pytest.raises(PlanError):
        goal(written)


def test_a_classifier_is_refused():
    with pytest.raises(InputError, match="values"):
        goal("up 1").freeze(torch.tensor([0]), Classes(2), None)
