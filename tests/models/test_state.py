"""What a function or a module holds decides its fingerprint; a record never answers for another model."""

import functools
import threading

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

import sparring as sp
from sparring.core.errors import RecordError
from sparring.models.state import State

RNG = np.random.default_rng(0)
X = RNG.random((60, 2))
Y = (X[:, 0] > 0.5).astype(int)
DOMAIN = sp.table(["a", "b"])
MODEL = None
SCALE = 1.0


def fit(target):
    return LogisticRegression(C=100).fit(X, target)


class Held:
    def __init__(self, model):
        self.model = model

    def __call__(self, rows):
        return self.model.predict_proba(rows)


def passed(model, rows):
    return model.predict_proba(rows)


def from_global(rows):
    return MODEL.predict_proba(rows)


def globally(target):
    globals()["MODEL"] = fit(target)
    return from_global


def closed_over(target):
    model = fit(target)
    return lambda rows: model.predict_proba(rows)


def by_default(target):
    def ask(rows, model=fit(target)):
        return model.predict_proba(rows)

    return ask


def nested(target):
    inner = closed_over(target)

    def outer(rows):
        return [inner][0](rows)

    return outer


def of_a_booster(target):
    xgboost = pytest.importorskip("xgboost")
    booster = xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(X, target), 10)

    def ask(rows):
        one = booster.predict(xgboost.DMatrix(rows))
        return np.stack([1 - one, one], 1)

    return ask


WAYS = {
    "closure": closed_over, "attribute": lambda target: Held(fit(target)), "partial": lambda target: functools.partial(passed, fit(target)),
    "global": globally, "bound method": lambda target: fit(target).predict_proba, "default": by_default, "nested": nested, "booster": of_a_booster,
    "dictionary": lambda target: Held({"m": fit(target)}["m"]),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_a_model_trained_again_gets_its_own_record(way, tmp_path):
    """And one that is the same continues the old one."""
    data = sp.Data.of(X, Y, DOMAIN)

    def run(target):
        victim = sp.victim(WAYS[way](target), DOMAIN, classes=2)
        assert victim.complete
        return sp.evaluate(victim, data, sp.linf(1e-6), ["noise(tries=1)"], certify="none", self_check=False, out=str(tmp_path))

    first = run(Y)
    assert run(Y).path == first.path
    other = run(1 - Y)
    assert other.path != first.path
    assert first.clean_accuracy.value > 0.9
    assert other.clean_accuracy.value < 0.1


class Tempered(nn.Module):
    def __init__(self, temperature=1.0, labels=("a", "b")):
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.temperature, self.labels = temperature, labels
        with torch.no_grad():
            self.linear.weight.fill_(0.5)
            self.linear.bias.zero_()

    def forward(self, x):
        return self.linear(x) * self.temperature * SCALE


def hooked():
    module = Tempered()
    module.linear.register_forward_hook(lambda module, given, answer: -answer)
    return module


def test_what_a_module_holds_besides_its_weights_counts(monkeypatch):
    """Attributes, hooks and globals; the name of an object does not."""
    prints = [sp.victim(module.eval(), DOMAIN).fingerprint for module in (Tempered(), Tempered(2.0), Tempered(labels=("a", "c")), hooked())]
    assert len(set(prints)) == 4
    assert sp.victim(Tempered().eval(), DOMAIN).fingerprint == prints[0]
    monkeypatch.setitem(globals(), "SCALE", 2.0)
    assert sp.victim(Tempered().eval(), DOMAIN).fingerprint != prints[0]


class Closed:
    """An object whose state nobody can read."""

    __slots__ = ("ask",)

    def __init__(self, ask):
        self.ask = ask

    def __reduce_ex__(self, protocol):
        raise TypeError("closed")

    def __call__(self, rows):
        return self.ask(rows)


def test_what_cannot_be_read_is_asked_again(tmp_path):
    data = sp.Data.of(X, Y, DOMAIN)

    def run(target):
        victim = sp.victim(Closed(fit(target).predict_proba), DOMAIN, classes=2)
        assert not victim.complete
        return sp.evaluate(victim, data, sp.linf(1e-6), ["noise(tries=1)"], certify="none", self_check=False, out=str(tmp_path))

    first = run(Y)
    assert run(Y).path == first.path
    with pytest.raises(RecordError, match=r"answers \d+ of 16 recorded samples otherwise than before, .*: write another out="):
        run(1 - Y)


def test_cycles_and_locks():
    held = Held(None)
    held.model, held.lock = held, threading.Lock()
    state = State(held)
    assert state.missing == ["lock"]
    assert State([1, [2]]).parts != State([1, 2]).parts
    assert State({"a": 1}).parts != State({"a": 1.0}).parts


def test_a_module_that_writes_into_its_input_is_attacked():
    """Its gradients are those of the same module without that."""

    class Net(nn.Module):
        def __init__(self, inplace):
            super().__init__()
            torch.manual_seed(0)
            self.inplace, self.linear = inplace, nn.Linear(64, 10)

        def forward(self, x):
            return self.linear((x.sub_(0.5).mul_(2) if self.inplace else (x - 0.5) * 2).flatten(1))

    data = sp.load("digits", take=20)
    found = []
    for inplace in (False, True):
        for search in ("fast", "plain"):
            victim = sp.victim(Net(inplace).eval(), data.domain, search=search)
            before = data.x.clone()
            found.append(sp.attacks.pgd(victim, data.x, data.y, sp.linf(0.1), steps=5))
            assert torch.equal(data.x, before)
    assert all(torch.allclose(found[0], one, atol=1e-5) for one in found[1:])
