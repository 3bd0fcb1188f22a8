"""Models that return tuples, mappings and objects."""

import types
from collections import namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch import nn

import sparring as sp
from sparring.core.errors import LoadError
from sparring.models.graph_of import network_of

DOMAIN = sp.image(1, 4, 4)
X = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))


@dataclass
class Answer:
    loss: torch.Tensor
    logits: torch.Tensor
    hidden: tuple


Pair = namedtuple("Pair", "features, values")

FORMS = {
    "tuple of one": lambda h, y: (y,),
    "nested": lambda h, y: ((y,),),
    "tuple with a loss": lambda h, y: (h.mean(), y),
    "list with labels": lambda h, y: [y, y.argmax(1)],
    "mapping": lambda h, y: {"hidden": h, "logits": y},
    "out": lambda h, y: {"out": y, "aux": y * 0},
    "object": lambda h, y: Answer(h.mean(), y, (h, h)),
    "plain object": lambda h, y: types.SimpleNamespace(logits=y, hidden=h),
}
UNCLEAR = {"tuple": lambda h, y: (h, y), "named": lambda h, y: Pair(h, y), "mapping": lambda h, y: {"a": h, "b": y}}


class Network(nn.Module):
    def __init__(self, form):
        super().__init__()
        torch.manual_seed(0)
        self.form, self.inner, self.outer = form, nn.Linear(16, 6), nn.Linear(6, 3)

    def plain(self, x):
        hidden = self.inner(x.flatten(1)).relu()
        return hidden, self.outer(hidden)

    def forward(self, x):
        return self.form(*self.plain(x))


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_scores_are_found(form):
    network = Network(form)
    victim = sp.victim(network, DOMAIN)
    with torch.no_grad():
        expected = network.plain(X)[1]
        assert torch.equal(victim.scores(X), expected)
        assert torch.equal(sp.victim(lambda batch: network(torch.from_numpy(batch)), DOMAIN, classes=3).scores(X), expected)
    assert victim.gradient(X, lambda scores: scores[:, 0]).grad.abs().sum() > 0
    assert torch.allclose(network_of(victim)(X.double()).float(), expected, atol=1e-5)


@pytest.mark.parametrize(("form", "asked"), [("tuple", 1), ("tuple", "1"), ("tuple", -1), ("named", "values"), ("named", 1), ("mapping", "b")])
def test_one_of_several_is_named(form, asked):
    network = Network(UNCLEAR[form])
    with pytest.raises(LoadError, match=r"several outputs that may hold scores, .*float32 \[2, 6\].*: name one, output="):
        sp.victim(network, DOMAIN)
    with torch.no_grad():
        assert torch.equal(sp.victim(network, DOMAIN, output=asked).scores(X), network.plain(X)[1])


def test_what_is_not_there_is_refused():
    with pytest.raises(LoadError, match=r"has no output 'c'; it returns 'a' \(float32 \[2, 6\]\), 'b'"):
        sp.victim(Network(UNCLEAR["mapping"]), DOMAIN, output="c")
    with pytest.raises(LoadError, match=r"returns one output .*: leave out output='c'"):
        sp.victim(nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), DOMAIN, output="c")
    with pytest.raises(LoadError, match=r"returns 'labels' .*: give a model that returns scores"):
        sp.victim(Network(lambda h, y: {"labels": y.argmax(1)}), DOMAIN)
