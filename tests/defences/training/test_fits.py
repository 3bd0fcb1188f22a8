"""Fits: the same samples and seed give the same victim, whatever stands around; what is kept is read back or fitted again."""

import dataclasses
import json
import logging
from typing import ClassVar

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

import sparring as sp
from sparring.core.errors import InputError, NeedsError, PlanError, UnknownName
from sparring.core.fit import Fit, canonical, fit_many, read_fit
from sparring.core.registry import everything
from sparring.defences.training.fits.descent import smallest
from sparring.defences.training.fits.mlp import Mlp
from sparring.models.torch import TorchVictim
from sparring.records.store import Store
from sparring.tasks.classes import Classes

TABLE = 'estimator("sklearn.ensemble.RandomForestClassifier", n_estimators=5)'
FAST = {"mlp": "mlp(epochs=1)", "convnet": "convnet(epochs=1)", "recipe": "recipe(epochs=1, batch=50)", "estimator": TABLE}


def data_for(fit, split="train", take=150):
    return sp.load("breast-cancer" if fit.kind == "estimator" else "digits", split=split, take=take)


def accuracy(victim, data):
    with victim.session():
        return float((victim.answer(data.x) == data.y).double().mean())


@pytest.fixture(params=sorted(everything("fit")))
def fit(request):
    """Every registered fit, with settings that take little time where its own would take more."""
    return read_fit(FAST.get(request.param, request.param))


@pytest.fixture
def files(tmp_path):
    return Store(tmp_path)


# Every fit ---------------------------------------------------------------------------------------------------------------


def test_the_same_again_whatever_the_state_and_the_order(fit):
    """Bit for bit: another global seed, another order and other ids of the samples, another number of threads."""
    data = data_for(fit)
    first = fit(data, 3)
    torch.manual_seed(11)
    np.random.seed(11)
    order = torch.randperm(len(data))
    other = dataclasses.replace(data.rows(order), ids=[f"other/{place}" for place in range(len(data))], name="other")
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        second = fit(other, 3)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert first.fingerprint == second.fingerprint
    assert torch.equal(first.scores(data.x), second.scores(data.x))
    assert fit.key(data, 3) == fit.key(other, 3)


def test_random_state_and_data_are_untouched(fit):
    data = data_for(fit)
    x, y, state, numpy = data.x.clone(), data.y.clone(), torch.get_rng_state(), np.random.get_state()[1].copy()
    fit(data, 0)
    assert torch.equal(data.x, x)
    assert torch.equal(data.y, y)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpy)


def test_what_is_kept_is_read_back(fit, files, monkeypatch):
    data = data_for(fit)
    first = fit.cached(data, 0, files)
    monkeypatch.setattr(type(fit), "learn", lambda *_: pytest.fail("fitted a second time"))
    second = fit.cached(data.rows(torch.randperm(len(data))), 0, files)
    assert first.fingerprint == second.fingerprint
    assert torch.equal(first.scores(data.x), second.scores(data.x))


@pytest.mark.few(8)
@pytest.mark.parametrize("damage", ["cut", "one bit", "other fit", "no label", "pickle"])
def test_what_is_damaged_is_fitted_anew(fit, files, damage, caplog):
    """Also where somebody put another file, with a label that fits it, in its place."""
    data = data_for(fit)
    first, name = fit.cached(data, 0, files), f"fits/{fit.key(data, 0)}"
    learned = files.read(f"{name}/learned")
    if damage == "no label":
        files.write(f"{name}/fit.json", b"{")
    else:
        other = {"cut": learned[:-9], "one bit": learned[:-9] + bytes([learned[-9] ^ 1]) + learned[-8:], "other fit": b"other", "pickle": b"\x80\x04N."}[damage]
        files.write(f"{name}/learned", other)
        if damage in ("other fit", "pickle"):
            import hashlib

            label = json.loads(files.read(f"{name}/fit.json"))
            files.write(f"{name}/fit.json", json.dumps({**label, "sha256": hashlib.sha256(other).hexdigest()}).encode())
    with caplog.at_level(logging.WARNING):
        again = fit.cached(data, 0, files)
    assert "fitted again" in caplog.text
    assert again.fingerprint == first.fingerprint
    assert files.read(f"{name}/learned") != b"other"
    caplog.clear()
    assert fit.cached(data, 0, files).fingerprint == first.fingerprint
    assert not caplog.text


def test_many_agree_with_one_after_another(fit, files):
    """Over masks of one data set and over data sets of their own, also of different sizes; up to rounding that training amplifies."""
    data = data_for(fit)
    masks = torch.rand(3, len(data), generator=torch.Generator().manual_seed(0)) < 0.6
    masks[2] = True
    together = fit_many(fit, data, [0, 1, 2], masks=masks, files=files)
    sets = [data.rows(mask.nonzero().squeeze(1)) for mask in masks]
    assert [one.fingerprint for one in fit_many(fit, sets, [0, 1, 2])] == [one.fingerprint for one in together]
    for victim, own, seed in zip(together, sets, range(3), strict=True):
        alone = fit(own, seed)
        assert torch.allclose(victim.scores(data.x), alone.scores(data.x), atol=2e-3)
    assert len({one.fingerprint for one in together}) == 3
    again = fit_many(fit, data, [0, 1, 2], masks=masks, files=files)
    assert [one.fingerprint for one in again] == [one.fingerprint for one in together]


def test_many_are_read_back(fit, files, monkeypatch):
    data = data_for(fit)
    first = fit_many(fit, data, [0, 1], files=files)
    for name in ("learn", "many"):
        monkeypatch.setattr(type(fit), name, lambda *_: pytest.fail("fitted a second time"))
    assert [one.fingerprint for one in fit_many(fit, data, [0, 1], files=files)] == [one.fingerprint for one in first]


def test_it_is_written_as_it_is_read(fit):
    described = json.loads(json.dumps(fit.describe()))
    assert described["fit"] == fit.kind
    assert {**described} == fit.describe()
    if not getattr(fit, "settings", None):
        assert read_fit(str(fit)) == fit


def test_data_that_are_no_numbers_or_nothing(fit):
    text = sp.Data.of(["good", "bad"], [0, 1], sp.text())
    if fit.kind != "estimator":
        with pytest.raises(InputError, match="not numbers"):
            fit(text)
    with pytest.raises(InputError, match="no samples"):
        fit(data_for(fit).rows(torch.arange(0)))


# The key -----------------------------------------------------------------------------------------------------------------


def test_the_key_changes_with_all_that_decides(monkeypatch):
    data, fit = sp.load("digits", split="train", take=20), read_fit("mlp")
    pixel, label = data.x.clone(), data.y.clone()
    pixel[3, 0, 4, 4] += 1 / 16
    label[3] = (label[3] + 1) % 10
    found = {
        "as it is": fit.key(data, 0),
        "seed": fit.key(data, 1),
        "width": fit.key(data, 0, 64),
        "setting": read_fit("mlp(hidden=[32])").key(data, 0),
        "fit": read_fit("convnet").key(data, 0),
        "fewer": fit.key(data.rows(torch.arange(19)), 0),
        "pixel": fit.key(dataclasses.replace(data, x=pixel), 0),
        "label": fit.key(dataclasses.replace(data, y=label), 0),
        "domain": fit.key(data.derived(domain=sp.image(8, 8, deployed="8bit")), 0),
        "task": fit.key(dataclasses.replace(data, task=Classes(11)), 0),
        "twice": fit.key(sp.Data.of(data.x[[*range(20), 0]], data.y[[*range(20), 0]], data.domain, classes=data.classes), 0),
    }
    monkeypatch.setattr("sparring.core.fit.code_of", lambda thing: "other")
    found["code"] = fit.key(data, 0)
    assert len(set(found.values())) == len(found)


def test_the_recipe_belongs_to_the_key():
    data = sp.load("digits", split="train", take=20)
    keys = {read_fit(one).key(data, 0) for one in ("recipe", 'recipe("sabr")', 'recipe(threat="linf 0.2")', 'recipe(network="convnet")')}
    assert len(keys) == 4


# Known answers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("written", "floor"), [("mlp", 0.95), ("linear", 0.94), ("convnet(epochs=10)", 0.95), ("mlp(hidden=[])", 0.92)])
def test_digits_are_learned(written, floor):
    assert accuracy(read_fit(written)(sp.load("digits", split="train"), 0), sp.load("digits", split="test")) >= floor


@pytest.mark.parametrize("written", ["mlp", "linear", TABLE])
def test_a_table_in_units_of_its_own_is_learned(written):
    """Columns from 0.001 to 4000: each is scaled by itself."""
    assert accuracy(read_fit(written)(sp.load("breast-cancer", split="train"), 0), sp.load("breast-cancer", split="test")) >= 0.93


def test_linear_is_the_logistic_regression_of_scikit_learn():
    """C = 1 / (n decay); both make the same strictly convex function small."""
    data = sp.load("digits", split="train", take=200)
    victim = read_fit("linear(decay=0.01, steps=500)")(data, 0)
    x = data.x.double().flatten(1)
    x = (x - x.mean()) / x.std(correction=0)
    peer = LogisticRegression(C=1 / (200 * 0.01), tol=1e-10, max_iter=5000).fit(x.numpy(), data.y.numpy())
    ours, theirs = victim.scores(data.x).softmax(1).double(), torch.from_numpy(peer.predict_proba(x.numpy()))
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_the_descent_finds_the_minimum_of_each_row():
    """Quadratics of very different curvature, and Rosenbrock's valley, together and alone."""
    target = torch.tensor([[1.0, 1.0], [3.0, -2.0], [0.0, 0.0]], dtype=torch.float64)

    def values(at):
        valley = (1 - at[:, 0]).square() + 100 * (at[:, 1] - at[:, 0].square()).square()
        bowl = ((at - target) * torch.tensor([1.0, 30.0])).square().sum(1)
        return torch.where(torch.arange(len(at)) == 0, valley, bowl[: len(at)])

    start = torch.tensor([[-1.2, 1.0], [0.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    found = smallest(values, start)
    assert torch.allclose(found, target, atol=1e-5)
    assert torch.equal(found[2], start[2])


@dataclasses.dataclass(frozen=True)
class Numbers(Classes):
    """One number per sample, in the least that a fit asks of a task: the loss is that of every task whose truth has the form of the scores."""

    kind: ClassVar[str] = "numbers"
    score_shape = (1,)
    training_loss = Classes.__mro__[1].training_loss

    def scores(self, output, name):
        return output

    def fitted(self, scores, name):
        return self

    def check(self, truth, count):
        return torch.as_tensor(truth)


@pytest.mark.parametrize("written", ["linear(decay=0)", "mlp(epochs=60)"])
def test_values_are_learned_by_squared_errors(written):
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(200, 1, 3, 3, generator=rng)
    y = (x.flatten(1) @ torch.linspace(-1, 1, 9))[:, None]
    data = sp.Data("numbers", [str(one) for one in range(200)], x, y, sp.image(3, 3), [], task=Numbers(2))
    victim = read_fit(written)(data, 0)
    assert float((victim.scores(x) - y).square().mean()) < (1e-8 if "linear" in written else 0.01) * float(y.var())


def test_a_task_without_a_loss_says_so():
    with pytest.raises(NeedsError, match="no training loss"):
        Numbers(2).training_loss(torch.zeros(4, 1), torch.zeros(4, dtype=torch.int64))


# Wrong use ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "error", "said"),
    [
        ("mpl", UnknownName, "mlp"),
        ("mlp(hiden=[3])", UnknownName, "hidden"),
        ("mlp(hidden=[0])", PlanError, "whole numbers of at least 1"),
        ("mlp(epochs=0)", PlanError, "epochs"),
        ("convnet(rate=-1)", PlanError, "above 0"),
        ("linear(decay=-1)", PlanError, "decay"),
        ('recipe("nothing")', UnknownName, "recipe"),
        ('recipe("ibp", ratio=3)', UnknownName, "setting of ibp"),
        ('recipe(network="recipe")', PlanError, "trains a network"),
        ('estimator("os.system")', PlanError, "class of scikit-learn"),
        ('estimator("sklearn.linear_model.Ridge")', PlanError, "no classifier"),
        ('estimator("sklearn.svm.SVC", D=3)', UnknownName, "setting"),
    ],
)
def test_wrong_settings_say_what_to_write(written, error, said):
    with pytest.raises(error, match=said):
        read_fit(written)


def test_wrong_masks_and_data_say_what_is_wrong():
    data, fit = sp.load("digits", split="train", take=10), read_fit("mlp")
    with pytest.raises(InputError, match=r"bool \[2, 10\]"):
        fit_many(fit, data, [0, 1], masks=torch.ones(2, 9, dtype=torch.bool))
    with pytest.raises(InputError, match="victim 1 has no samples"):
        fit_many(fit, data, [0, 1], masks=torch.tensor([[True], [False]]).expand(2, 10))
    with pytest.raises(InputError, match="3 data sets for 2 seeds"):
        fit_many(fit, [data] * 3, [0, 1])
    with pytest.raises(InputError, match="a table"):
        read_fit("estimator")(data)
    with pytest.raises(InputError, match="use mlp"):
        read_fit("convnet")(sp.load("breast-cancer", split="train", take=10))
    with pytest.raises(InputError, match="no sample of class"):
        read_fit("estimator")(sp.load("breast-cancer", split="train").rows((sp.load("breast-cancer", split="train").y == 1).nonzero().squeeze(1)))
    assert fit_many(fit, data, []) == []


def test_a_training_that_runs_away_is_an_error():
    with pytest.raises(PlanError, match="lower the rate"):
        read_fit("mlp(rate=1e30, epochs=3)")(sp.load("digits", split="train", take=50))


def test_a_fit_of_somebody_else_needs_three_methods(files):
    """A network of one's own is a class with `module`; keys, cache and batches come with it."""

    @dataclasses.dataclass(frozen=True)
    class Wide(Mlp):
        kind: ClassVar[str] = "wide"

        def module(self, shape, outputs):
            return nn.Sequential(nn.Flatten(), nn.Linear(64, *outputs))

    data = sp.load("digits", split="train", take=60)
    fit: Fit = Wide(epochs=1)
    assert isinstance(fit.cached(data, 0, files), TorchVictim)
    assert fit.key(data, 0) != Mlp(epochs=1).key(data, 0)
    assert len(fit_many(fit, data, [0, 1])) == 2


def test_the_canonical_order_keeps_samples_together():
    data = sp.load("digits", split="train", take=30)
    ordered, digests = canonical(data)
    assert digests == sorted(digests)
    own = {name: (x.tolist(), int(y)) for name, x, y in zip(data.ids, data.x, data.y, strict=True)}
    assert all(own[name] == (x.tolist(), int(y)) for name, x, y in zip(ordered.ids, ordered.x, ordered.y, strict=True))
