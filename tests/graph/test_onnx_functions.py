"""ONNX operators as torch functions: against the test cases that ship with onnx, and gradients against torch's own."""

import collections
import itertools
import warnings

import numpy as np
import onnx
import pytest
import torch
from graph.nodes import both
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import sparring as sp
from sparring.core.errors import LoadError
from sparring.graph.builder import Unsupported
from sparring.graph.onnx_functions import FUNCTIONS
from sparring.graph.onnx_module import Step, differentiable
from sparring.graph.onnx_session import Session

OTHERWISE = {"test_resize_downsample_scales_linear_align_corners", "test_resize_downsample_scales_cubic_align_corners"}
"""Cases in which onnxruntime, with whose answers ours must agree, differs from the reference implementation."""


def tensor(proto):
    return torch.from_numpy(numpy_helper.to_array(proto).copy())


def cases():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        for case in collect_testcases(None):
            nodes = case.model.graph.node
            if len(nodes) == 1 and nodes[0].domain in ("", "ai.onnx") and nodes[0].op_type in FUNCTIONS and case.name not in OTHERWISE:
                yield case


def computed(case, inputs):
    """What our function makes of the inputs of a case."""
    graph, node = case.model.graph, case.model.graph.node[0]
    opset = next(one.version for one in case.model.opset_import if one.domain in ("", "ai.onnx"))
    values = {one.name: torch.from_numpy(np.array(given)) for one, given in zip(graph.input, inputs, strict=False)} | {"": None}
    settings = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    settings = {key: tensor(value) if isinstance(value, TensorProto) else value for key, value in settings.items()}
    Step(node.op_type, list(node.input), list(node.output), settings, opset, "here").run(values)
    return values[graph.output[0].name].numpy()


def test_the_cases_of_onnx():
    """Where an operator answers, it answers as the reference does, in value and shape; what it refuses is counted."""
    seen, refused = collections.Counter(), 0
    for case in cases():
        for inputs, outputs in case.data_sets:
            if not all(isinstance(one, np.ndarray) and one.dtype.kind in "fiub" for one in (*inputs, outputs[0])):
                continue
            try:
                found = computed(case, inputs)
            except Unsupported:
                refused += 1
                continue
            assert found.shape == outputs[0].shape, case.name
            assert np.allclose(found.astype("f8"), outputs[0].astype("f8"), rtol=1e-3, atol=1e-5, equal_nan=True), case.name
            seen[case.model.graph.node[0].op_type] += 1
    assert sum(seen.values()) > 600
    assert refused < sum(seen.values()) / 5
    assert len(FUNCTIONS.keys() - seen.keys()) <= 8  # constants and casts, which have no cases of numbers


REDUCTIONS = sorted(name for name in FUNCTIONS if name.startswith("Reduce"))


@pytest.mark.parametrize("operator", REDUCTIONS)
def test_reductions_are_those_of_onnxruntime(operator):
    """Over all axes where none are given, or over none with noop_with_empty_axes: then each number is reduced by itself."""
    x = np.random.default_rng(0).uniform(0.5, 2, size=(2, 3, 4)).astype("f4")
    for axes, noop, keep, sign in itertools.product([None, [], [1], [0, -1]], [0, 1], [0, 1], [1, -1] if operator != "ReduceLogSum" else [1]):
        given = {"x": sign * x, "axes": None if axes is None else np.array(axes, "i8")}
        (truth,), (found,) = both(operator, given, ["y"], 18, noop_with_empty_axes=noop, keepdims=keep)
        assert found.shape == truth.shape
        assert np.allclose(found, truth, rtol=1e-5, atol=1e-5), (axes, noop, keep, sign)


def test_the_length_of_nothing_has_a_gradient():
    """Where all numbers are 0, as in the corner of a padded image, the gradient of their length is 0, not NaN."""
    x = torch.zeros(2, 3, requires_grad=True)
    values = {"x": x}
    Step("ReduceL2", ["x"], ["y"], {}, 18, "here").run(values)
    assert torch.equal(torch.autograd.grad(values["y"].sum(), x)[0], torch.zeros(2, 3))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.mix, self.norm = nn.Linear(4, 8), nn.MultiheadAttention(8, 2, batch_first=True), nn.LayerNorm(8)
        self.end = nn.Linear(8, 3)

    def forward(self, x):
        words = self.embed(x.flatten(1).reshape(-1, 9, 4))
        return self.end(self.norm(words + self.mix(words, words, words, need_weights=False)[0]).mean(1))


class Powers(nn.Module):
    def __init__(self):
        super().__init__()
        self.end = nn.Linear(36, 3)

    def forward(self, x):
        x = x.flatten(1)
        return self.end(torch.where(x > 0.5, x.sqrt(), (x + 0.1) ** 1.5) + torch.einsum("ni,nj->ni", x, x.exp()).log1p())


NETWORKS = {
    "elu": nn.Sequential(nn.Conv2d(1, 4, 3), nn.ELU(), nn.SELU(), nn.CELU(), nn.Softplus(), nn.Flatten(), nn.Linear(64, 3)),
    "gelu": nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.GELU(), nn.Linear(8, 8), nn.Mish(), nn.Linear(8, 3), nn.Softsign()),
    "instance norm": nn.Sequential(nn.Conv2d(1, 4, 3), nn.InstanceNorm2d(4, affine=True), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(64, 3)),
    "resize": nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(1, 2, 3), nn.PixelUnshuffle(2), nn.Flatten(), nn.Linear(200, 3)),
    "bicubic": nn.Sequential(nn.Upsample(size=(9, 9), mode="bicubic", align_corners=True), nn.Flatten(), nn.Linear(81, 3)),
    "softmax inside": nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.Softmax(1), nn.Linear(8, 3)),
    "attention": Attention(),
    "powers": Powers(),
}
X = torch.rand(5, 1, 6, 6, generator=torch.Generator().manual_seed(0))


def export(network, path, rows=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        axes = None if rows else {"x": {0: "n"}, "y": {0: "n"}}
        torch.onnx.export(network.eval(), (X[: rows or 2],), path, input_names=["x"], output_names=["y"], dynamic_axes=axes, dynamo=False, opset_version=17)
    return path


@pytest.mark.parametrize(("name", "rows"), [*((name, None) for name in NETWORKS), *((name, rows) for name in ("attention", "elu") for rows in (1, 3))])
def test_gradients_are_those_of_torch(tmp_path, name, rows):
    """For a file that takes any batch, and for one that takes a fixed one only."""
    network = NETWORKS[name]
    victim, truth = sp.victim(export(network, tmp_path / "net.onnx", rows), sp.image(6, 6)), sp.victim(network.eval(), sp.image(6, 6))
    assert victim.exposes == {"gradients", "scores", "labels"}
    own, asked = (one.gradient(X, lambda scores: scores[:, 0] - scores[:, 1]) for one in (truth, victim))
    assert torch.allclose(own.scores, asked.scores, atol=1e-4)
    assert torch.allclose(own.grad, asked.grad, atol=1e-4)
    assert asked.grad.count_nonzero() > 0


def test_an_input_of_bytes_has_gradients(tmp_path):
    """The network in the file divides bytes by 255, as exports with the preprocessing inside do."""
    weight = numpy_helper.from_array(np.random.default_rng(0).normal(size=(36, 3)).astype("f4"), "W")
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["f", "255"], ["d"]),
        helper.make_node("Flatten", ["d"], ["v"]),
        helper.make_node("MatMul", ["v", "W"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info("x", TensorProto.UINT8, ["n", 1, 6, 6])], [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])]
    graph = helper.make_graph(nodes, "bytes", *ends, [weight, numpy_helper.from_array(np.float32(255), "255")])
    path = tmp_path / "bytes.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    victim = sp.victim(path, sp.image(6, 6))
    grad = victim.gradient(X, lambda scores: scores[:, 0]).grad
    assert torch.allclose(grad.flatten(1), torch.from_numpy(numpy_helper.to_array(weight)[:, 0].copy()).expand(5, -1), atol=1e-5)
    run = sp.evaluate(victim, sp.Data.of(X, victim.label(X), sp.image(6, 6)), sp.linf(0.3), attacks="pgd(steps=5)", certify="none", out=tmp_path)
    assert run.table()["status"].eq("broken").any()


def test_unknown_operators_are_named(tmp_path):
    path = tmp_path / "det.onnx"
    node = helper.make_node("Det", ["x"], ["y"])
    ends = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, 6, 6])], [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])]
    onnx.save(helper.make_model(helper.make_graph([node], "det", *ends), opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    content = path.read_bytes()
    with pytest.raises(LoadError, match=r"operator Det \(node y, 1 of 1\) is not supported"):
        differentiable(content, "det.onnx", Session(content, "det.onnx"))


def saved(path, nodes, rows, tensors=(), kind=TensorProto.FLOAT, width=3):
    ends = [helper.make_tensor_value_info("x", kind, [rows, 1, 6, 6])], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows, width])]
    graph = helper.make_graph(nodes, "net", *ends, [numpy_helper.from_array(value, name) for name, value in tensors])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def test_a_fixed_batch_whose_inputs_are_mixed_has_no_gradients(tmp_path):
    """The second row is answered from the first."""
    weight = np.random.default_rng(0).normal(size=(36, 3)).astype("f4")
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("MatMul", ["f", "W"], ["s"]),
        helper.make_node("GatherND", ["s", "where"], ["y"]),
    ]
    path = saved(tmp_path / "mixed.onnx", nodes, 2, [("W", weight), ("where", np.array([[0], [0]]))])
    victim = sp.victim(path, sp.image(6, 6))
    assert "gradients" not in victim.exposes
    assert victim.no_gradients


def test_whole_numbers_other_than_bytes_need_a_scale(tmp_path):
    weight = np.random.default_rng(0).normal(size=(36, 3)).astype("f4")
    nodes = [
        helper.make_node("Cast", ["x"], ["c"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["c"], ["f"]),
        helper.make_node("MatMul", ["f", "W"], ["y"]),
    ]
    path = saved(tmp_path / "whole.onnx", nodes, "n", [("W", weight)], TensorProto.INT64)
    with pytest.raises(LoadError, match=r"takes whole numbers \(tensor\(int64\)\), the values of the images are in \[0, 1\]: say scale=255"):
        sp.victim(path, sp.image(6, 6))
    scores = sp.victim(path, sp.image(6, 6), scale=255).scores(X)
    assert np.allclose(scores.numpy(), (X.flatten(1).numpy() * 255).round() @ weight, atol=1e-2)
