"""Networks read from torch modules against the modules."""

import copy
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from graph.network_zoo import NETWORKS, Do, settled
from torch import nn

from sparring.core.errors import LoadError
from sparring.graph import from_torch as source
from sparring.graph.agreement import check_agreement
from sparring.graph.builder import Built, Unsupported
from sparring.graph.from_torch import from_torch, import_torch, trace
from sparring.graph.network import Network, Node
from sparring.graph.operators import Input, Linear, Relu


def wide(shape, seed=5):
    """Inputs [12, *shape] from small to far outside of what anyone feeds."""
    x = torch.randn(12, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return x * torch.tensor([0.01, 0.1, 1, 1, 1, 1, 3, 3, 10, 10, 100, 1000]).reshape(-1, *[1] * len(shape))


def in_double(module):
    return copy.deepcopy(module).eval().double()


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", NETWORKS)
def test_zoo(name):
    module, shape = NETWORKS[name]
    built = import_torch(module, shape)
    x = wide(shape)
    with torch.no_grad():
        truth = in_double(module)(x)
    found = built.answer(x)
    assert found.dtype == torch.float64
    assert found.shape == truth.reshape(len(x), -1).shape
    gap = (found - truth.reshape(found.shape)).abs().amax(1)
    assert (gap <= 1e-12 + 1e-11 * truth.reshape(found.shape).abs().amax()).all()
    assert built.network.input_shape == shape


def test_what_is_folded():
    """A batch norm after a layer goes into it, views before a selection vanish, and nothing is computed twice."""
    module, shape = NETWORKS["batch norm"]
    assert [type(node.operator).__name__ for node in from_torch(module, shape).nodes] == ["Input", "Conv", "Relu", "Reshape", "Linear", "Relu", "Linear"]
    shared = Do(lambda self, x: self.norm(y := self.first(x)) * 2 + y, first=nn.Linear(3, 4), norm=settled(nn.BatchNorm1d(4)))
    network = from_torch(shared, (3,))
    assert sum(isinstance(node.operator, Linear) for node in network.nodes) <= 2
    x = wide((3,))
    torch.testing.assert_close(network(x), in_double(shared)(x).detach())


def test_softmax_is_left_out_and_said():
    module, shape = NETWORKS["softmax"]
    network = from_torch(module, shape)
    x = wide(shape)[:8]
    assert len(network.notes) == 1
    assert "softmax" in network.notes[0]
    torch.testing.assert_close(network(x).softmax(1), in_double(module)(x).detach())
    assert network.relus_only


def test_max_pool_compares_different_places_only():
    """A place without a partner passes through a ReLU of 0 - 0, which no bound can lose anything on: of the windows {0, 1} and
    {1, 2, 3} of four numbers, one pair meets first and two pairs then."""
    network = from_torch(nn.Sequential(nn.MaxPool1d(3, 2, 1), nn.Flatten()), (1, 4))
    assert network(torch.tensor([[[4.0, 1.0, -2.0, 7.0]]], dtype=torch.float64)).tolist() == [[4.0, 7.0]]
    signs = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    values = network.values(torch.cartesian_prod(signs, signs, signs, signs)[:, None])
    before = [values[node.inputs[0]].flatten(1) for node in network.nodes if isinstance(node.operator, Relu)]
    assert [int(((each.amin(0) < 0) | (each.amax(0) > 0)).sum()) for each in before] == [1, 2]


class TestTheModuleIsAsBefore:
    def test_modes_buffers_and_random_states(self):
        class Restless(nn.Module):
            def __init__(self):
                super().__init__()
                self.body = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2))
                self.register_buffer("calls", torch.zeros(()))

            def forward(self, x):
                self.calls += 1
                random.random(), np.random.random()
                return self.body(x)

        module = Restless().train()
        module.body[1].eval()
        module.body[0].weight.requires_grad_(False)
        before = {name: value.clone() for name, value in module.state_dict().items()}
        modes, needs = [part.training for part in module.modules()], [parameter.requires_grad for parameter in module.parameters()]
        states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
        network = from_torch(module, (3,))
        assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
        assert [part.training for part in module.modules()] == modes
        assert [parameter.requires_grad for parameter in module.parameters()] == needs
        assert torch.equal(torch.get_rng_state(), states[0])
        assert random.getstate() == states[1]
        assert np.random.get_state()[1].tolist() == states[2]
        torch.testing.assert_close(network(wide((3,))), in_double(module)(wide((3,))).detach())

    def test_modes_after_a_failure(self):
        module = Do(lambda self, x: self.last(torch.erf(self.drop(x))), drop=nn.Dropout(), last=nn.Linear(3, 2)).train()
        with pytest.raises(Unsupported):
            from_torch(module, (3,))
        assert all(part.training for part in module.modules())


class TestLive:
    @pytest.mark.parametrize(
        "name", ["plain", "batch norm", "residual", "max pool 3 stride 2 padding 1", "batch norm after transposed convolution", "weight norm"]
    )
    def test_gradients_reach_the_parameters(self, name):
        module, shape = NETWORKS[name]
        traced = trace(module, shape)
        double = copy.deepcopy(module).double().eval()
        again = trace(double, shape)
        x = wide(shape)[:6]
        way = torch.randn(double(x).shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        truth = torch.autograd.grad((double(x) * way).sum(), list(double.parameters()))
        found = torch.autograd.grad((again.network(live=True)(x) * way).sum(), list(double.parameters()))
        for a, b in zip(found, truth, strict=True):
            torch.testing.assert_close(a, b)
        assert {
            p.dtype for node in traced.network(live=True).nodes for p in vars(node.operator).values() if isinstance(p, torch.Tensor) and p.requires_grad
        } == {torch.float32}

    def test_parameters_are_read_anew(self):
        module, shape = NETWORKS["plain"]
        module = copy.deepcopy(module)
        traced = trace(module, shape)
        x = wide(shape).float()[:5]
        torch.optim.SGD(module.parameters(), lr=0.5).zero_grad()
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.mul_(-0.5)
        torch.testing.assert_close(traced.network(live=True)(x), module(x))
        module[1].weight = nn.Parameter(torch.ones(8, 12))
        torch.testing.assert_close(traced.network(live=True)(x), module(x))
        assert not any(p.requires_grad for node in traced.network().nodes for p in vars(node.operator).values() if isinstance(p, torch.Tensor))


class TestExportedPrograms:
    def test_of_any_batch(self):
        module, shape = NETWORKS["rows"]
        program = torch.export.export(module.eval(), (torch.zeros(2, *shape),), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},))
        x = wide(shape)
        torch.testing.assert_close(from_torch(program, shape)(x), in_double(module)(x).detach())

    @pytest.mark.parametrize("rows", [1, 2, 5])
    @pytest.mark.parametrize("name", ["rows", "convolutions", "sequence", "residual"])
    def test_of_a_fixed_batch(self, name, rows):
        module, shape = NETWORKS[name]
        program = torch.export.export(module.eval(), (torch.zeros(rows, *shape),))
        x = wide(shape)
        torch.testing.assert_close(from_torch(program, shape)(x), in_double(module)(x).detach())

    def test_of_another_shape(self):
        program = torch.export.export(nn.Linear(3, 2), (torch.zeros(2, 3),))
        with pytest.raises(LoadError, match=r"exported for inputs \[2, 3\], not \[n, 4\]"):
            from_torch(program, (4,))


def branches(self, x):
    return self.last(x) if x.sum() > 0 else self.last(-x)


REFUSED = {
    "erf": (Do(lambda self, x: torch.erf(x)), (3,), Unsupported, r"operator erf \(node erf, 1 of 1\) has no bound: supported are .*relu"),
    "product of matrices": (Do(lambda self, x: (x[:, :, None] @ x[:, None, :]).flatten(1)), (3,), Unsupported, "both depend on the input"),
    "division": (Do(lambda self, x: x / (1 + x.abs())), (3,), Unsupported, "division by a value that depends"),
    "softmax inside": (Do(lambda self, x: self.last(x.softmax(1)), last=nn.Linear(3, 2)), (3,), Unsupported, "softmax is supported only at the end"),
    "softmax over places": (nn.Sequential(nn.Softmax(1), nn.Flatten()), (2, 3), Unsupported, "only at the end, over the classes"),
    "chance": (Do(lambda self, x: F.dropout(x, 0.5, training=True)), (3,), Unsupported, "random"),
    "noise": (Do(lambda self, x: x + torch.randn_like(x)), (3,), Unsupported, "random"),
    "batch statistics": (Do(lambda self, x: F.batch_norm(x, None, None, training=True)), (3, 2), Unsupported, "depends on the other samples"),
    "mean of the batch": (Do(lambda self, x: x - x.mean(0)), (3,), Unsupported, "alone than in a batch"),
    "two outputs": (Do(lambda self, x: (x, x)), (3,), Unsupported, "returns 2 values"),
    "image as output": (nn.Conv2d(1, 2, 2), (1, 4, 4), Unsupported, r"shape \[1, 2, 3, 3\]: one row of scores"),
    "constant output": (Do(lambda self, x: torch.zeros(len(x), 2)), (3,), Unsupported, "does not depend on its input"),
    "branches": (Do(branches, last=nn.Linear(3, 2)), (3,), LoadError, "cannot be traced"),
    "wrong shape": (nn.Linear(3, 2), (4,), LoadError, r"cannot be traced with an input of shape \(1, 4\)"),
    "rounding": (Do(lambda self, x: x.long().float()), (3,), Unsupported, "rounding to torch.int64 is not continuous"),
    "three axes": (nn.Sequential(nn.Conv3d(1, 1, 1), nn.Flatten()), (1, 2, 2, 2), Unsupported, "one or two are supported"),
    "index from the input": (Do(lambda self, x: x.gather(1, x.argmax(1, keepdim=True))), (3,), Unsupported, "operator argmax"),
    "cube": (Do(lambda self, x: x**3), (3,), Unsupported, "only squares"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    module, shape, kind, sentence = REFUSED[case]
    with pytest.raises(kind, match=sentence):
        from_torch(module, shape)


class TestAgreement:
    def test_a_wrong_reading_is_refused(self, monkeypatch):
        """An importer that reads leaky ReLUs with another slope does not get through."""
        monkeypatch.setitem(source.read_operator.__globals__["READERS"], "leaky_relu", lambda builder, x, slope=0.01: builder.leaky_relu(x, slope + 1e-3))
        with pytest.raises(LoadError, match=r"was imported wrongly: .* differ by .* is allowed"):
            from_torch(*NETWORKS["leaky"])

    def test_a_network_that_gives_nan_is_refused(self):
        network = Network((Node(Input((2,))), Node(Linear(torch.full((2, 2), torch.nan)), (0,))))
        with pytest.raises(LoadError, match="imported wrongly"):
            check_agreement(Built(network, None), lambda x: x, tolerance=1e-4, name="nan", dtype=torch.float32)

    def test_agreeing_on_nothing_finite_is_no_agreement(self):
        network = Network((Node(Input((2,))), Node(Linear(torch.full((2, 2), torch.nan)), (0,))))
        with pytest.raises(LoadError):
            check_agreement(Built(network, None), lambda x: x * torch.nan, tolerance=1e-4, name="nan", dtype=torch.float32)
