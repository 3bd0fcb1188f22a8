"""Hardening for real: a small network on digits, certified by interval arithmetic written out here."""

import numpy as np
import pytest
import torch
from torch import nn

import sparring as sp
from sparring.core.errors import UnknownName, UsageError
from sparring.core.registry import everything
from sparring.defences.training.harden import harden
from sparring.defences.training.ibp import Ibp
from sparring.defences.training.loop import train
from sparring.defences.training.optimiser import Adam
from sparring.defences.training.radius_schedule import RadiusSchedule

RADIUS = 0.06


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 40), nn.ReLU(), nn.Linear(40, 10))


def certified(module, x, y):
    """Share of the samples whose label leads at every point of the box, by interval arithmetic in NumPy, float64."""
    w1, b1, w2, b2 = (one.detach().double().numpy() for one in module.parameters())
    flat = x.flatten(1).double().numpy()
    low, high = np.clip(flat - RADIUS, 0, 1), np.clip(flat + RADIUS, 0, 1)
    middle, half = (low + high) / 2 @ w1.T + b1, (high - low) / 2 @ np.abs(w1).T
    low, high = np.maximum(middle - half, 0), np.maximum(middle + half, 0)
    right = np.ones(len(flat), dtype=bool)
    for row, label in enumerate(y.tolist()):
        for rival in range(10):
            d = w2[label] - w2[rival]
            if rival != label:
                right[row] &= np.minimum(d * low[row], d * high[row]).sum() + b2[label] - b2[rival] > 0
    return right.mean()


def accuracy(module, x, y):
    with torch.no_grad():
        return float((module(x).argmax(1) == y).double().mean())


def test_a_hardened_network_is_certified_where_a_plain_one_is_not():
    data, test = sp.load("digits", split="train"), sp.load("digits", split="test")
    settings = {"epochs": 20, "batch": 50, "optimiser": Adam(5e-3)}
    plain = train(net(), data, sp.linf(RADIUS), lambda step: nn.functional.cross_entropy(step.scores, step.y), **settings)
    robust = harden(net(), data, sp.linf(RADIUS), "ibp", natural=(1.0, 0.5), regulariser=None, fresh=False, **settings)
    assert accuracy(plain, test.x, test.y) > 0.95
    assert accuracy(robust, test.x, test.y) > 0.9
    assert certified(plain, test.x, test.y) < 0.2
    assert certified(robust, test.x, test.y) > 0.7
    points = sp.attacks.pgd(sp.victim(robust, data.domain), test.x, test.y, sp.linf(RADIUS), steps=20)
    assert certified(robust, test.x, test.y) <= accuracy(robust, points, test.y) <= accuracy(robust, test.x, test.y)


@pytest.mark.parametrize("recipe", everything("recipe"))
def test_every_recipe_lowers_its_loss(recipe):
    data, told = sp.load("digits", split="train", take=400), []
    settings = {"regulariser": None} if "regulariser" in everything("recipe")[recipe].defaults else {}
    module = harden(
        net(), data, sp.linf(0.03), recipe, epochs=6, batch=40, optimiser=Adam(5e-3), listen=lambda event, details: told.append((event, details)), **settings
    )
    assert {event for event, _ in told} == {"epoch"}
    assert told[-1][1]["radius"] == pytest.approx(0.03)
    assert told[-1][1]["loss"] < 0.8 * told[0][1]["loss"]
    assert accuracy(module, data.x, data.y) > 0.6


def test_a_fresh_start_does_not_depend_on_the_weights_given():
    data, other = sp.load("digits", split="train", take=60), net()
    with torch.no_grad():
        other[1].weight.mul_(2)
    settings = {"epochs": 1, "batch": 20}
    trained = [harden(module, data, sp.linf(0.05), **settings)[1].weight for module in (net(), other)]
    assert torch.equal(*trained)
    kept = [harden(module, data, sp.linf(0.05), fresh=False, **settings)[1].weight for module in (net(), other)]
    assert not torch.equal(*kept)


def test_wrong_names_are_answered_with_the_nearest():
    data = sp.load("digits", split="train", take=60)
    with pytest.raises(UnknownName, match="did you mean sabr"):
        harden(net(), data, sp.linf(0.1), "sabre")
    with pytest.raises(UnknownName, match="unknown setting of sabr 'ration': did you mean ratio"):
        harden(net(), data, sp.linf(0.1), "sabr", ration=0.3)
    with pytest.raises(UnknownName):
        harden(net(), data, sp.linf(0.1), Ibp(), ratio=0.3)
    with pytest.raises(UsageError, match="train with linf"):
        harden(net(), data, sp.l2(0.1), epochs=1)


def test_the_old_names_of_keywords_are_accepted_and_told():
    """`ramp` and `balance` do what `radius_schedule` and `regulariser` do."""
    data = sp.load("digits", split="train", take=60)
    settings = {"epochs": 1, "batch": 20}
    new = harden(net(), data, sp.linf(0.05), radius_schedule=RadiusSchedule(0.0, 0.2), regulariser=None, **settings)
    with pytest.warns(DeprecationWarning, match="(ramp is now radius_schedule|balance is now regulariser)"):
        old = harden(net(), data, sp.linf(0.05), ramp=RadiusSchedule(0.0, 0.2), balance=None, **settings)
    assert torch.equal(new[1].weight, old[1].weight)
    with pytest.warns(DeprecationWarning, match="ramp is now radius_schedule"):
        harden(net(), data, sp.linf(0.05), Ibp(regulariser=None), ramp=RadiusSchedule(0.0, 0.2), **settings)
    default = harden(net(), data, sp.linf(0.05), regulariser=None, **settings)
    assert not torch.equal(new[1].weight, default[1].weight)
