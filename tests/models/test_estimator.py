"""Scikit-learn estimators are judged by what they predict."""

import numpy as np
import torch

import sparring as sp
from sparring.core.dice import Dice
from sparring.judge.judge import Status, judge


class Tuned:
    """A classifier that says 1 from a probability of 0.2 on."""

    classes_ = np.array([0, 1])

    def get_params(self, deep=True):
        return {}

    def predict_proba(self, x):
        return np.stack([1 - x[:, 0], x[:, 0]], axis=1)

    def predict(self, x):
        return (x[:, 0] >= 0.2).astype(int)


def test_the_prediction_decides_not_the_highest_probability():
    """A row at 0.3 is class 1 for the deployed model, though its probability is below one half."""
    victim = sp.victim(Tuned(), sp.table(["x"]))
    x, y = torch.tensor([[0.1]], dtype=torch.float64), torch.tensor([0])
    threat = sp.rules(rules_of_one_column())
    reference = threat.goal.reference(y, Dice.of(0, ["a"]), 2)
    verdicts = judge(victim, x, torch.tensor([[0.3]], dtype=torch.float64), reference, threat, torch.tensor([False]))
    assert verdicts.status == [Status.BROKEN]
    assert verdicts.predicted.tolist() == [1]


def rules_of_one_column():
    from sparring.threats.rules import Rule, Rules

    return Rules(1.0, (Rule("x"),))
