"""Every registered verifier by itself, those of plugins included: what it proves holds, what it refutes is refuted, its cost is a number."""

import pytest
import torch
from torch import nn

from sparring.certification.certificate import Verdict
from sparring.certification.networks.bounds.inputs import InputSet
from sparring.certification.networks.decide import decide
from sparring.certification.networks.portfolio import EFFORTS, at_effort, portfolio
from sparring.certification.networks.query import Query
from sparring.certification.networks.state import VerificationState
from sparring.core.registry import everything
from sparring.graph.from_torch import from_torch

COUNT = 12
RADII = (0.0, 0.01, 0.1, 0.4)


def network(kind):
    """A small network with random weights that was not made for any verifier."""
    random = torch.Generator().manual_seed(3)
    if kind == "dense":
        module, shape = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3)), (4,)
    else:
        module, shape = nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)), (1, 3, 3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=random) * 0.5)
    return module.double(), from_torch(module.double(), shape), shape


def asked(kind, radius):
    """Is the answer of the network the same in a box around each of some random points?"""
    module, graph, shape = network(kind)
    x = torch.rand(COUNT, *shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    label = module(x).argmax(1)
    return module, label, Query.robustness(graph, InputSet(x - radius, x + radius), label)


def points_of(inputs):
    """[COUNT, 400, *in]: corners and points inside of each box."""
    random = torch.Generator().manual_seed(5)
    share = torch.rand(COUNT, 400, *inputs.low.shape[1:], generator=random, dtype=torch.float64)
    share[:, :200] = share[:, :200].round()
    return inputs.low[:, None] + share * (inputs.high - inputs.low)[:, None]


@pytest.mark.parametrize("radius", RADII)
@pytest.mark.parametrize("kind", ["dense", "convolution"])
@pytest.mark.parametrize("name", everything("verifier"))
def test_its_verdicts_hold(name, kind, radius):
    """No point of a box that is proved has another answer; a counterexample lies in its box and has one; the rest has a reason."""
    module, label, query = asked(kind, radius)
    answers = decide(query, verifiers=[name])
    assert len(answers) == COUNT
    points = points_of(query.inputs)
    with torch.no_grad():
        same = (module(points.flatten(0, 1)).argmax(1).reshape(COUNT, -1) == label[:, None]).all(1).tolist()
    for place, answer in enumerate(answers):
        if answer.verdict is Verdict.PROVED:
            assert same[place], f"{name} proved a box with another answer in it"
            assert answer.verifier == name
        elif answer.verdict is Verdict.REFUTED:
            found = answer.counterexample
            assert bool(query.inputs.take(torch.tensor([place])).contains(found[None]))
            scores = module(found[None])[0].detach()
            assert float(scores[label[place]]) <= float(scores[torch.arange(3) != label[place]].max()) + 1e-9
        else:
            assert answer.reason


@pytest.mark.parametrize("name", everything("verifier"))
def test_its_cost_is_foreseen_or_not(name):
    """One positive number per open query, or none at all; a limit that it exceeds leaves it out with a sentence."""
    _, _, query = asked("dense", 0.1)
    one = everything("verifier")[name]
    cost = one.cost(VerificationState(query), {})
    if cost is not None:
        assert cost.shape == (COUNT,)
        assert bool((cost > 0).all() & torch.isfinite(cost).all())
        if one.schedule.capped and one.fits(VerificationState(query)):
            answers = decide(query, verifiers=[name], work=0.0)
            assert {answer.verdict for answer in answers} == {Verdict.UNKNOWN}
            assert all(name in answer.reason for answer in answers)


@pytest.mark.parametrize("name", everything("verifier"))
def test_it_stands_where_it_says(name):
    """In the portfolio by its order; by default where it says so; at the efforts that it names, with settings that it has."""
    one = everything("verifier")[name]
    assert (name in [step.name for step, _ in portfolio()]) == one.by_default
    assert (name in at_effort("thorough")) == one.by_default
    assert set(one.efforts) <= set(EFFORTS)
    for effort, settings in one.efforts.items():
        assert settings.keys() <= one.defaults.keys()
        assert name in at_effort(effort)
    orders = [step.order for step, _ in portfolio(list(everything("verifier")))]
    assert orders == sorted(orders)
