"""A network that ends in one sigmoid answers the class by its probability, not by a logit that would always be positive."""

import warnings

import pytest
import torch
from torch import nn

import sparring as sp
from sparring.diagnosis.doctor import examine
from sparring.models.graph_of import network_of

DOMAIN = sp.image(3, 6, 6)
X = torch.rand(30, 3, 6, 6, generator=torch.Generator().manual_seed(0))


def network():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(108, 8), nn.ReLU(), nn.Linear(8, 1), nn.Sigmoid())
    with torch.no_grad():
        net[3].bias -= net[:4](X).median()
    return net.eval()


class Flat(nn.Module):
    """The same, one number per sample without a second axis."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x).squeeze(1)


@pytest.mark.parametrize("form", ["module", "flat", "scaled", "program", "onnx", "flat onnx"])
def test_labels_scores_gradients_and_bounds_are_those_of_the_logit(form, tmp_path):
    net = network()
    flat = Flat(net) if "flat" in form else net
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if form == "program":
            flat = torch.export.export(net, (X[:3],), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
        if "onnx" in form:
            axes = {"x": {0: "n"}, "y": {0: "n"}}
            torch.onnx.export(flat, (X,), tmp_path / "n.onnx", input_names=["x"], output_names=["y"], dynamic_axes=axes, dynamo=False)
            flat = tmp_path / "n.onnx"
    victim = sp.victim(flat, DOMAIN, **({"scale": 1} if form == "scaled" else {}))
    plain = sp.victim(net[:4], DOMAIN)
    with torch.no_grad():
        assert torch.equal(victim.label(X), (net(X)[:, 0] > 0.5).long())
    assert torch.allclose(victim.scores(X), plain.scores(X), atol=1e-4)
    own, asked = (one.gradient(X, lambda scores: scores[:, 1]).grad for one in (plain, victim))
    assert torch.allclose(own, asked, atol=1e-4)
    assert torch.allclose(network_of(victim)(X.double()).float(), plain.scores(X), atol=1e-4)


def test_other_sigmoids_are_left_alone():
    """Several of them are scores; one that is scaled afterwards is a score as it stands."""
    several = nn.Sequential(nn.Flatten(), nn.Linear(108, 3), nn.Sigmoid()).eval()
    assert torch.equal(sp.victim(several, DOMAIN).scores(X), several(X).detach())

    class Scaled(Flat):
        def forward(self, x):
            return 2 * self.net(x) - 1

    scaled = Scaled(network())
    assert torch.equal(sp.victim(scaled, DOMAIN).scores(X)[:, 1:], scaled(X).detach())


def test_a_function_that_returns_one_probability_fails_the_check():
    net = network()
    victim = sp.victim(lambda batch: net(torch.from_numpy(batch)).detach(), DOMAIN, classes=2)
    data = sp.Data.of(X, (net(X)[:, 0] > 0.5).long(), DOMAIN)
    (found,) = (one for one in examine(victim, data, sp.linf(0.0)) if one.code == "D2")
    assert found.verdict == "bad"
    assert "read as a logit" in found.finding
