"""RNN, GRU and LSTM against onnxruntime and torch, in value and gradient, and networks that hold them under attack."""

import itertools
import warnings

import numpy as np
import pytest
import torch
from graph.nodes import both, ours
from onnx import helper
from torch import nn

import sparring as sp
from sparring.graph.builder import Unsupported

STEPS, ROWS, INPUTS, HIDDEN = 5, 3, 4, 6
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
OUTPUTS = {"RNN": ["all", "last"], "GRU": ["all", "last"], "LSTM": ["all", "last", "memory"]}
VARIANTS = {"RNN": [{}], "GRU": [{}, {"linear_before_reset": 1}], "LSTM": [{}, {"input_forget": 1}]}


def layer(operator, directions=1, *, bias=True, first=False, lengths=None, peepholes=False):
    """Random inputs and weights of a layer, by name in the order of the operator; None where one is left out."""
    rng, gates = np.random.default_rng(0), GATES[operator]

    def drawn(*shape):
        return (0.7 * rng.normal(size=shape)).astype("f4")

    given = {
        "x": 2 * drawn(STEPS, ROWS, INPUTS),
        "W": drawn(directions, gates * HIDDEN, INPUTS),
        "R": drawn(directions, gates * HIDDEN, HIDDEN),
        "B": drawn(directions, 2 * gates * HIDDEN) if bias else None,
        "lengths": None if lengths is None else np.array(lengths, "i4"),
        "first": drawn(directions, ROWS, HIDDEN) if first else None,
    }
    if operator == "LSTM":
        given |= {"memory first": drawn(directions, ROWS, HIDDEN) if first else None, "P": drawn(directions, 3 * HIDDEN) if peepholes else None}
    return given


def compare(operator, given, **settings):
    truth, found = both(operator, given, OUTPUTS[operator], 14, hidden_size=HIDDEN, **settings)
    for name, one, other in zip(OUTPUTS[operator], truth, found, strict=True):
        assert one.shape == other.shape, name
        assert np.allclose(other, one, rtol=1e-5, atol=1e-5), (name, settings)


@pytest.mark.parametrize("lengths", [None, [5, 3, 1], [2, 5, 4], [3, 0, 5]], ids=str)
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("operator", GATES)
def test_every_layer_is_that_of_onnxruntime(operator, direction, lengths):
    """With and without bias, states to begin with, bounds on the gates and peepholes; sequences may end early, or hold nothing."""
    for bias, first, clip, peepholes, variant in itertools.product([True, False], [False, True], [None, 0.3, 1.0], [False, True], VARIANTS[operator]):
        if peepholes and operator != "LSTM":
            continue
        given = layer(operator, 1 + (direction == "bidirectional"), bias=bias, first=first, lengths=lengths, peepholes=peepholes)
        compare(operator, given, direction=direction, **({} if clip is None else {"clip": clip}), **variant)


ACTIVATIONS = [
    ("Relu", None, None), ("Tanh", None, None), ("Sigmoid", None, None), ("Softsign", None, None), ("Softplus", None, None), ("Elu", None, None),
    ("Elu", 0.5, None), ("LeakyRelu", None, None), ("LeakyRelu", 0.2, None), ("ThresholdedRelu", 0.3, None), ("Affine", 0.5, 0.1),
    ("HardSigmoid", None, None), ("HardSigmoid", 0.3, 0.4), ("ScaledTanh", 0.6, 0.8),
]  # fmt: skip


@pytest.mark.parametrize(("name", "alpha", "beta"), ACTIVATIONS)
def test_every_activation(name, alpha, beta):
    """In every layer, both directions; the bound keeps their numbers small enough to compare."""
    for operator, count in (("RNN", 1), ("GRU", 2), ("LSTM", 3)):
        numbers = {key: [value] * 2 * count for key, value in (("activation_alpha", alpha), ("activation_beta", beta)) if value is not None}
        compare(operator, layer(operator, 2), direction="bidirectional", activations=[name] * 2 * count, clip=0.9, **numbers)


def test_alpha_and_beta_go_in_turn_to_those_that_take_them():
    names = ["HardSigmoid", "LeakyRelu", "Tanh"]
    for alpha in ([0.3], [0.3, 0.4]):
        compare("LSTM", layer("LSTM"), activations=names, activation_alpha=alpha, activation_beta=[0.2])
    compare("LSTM", layer("LSTM", 2), direction="bidirectional", activations=2 * names, activation_alpha=[0.3, 0.4, 0.25, 0.1], activation_beta=[0.2, 0.6])


@pytest.mark.parametrize(("activations", "what"), [(["Cosine"], "activation cosine is not supported"), (["Affine"], "affine has no activation_alpha")])
def test_activations_that_are_not_known_are_refused(activations, what):
    node = helper.make_node("RNN", ["x", "W", "R"], ["all", "last"], hidden_size=HIDDEN, activations=activations)
    values = {name: torch.from_numpy(value) for name, value in layer("RNN", bias=False).items() if value is not None}
    with pytest.raises(Unsupported, match=what):
        ours(node, values, 14)


@pytest.mark.parametrize("operator", GATES)
@pytest.mark.parametrize("lengths", [None, [5, 3, 1]], ids=str)
def test_rows_first_is_the_same_layer(operator, lengths):
    """onnxruntime does not take layout 1, so it is compared with layout 0."""
    given = {name: None if value is None else torch.from_numpy(value) for name, value in layer(operator, 2, first=True, lengths=lengths).items()}
    nodes = [helper.make_node(operator, list(given), OUTPUTS[operator], hidden_size=HIDDEN, direction="bidirectional", layout=one) for one in (0, 1)]
    for node in nodes:
        node.input[:] = [name if given[name] is not None else "" for name in given]
    known = {name: value for name, value in given.items() if value is not None}
    turned = {name: value.transpose(0, 1) if name == "x" or name.endswith("first") else value for name, value in known.items()}
    (along, *ends), (along_rows, *ends_rows) = ours(nodes[0], known, 14), ours(nodes[1], turned, 14)
    assert np.allclose(along_rows, along.transpose(2, 0, 1, 3), atol=1e-6)
    for one, other in zip(ends, ends_rows, strict=True):
        assert np.allclose(other, one.transpose(1, 0, 2), atol=1e-6)


def test_outputs_without_a_name_leave_inputs_left_out_alone():
    """An LSTM whose states along the way nobody reads does not become the missing bias of the next."""
    first = helper.make_node("LSTM", ["x", "W", "R"], ["", "last"], hidden_size=HIDDEN)
    second = helper.make_node("LSTM", ["x", "W", "R"], ["", "last"], hidden_size=HIDDEN)
    values = {name: torch.from_numpy(value) for name, value in layer("LSTM", bias=False).items() if value is not None}
    from sparring.graph.onnx_module import Step

    known = {**values, "": None}
    answers = []
    for node in (first, second):
        Step("LSTM", list(node.input), list(node.output), {"hidden_size": HIDDEN}, 14, "here").run(known)
        answers.append(known["last"])
    assert known[""] is None
    assert torch.equal(*answers)


class Recurrent(nn.Module):
    """Reads an image row by row, and answers from the last state."""

    def __init__(self, kind, **settings):
        super().__init__()
        self.body = kind(6, 8, batch_first=True, **settings)
        self.end = nn.Linear(8 * (1 + self.body.bidirectional), 3)

    def forward(self, x):
        return self.end(self.body(x[:, 0])[0][:, -1])


NETWORKS = {
    "LSTM": (nn.LSTM, {}),
    "LSTM of two layers, both ways": (nn.LSTM, {"num_layers": 2, "bidirectional": True}),
    "GRU": (nn.GRU, {}),
    "GRU, both ways": (nn.GRU, {"bidirectional": True}),
    "RNN": (nn.RNN, {"nonlinearity": "relu"}),
}
X = torch.rand(5, 1, 6, 6, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=NETWORKS)
def pair(request, tmp_path):
    """A torch network and its export, as victims."""
    kind, settings = NETWORKS[request.param]
    torch.manual_seed(0)
    network, path = Recurrent(kind, **settings).eval(), tmp_path / "net.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        axes = {"x": {0: "n"}, "y": {0: "n"}}
        torch.onnx.export(network, (X[:2],), path, input_names=["x"], output_names=["y"], dynamic_axes=axes, dynamo=False, opset_version=17)
    return sp.victim(network, sp.image(6, 6)), sp.victim(path, sp.image(6, 6))


def test_gradients_of_an_export_are_those_of_torch(pair):
    assert pair[1].exposes == {"gradients", "scores", "labels"}
    own, asked = (one.gradient(X, lambda scores: scores[:, 0] - scores[:, 1]) for one in pair)
    assert torch.allclose(own.scores, asked.scores, atol=1e-5)
    assert torch.allclose(own.grad, asked.grad, atol=1e-5)
    assert asked.grad.flatten(1).abs().sum(1).min() > 0


def test_pgd_finds_the_same_points_on_an_export(pair):
    """Gradients of the file are good for a whole search, step by step."""
    labels = pair[0].label(X)
    own, asked = (sp.attacks.pgd(one, X, labels, sp.linf(0.1), steps=10) for one in pair)
    assert (own != X).any()
    assert torch.allclose(own, asked, atol=1e-4)
