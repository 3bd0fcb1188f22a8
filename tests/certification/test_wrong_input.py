"""What cannot be certified: a sentence that says what was wrong, or "unknown" with a reason; never "proved", never an error of numpy or torch."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from certification.networks.varied_networks import drawn
from sklearn.tree import DecisionTreeClassifier
from torch import nn

import sparring as sp
from sparring.certification.certificate import Verdict
from sparring.certification.certify import certified_radius, certify
from sparring.certification.networks.bounds.inputs import InputSet
from sparring.certification.networks.decide import decide
from sparring.certification.networks.query import Query
from sparring.certification.smoothing.smoothed import smoothed
from sparring.core.errors import UsageError
from sparring.core.threat import Threat
from sparring.domains.image import Image
from sparring.domains.table import Column, Table
from sparring.models.torch import TorchVictim
from sparring.threats.balls import L1, L2, Linf
from sparring.threats.goals import Targeted, Untargeted

IMAGES = Image((1, 2, 2))


def net():
    made = nn.Sequential(nn.Flatten(), nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    with torch.no_grad():
        for place, parameter in enumerate(made.parameters()):
            parameter.copy_(drawn(place, *parameter.shape))
    return made


def images(count=3):
    return torch.rand(count, 1, 2, 2, generator=torch.Generator().manual_seed(1))


def rows(count=3):
    return torch.rand(count, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def forest():
    x = np.random.default_rng(0).random((60, 4))
    model = DecisionTreeClassifier(max_depth=3, random_state=0).fit(x, (x[:, 0] + x[:, 1] > 1).astype(int) + (x[:, 2] > 0.5))
    return sp.victim(model, Table(tuple(Column(f"c{place}", "real", 0, 1) for place in range(4))))


@dataclass(frozen=True)
class Way:
    """A certifier, a victim that it fits, and samples."""

    victim: object
    x: torch.Tensor
    settings: dict


@pytest.fixture(scope="module")
def ways():
    victim = TorchVictim(net(), IMAGES, search="plain")
    return {
        "network": Way(victim, images(), {}),
        "lipschitz": Way(victim, images(), {}),
        "trees": Way(forest(), rows(), {}),
        "smoothing": Way(smoothed(victim, 0.1), images(), {"n0": 10, "n": 50}),
    }


NAMES = pytest.mark.parametrize("name", ["network", "lipschitz", "trees", "smoothing"])
Y = torch.tensor([0, 1, 2])


def spoiled(x, value):
    return torch.where(torch.arange(x.numel()).reshape(x.shape) == 5, value, x)


@NAMES
def test_wrong_samples(ways, name):
    way = ways[name]
    threat, ask = Threat(L2(0.1), Untargeted()), {"methods": [name], **way.settings}
    wrong = [
        (spoiled(way.x, 7.0), Y),
        (spoiled(way.x, -0.5), Y),
        (way.x[0], Y),
        (way.x[:, :1] if way.x.ndim == 2 else way.x[..., :1], Y),
        (way.x[:0], Y[:0]),
        (way.x, Y[:2]),
        (way.x, torch.tensor([0, 1, 3])),
        (way.x, torch.tensor([0, 1, -1])),
        (way.x, torch.tensor([0.5, 1.0, 2.0])),
        ("abc", Y),
        (None, Y),
        (way.x, None),
    ]
    for x, y in wrong:
        with pytest.raises(UsageError) as said:
            certify(way.victim, x, y, threat, **ask)
        assert len(str(said.value)) > 20
    for value in (math.nan, math.inf, -math.inf):  # a missing number in a table is no wrong use
        for one in answered(lambda value=value: certify(way.victim, spoiled(way.x, value), Y, threat, **ask))[1:2]:
            assert one.verdict is Verdict.UNKNOWN
            assert one.reason


@NAMES
def test_wrong_threats(ways, name):
    way = ways[name]
    for radius in (-0.1, math.nan, "a", None, [0.1, 0.2, 0.3], np.array([0.1, 0.2, 0.3])):
        with pytest.raises(UsageError):
            certify(way.victim, way.x, Y, Threat(L2(radius), Untargeted()), [name], **way.settings)
    for radii in ([0.1, 0.2], [0.1] * 4, [0.1, 0.2, math.nan]):
        with pytest.raises(UsageError):
            certify(way.victim, way.x, Y, Threat(L2(torch.tensor(radii)), Untargeted()), [name], **way.settings)
    with pytest.raises(UsageError):
        certify(way.victim, way.x, Y, Threat(L2(0.1), Targeted(7)), [name], **way.settings)
    with pytest.raises(UsageError):
        certify(way.victim, way.x, Y, sp.words(2, {"a": ["b"]}), [name])


@NAMES
def test_wrong_names_and_settings(ways, name):
    way, threat = ways[name], Threat(L2(0.1), Untargeted())
    wrong = [([name + "x"], {}), ([], {}), ([name], {"no_such_setting": 1}), *(([name], {"seconds": seconds}) for seconds in (-1.0, 0, math.nan, "soon", True))]
    for methods, settings in wrong:
        with pytest.raises(UsageError) as said:
            certify(way.victim, way.x, Y, threat, methods, **settings)
        assert len(str(said.value)) > 20
    other = "trees" if name != "trees" else "network"
    with pytest.raises(UsageError, match=other):
        certify(way.victim, way.x, Y, threat, [other])


@NAMES
@pytest.mark.parametrize("space", [Linf, L2, L1])
def test_a_huge_radius_leaves_nothing_proved(ways, name, space):
    """The whole domain is inside: another class is somewhere in it, so nothing is proved; and no radius overflows into a proof."""
    way = ways[name]
    for radius in (1e3, 1e30, 1e300):
        found = certify(way.victim, way.x, Y, Threat(space(radius), Untargeted()), [name], **way.settings)
        assert not found.proved.any()
        assert all(one.reason or one.counterexample is not None for one in found)


@pytest.mark.parametrize("settings", [{"effort": "most"}, {"execution": "float16"}, {"verifiers": ["ibpp"]}, {"verifiers": {"crown": {"stps": 1}}}])
def test_wrong_settings_of_networks(ways, settings):
    with pytest.raises(UsageError, match="|".join(["quick", "float32", "ibp", "setting"])):
        certify(ways["network"].victim, images(), Y, Threat(Linf(0.1), Untargeted()), ["network"], **settings)


def answered(ask):
    """What is found, nothing where the query is refused in a sentence."""
    try:
        return ask()
    except UsageError as error:
        if len(str(error)) < 20:
            raise AssertionError(f"no sentence: {error}") from error
        return []


class Raising(nn.Module):
    """Answers one shape of batch and fails for another."""

    def __init__(self, most):
        super().__init__()
        self.net, self.most = net(), most

    def forward(self, x):
        if len(x) > self.most:
            raise RuntimeError("out of order")
        return self.net(x)


class Odd(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.net, self.how = net(), how

    def forward(self, x):
        return self.how(self.net, x)


UNREADABLE = {
    "sine": lambda net, x: net(x).sin(),
    "sorted": lambda net, x: net(x.flatten(1).sort(1).values.reshape(x.shape)),
    "by the batch": lambda net, x: net(x - x.mean(0, keepdim=True)),
    "branches": lambda net, x: net(x) if x.sum() > 1 else -net(x),
    "by chance": lambda net, x: net(x) + torch.rand(3),
    "division": lambda net, x: net(x) / (x.flatten(1).sum(1, keepdim=True) + 1),
    "rounded": lambda net, x: net((x * 255).round() / 255),
    "two heads": lambda net, x: torch.stack([net(x), net(x)], 1)[:, 0].exp(),
}


@pytest.mark.parametrize("kind", sorted(UNREADABLE))
@pytest.mark.parametrize("name", ["network", "lipschitz"])
def test_models_that_cannot_be_read(kind, name):
    """Unknown and why, or an error that says so."""
    victim = TorchVictim(Odd(UNREADABLE[kind]), IMAGES, search="plain")
    for one in answered(lambda: certify(victim, images(), Y, Threat(Linf(1e-4), Untargeted()), [name])):
        assert one.verdict is Verdict.UNKNOWN
        assert len(one.reason) > 10


@pytest.mark.parametrize("name", ["network", "lipschitz"])
def test_models_that_raise(name):
    found = answered(lambda: certify(TorchVictim(Raising(2), IMAGES, search="plain"), images(), Y, Threat(Linf(1e-4), Untargeted()), [name]))
    assert all(one.verdict is Verdict.UNKNOWN and one.reason for one in found)


@pytest.mark.parametrize(
    ("low", "high", "reason"),
    [
        ([0.5, 0.0], [0.4, 1.0], "empty"),
        ([0.0, -math.inf], [1.0, 1.0], "bounds"),
        ([0.0, math.nan], [1.0, 1.0], "bounds"),
        ([0.0, 0.0], [math.inf, 1.0], "bounds"),
    ],
)
def test_input_sets_that_are_none(low, high, reason):
    from certification.networks.varied_networks import chain

    network = chain(2, (torch.eye(2, dtype=torch.float64), torch.full((2,), 5.0, dtype=torch.float64)))
    inputs = InputSet(torch.tensor([low], dtype=torch.float64), torch.tensor([high], dtype=torch.float64))
    (answer,) = decide(Query.robustness(network, inputs, torch.tensor([0])))
    assert answer.verdict is Verdict.UNKNOWN
    assert reason in answer.reason


def test_an_infinite_domain():
    """A table without bounds: balls are finite, so bounds are; the same model without any is no set to bound."""
    table = Table(tuple(Column(f"c{place}", "real", -math.inf, math.inf) for place in range(4)))
    victim = TorchVictim(nn.Sequential(nn.Linear(4, 3)).double(), table, search="plain")
    x = rows()
    y = victim.label(x)
    assert certify(victim, x, y, Threat(Linf(1e-9), Untargeted()), ["network"]).proved.all()
    found = certify(victim, x, y, Threat(Linf(1e300), Untargeted()), ["network"])
    assert not found.proved.any()


@NAMES
def test_radii_of_what_is_wrong(ways, name):
    """Bisection never raises a radius for a class that is not predicted."""
    way = ways[name]
    own = way.victim.label(way.x) if name != "smoothing" else ways["network"].victim.label(way.x)
    found = certified_radius(way.victim, way.x, (own + 1) % 3, Threat(L2(0.05), Untargeted()), [name], steps=2, **way.settings)
    assert [one.radius for one in found] == [0.0] * 3
