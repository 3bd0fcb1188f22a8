"""Normalisation and layout when wrapping, for every kind of model that takes them."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import sparring as sp
from sparring.bench.plan import Plan
from sparring.core.errors import LoadError, PlanError
from sparring.models.graph_of import network_of
from sparring.models.load import load_model

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
DOMAIN = sp.image(3, 6, 6)
X = torch.rand(5, 3, 6, 6, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5))


def first(scores):
    return scores[:, 0]


class Inside(nn.Module):
    """The same normalisation, written by hand inside the model."""

    def __init__(self, network, scale=1.0):
        super().__init__()
        self.network, self.scale = network, scale
        self.mean, self.std = (nn.Buffer(torch.tensor(one).view(3, 1, 1)) for one in (MEAN, STD))

    def forward(self, x):
        return self.network((x * self.scale - self.mean) / self.std)


class ChannelsLast(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        assert x.shape[1:] == (6, 6, 3)
        return self.network(x.permute(0, 3, 1, 2))


@pytest.fixture(scope="module")
def wrapped(network, tmp_path_factory):
    """One victim per form of model, and the module with everything inside."""
    file = tmp_path_factory.mktemp("onnx") / "network.onnx"
    axes = {"x": {0: "n"}, "y": {0: "n"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (X,), file, input_names=["x"], output_names=["y"], dynamic_axes=axes, dynamo=False)
        program = torch.export.export(network, (X,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))

    def function(batch):
        with torch.no_grad():
            return network(torch.from_numpy(batch)).numpy()

    given = {"mean": MEAN, "std": STD, "scale": 2}
    return sp.victim(Inside(network, 2.0), DOMAIN), {
        "torch": sp.victim(network, DOMAIN, **given),
        "program": sp.victim(program, DOMAIN, **given),
        "onnx": sp.victim(file, DOMAIN, **given),
        "function": sp.victim(function, DOMAIN, classes=5, **given),
        "last": sp.victim(ChannelsLast(network), DOMAIN, layout="channels last", **given),
    }


@pytest.mark.parametrize("form", ["torch", "program", "onnx", "function", "last"])
def test_scores_gradients_and_bounds_are_those_of_the_model_with_the_normalisation_inside(wrapped, form):
    truth, victim = wrapped[0], wrapped[1][form]
    expected = truth.scores(X)
    assert torch.allclose(victim.scores(X), expected, atol=1e-5)
    if form == "function":
        return
    assert torch.allclose(victim.gradient(X, first).grad, truth.gradient(X, first).grad, atol=1e-6)
    assert torch.allclose(network_of(victim)(X.double()).float(), expected, atol=1e-5)


def test_the_settings_identify_the_model(network):
    marks = {sp.victim(network, DOMAIN, **given).fingerprint for given in ({}, {"mean": 0.5}, {"mean": 0.4}, {"std": 0.5}, {"scale": 0.5})}
    assert len(marks) == 5


def test_an_attack_stays_within_the_radius_in_the_units_of_the_data(network, tmp_path):
    data = sp.Data.of(X, torch.zeros(5, dtype=torch.int64), DOMAIN)
    run = sp.evaluate(sp.victim(network, DOMAIN, mean=MEAN, std=STD), data, sp.linf(0.1), attacks="pgd(steps=5)", certify="none", out=tmp_path)
    assert float(run.table()["size"].max()) <= 0.1 + 1e-6


def test_columns_of_tables():
    torch.manual_seed(0)
    network, x = nn.Linear(3, 2), torch.tensor([[100.0, 2.0, 0.1]])
    table = sp.table(["weight", "height", "share"])
    victim = sp.victim(network, table, mean=[90, 1, 0], std=[10, 2, 0.5])
    assert torch.allclose(victim.scores(x).float(), network(torch.tensor([[1.0, 0.5, 0.2]])), atol=1e-5)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"mean": [1, 2]}, "mean has 2 numbers, the inputs have 3 channels"),
        ({"std": 0}, "std=0: give finite numbers above 0"),
        ({"std": [1, 1e-40, 1]}, "is infinite or 0 in single precision: give numbers from 1.2e-38 to 3.4e"),
        ({"mean": 1e39}, r"mean=1e+39 is infinite or 0 in single precision"),
        ({"std": [1, float("nan"), 1]}, "give finite numbers above 0"),
        ({"scale": "half"}, "scale='half': give a number, or one for each of the 3 channels"),
        ({"layout": "upside down"}, "write 'channels first' or 'channels last'"),
    ],
)
def test_settings_that_make_no_sense(network, given, said):
    with pytest.raises(LoadError, match=re.escape(said)):
        sp.victim(network, DOMAIN, **given)


def test_words_have_no_mean():
    with pytest.raises(LoadError, match="mean=1 has no meaning for text"):
        sp.victim(lambda sentences: np.zeros((len(sentences), 2)), sp.text(), classes=2, mean=1)


def test_models_of_the_zoo_bring_their_own():
    with pytest.raises(LoadError, match="takes inputs as they are: leave out mean="):
        load_model("zoo:digits-plain", settings={"mean": 0.5})


@pytest.mark.parametrize(
    ("written", "read"), [("0.485, 1/2,0.4", [0.485, 0.5, 0.4]), (255, [255]), ([0.1, "1/4"], [0.1, 0.25]), ("-0.5", [-0.5]), ("[1, 2]", [1, 2])]
)
def test_numbers_in_plans(written, read):
    plan = Plan.of({"mean": written, "output": 1})
    assert plan.mean == read
    assert plan.of_models() == {"mean": read, "output": "1"}


def test_a_plan_tells_what_it_cannot_read():
    with pytest.raises(PlanError, match="plan key 'std' = True: give a number, or a list of numbers"):
        Plan.of({"std": True})


def test_numbers_by_the_names_of_columns(network):
    """A series or mapping is matched by name, whatever its order."""
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [10.0, 30.0]})
    inner, x = nn.Linear(2, 2), torch.tensor([[1.0, 10.0]])
    table = sp.table(["a", "b"])
    plain = sp.victim(inner, table, mean=[1.5, 20.0]).scores(x)
    for given in (frame.mean(), frame.mean()[::-1], {"b": 20.0, "a": 1.5}, frame.mean().to_numpy()):
        assert torch.equal(sp.victim(inner, table, mean=given).scores(x), plain)
    with pytest.raises(LoadError, match="mean names a, c, the inputs have a, b"):
        sp.victim(inner, table, mean={"a": 1, "c": 2})


def test_channels_last_are_contiguous(network):
    class Viewed(ChannelsLast):
        def forward(self, x):
            return x.view(len(x), -1)[:, :5]

    assert sp.victim(Viewed(network), DOMAIN, layout="channels last").classes == 5
