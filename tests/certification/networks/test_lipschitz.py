"""Lipschitz constants: never below the truth, tight where it is known; layers that stretch nothing."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sparring.certification.certify import certify
from sparring.certification.networks.lipschitz import constants, matrix, operator_norm, spectral_norm
from sparring.core.threat import Threat
from sparring.defences.architecture.lipschitz import LipschitzConv2d, LipschitzLinear, MaxMin, freeze
from sparring.domains.image import Image
from sparring.graph.from_torch import from_torch
from sparring.graph.operators import Conv, ConvTranspose, Linear, Scale, Select
from sparring.models.torch import TorchVictim
from sparring.threats.balls import L1, L2, Linf
from sparring.threats.goals import Untargeted


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 10**6), st.sampled_from([1e-8, 1.0, 1e8]))
def test_spectral_norm_is_above_and_near(rows, columns, seed, scale):
    weight = normal(rows, columns, seed=seed) * scale
    true = float(torch.linalg.svdvals(weight)[0])
    assert true <= spectral_norm(weight) <= true * 1.001


def test_spectral_norm_where_the_power_iteration_stops_short():
    """Two singular values that hardly differ: an estimate from below would miss the larger one."""
    weight = torch.diag(torch.tensor([1.0, 0.9999, 0.1], dtype=torch.float64))
    assert 1.0 <= spectral_norm(weight) <= 1.001
    assert spectral_norm(torch.zeros(3, 4)) == 0


@pytest.mark.parametrize("bound", ["written", "sums"])
@pytest.mark.parametrize(
    "operator",
    [
        Conv(normal(6, 3, 3, 3), None, (2, 2), (1, 1)),
        Conv(normal(4, 3, 2, 3), None, (1, 1), (0, 2), (2, 1)),
        Conv(normal(6, 1, 3, 3), None, (1, 1), (1, 1), (1, 1), 3),
        ConvTranspose(normal(3, 4, 3, 3), None, (2, 2), (1, 1)),
    ],
)
def test_convolutions(operator, bound, monkeypatch):
    if bound == "sums":
        monkeypatch.setattr("sparring.certification.networks.lipschitz.WRITTEN", 0)
    shape = (3, 7, 6)
    out = operator.shape(shape)
    true = float(torch.linalg.matrix_norm(torch.stack([operator.linear(row.reshape(1, *shape)).flatten() for row in torch.eye(126, dtype=torch.float64)]), 2))
    found = operator_norm(operator, shape, out)
    assert true <= found
    if bound == "written":
        assert found <= true * 1.001
        assert math.isclose(float(torch.linalg.matrix_norm(matrix(operator, shape, out), 2)), true, rel_tol=1e-9)


def test_other_operators():
    assert operator_norm(Select(torch.tensor([0, 1, 1, -1])), (2,), (4,)) == pytest.approx(math.sqrt(2))
    assert operator_norm(Scale(torch.tensor([0.5, -3.0])), (2,), (2,)) == 3
    assert operator_norm(Linear(torch.eye(3) * 2), (3,), (3,)) == pytest.approx(2, rel=1e-3)


def stretched(net, shape, seed=0):
    """The largest ratio of distances that a search over pairs of points finds."""
    worst = 0.0
    x = normal(200, *shape, seed=seed)
    d = normal(200, *shape, seed=seed + 1) * 1e-3
    for _ in range(30):
        d = d.detach().requires_grad_()
        change = (net(x + d) - net(x)).flatten(1).norm(dim=1) / d.flatten(1).norm(dim=1)
        worst = max(worst, float(change.detach().max()))
        (g,) = torch.autograd.grad(change.sum(), d)
        d = d + g / g.flatten(1).norm(dim=1).clamp_min(1e-12).reshape(-1, *[1] * len(shape)) * 3e-4
    return worst


@pytest.mark.parametrize("seed", range(3))
def test_layers_stretch_nothing(seed):
    torch.manual_seed(seed)
    net = nn.Sequential(LipschitzConv2d(2, 8, 3), MaxMin(), LipschitzConv2d(8, 4, 5), nn.Flatten(), LipschitzLinear(100, 16), MaxMin(), LipschitzLinear(16, 5))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    net = net.double()
    assert stretched(net, (2, 5, 5)) <= 1 + 1e-9
    frozen = freeze(net)
    x = normal(4, 2, 5, 5)
    before, pairs = constants(from_torch(frozen, (2, 5, 5)))
    assert before <= 1.001
    assert float(pairs.max()) <= 1.001 * 2
    assert torch.allclose(frozen(x), net(x))


def test_constants_are_above_what_a_search_finds():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16, 8), nn.Sigmoid(), nn.Linear(8, 3)).double()
    _, pairs = constants(from_torch(net, (1, 6, 6)))
    weight = torch.tensor([[1.0, -1.0, 0.0]], dtype=torch.float64)
    assert stretched(lambda x: net(x) @ weight.T, (1, 6, 6)) <= float(pairs[0, 1])


def test_a_linear_classifier_gets_its_exact_radius():
    weight = normal(3, 16, seed=4)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).double()
    with torch.no_grad():
        net[1].weight.copy_(weight)
        net[1].bias.zero_()
    x = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(1)) * 0.02 + 0.49
    y = net(x.double()).argmax(1)
    victim = TorchVictim(net, Image((1, 4, 4)), search="plain")
    for space, share in ((L2, 1.0), (L1, 1.0), (Linf, 4.0)):
        for place, one in enumerate(certify(victim, x, y, Threat(space(1e-4), Untargeted()), ["lipschitz"])):
            scores = net(x[place : place + 1].double())[0].detach()
            true = min(float(scores[y[place]] - scores[other]) / float((weight[y[place]] - weight[other]).norm()) for other in range(3) if other != y[place])
            assert one.proved == (true / share > 1.01e-4)
            if one.proved:
                assert true / share * 0.999 <= one.radius <= true / share


@pytest.mark.parametrize("space", [L2, L1, Linf])
def test_nothing_certified_is_broken(space):
    torch.manual_seed(1)
    net = nn.Sequential(LipschitzConv2d(1, 8, 3), MaxMin(), nn.Flatten(), LipschitzLinear(288, 3)).double()
    x = torch.rand(8, 1, 6, 6)
    y = net(x.double()).argmax(1)
    victim = TorchVictim(net, Image((1, 6, 6)), search="plain")
    radii = torch.tensor([one.radius for one in certify(victim, x, y, Threat(space(1e-6), Untargeted()), ["lipschitz"])], dtype=torch.float64)
    assert bool((radii > 0).all())
    import sparring as sp

    points = sp.attacks.pgd(victim, x, y, Threat(space(radii * 0.999), Untargeted()), steps=60)
    assert (net(points.double()).argmax(1) == y).all()
