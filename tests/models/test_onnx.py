"""ONNX files as victims: onnxruntime answers, a copy in torch gives the gradients."""

import pytest
import torch

import sparring as sp
from sparring.core.errors import AccessError
from sparring.domains.image import Image
from sparring.models.adapter import digest
from sparring.models.onnx import OnnxVictim
from sparring.models.torch import TorchVictim

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
make, kinds = onnx.helper, onnx.TensorProto

NET = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))


def settled():
    dice = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in NET.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=dice) / 2)
    return NET


def written(path, *, rows="n", end=(), middle="Relu"):
    """The network above as an ONNX file; end: operators after the scores."""
    net = settled()
    constants = {"a": net[1].weight, "b": net[1].bias, "c": net[3].weight, "d": net[3].bias}
    names = ["scores", *(f"v{place}" for place in range(len(end)))]
    nodes = [
        make.make_node("Flatten", ["x"], ["flat"]),
        make.make_node("Gemm", ["flat", "a", "b"], ["first"], transB=1),
        make.make_node(middle, ["first"], ["bent"]),
        make.make_node("Gemm", ["bent", "c", "d"], ["scores"], transB=1),
        *(make.make_node(operator, [names[place]], [names[place + 1]]) for place, operator in enumerate(end)),
    ]
    ends = make.make_tensor_value_info("x", kinds.FLOAT, [rows, 1, 6, 6]), make.make_tensor_value_info(names[-1], kinds.FLOAT, [rows, 3])
    tensors = [onnx.numpy_helper.from_array(value.detach().numpy(), name) for name, value in constants.items()]
    model = make.make_model(make.make_graph(nodes, "g", ends[:1], ends[1:], tensors), opset_imports=[make.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def images(count=7):
    return torch.rand(count, 1, 6, 6, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("rows", ["n", 1, 4])
@pytest.mark.parametrize("end", [(), ("Softmax",), ("LogSoftmax",)])
def test_gradients_are_those_of_the_same_network_in_torch(tmp_path, rows, end):
    victim = OnnxVictim(written(tmp_path / "net.onnx", rows=rows, end=end), Image((1, 6, 6)))
    layers = {(): [], ("Softmax",): [torch.nn.Softmax(1)], ("LogSoftmax",): [torch.nn.LogSoftmax(1)]}[end]
    twin = TorchVictim(torch.nn.Sequential(*settled(), *layers), Image((1, 6, 6)), search="plain")
    x = images()
    assert victim.exposes == {"gradients", "scores", "labels"}
    assert not victim.exact
    assert victim.slack == TorchVictim(NET, Image((1, 6, 6))).slack
    found, truth = (one.gradient(x, lambda scores: scores[:, 1] - scores[:, 0] * scores[:, 2]) for one in (victim, twin))
    for a, b in zip(found, truth, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    classes = torch.tensor([[0, 2]] * 7)
    for a, b in zip(victim.gradients(x, classes), twin.gradients(x, classes), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(victim.search_scores(x), victim.scores(x), rtol=1e-4, atol=1e-5)


def test_the_fingerprint_is_that_of_the_file(tmp_path):
    path = written(tmp_path / "net.onnx")
    assert OnnxVictim(path, Image((1, 6, 6))).fingerprint == digest(path.read_bytes())


def test_an_operator_nobody_knows_leaves_scores_and_labels(tmp_path):
    victim = OnnxVictim(written(tmp_path / "net.onnx", middle="Erf"), Image((1, 6, 6)))
    assert victim.exposes == {"scores", "labels"}
    assert victim.exact
    assert "operator Erf" in victim.no_gradients
    assert victim.scores(images()).shape == (7, 3)
    assert torch.equal(victim.search_scores(images()), victim.scores(images()))
    for ask in (lambda: victim.gradient(images(), lambda scores: scores[:, 0]), lambda: victim.gradients(images(), torch.zeros(7, 1, dtype=torch.int64))):
        with pytest.raises(AccessError, match="gives no gradients: operator Erf"):
            ask()


def test_gradient_attacks_run(tmp_path):
    """PGD gets further than the same budget of random signs, and onnxruntime agrees on what fell."""
    victim, x = OnnxVictim(written(tmp_path / "net.onnx"), Image((1, 6, 6))), images(40)
    y = victim.label(x)
    found = sp.attacks.pgd(victim, x, y, sp.linf(0.1), steps=10)
    signs = (torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).sign() * 0.1 + x).clamp(0, 1)
    assert (found - x).abs().max() <= 0.1 + 1e-6
    assert int((victim.label(found) != y).sum()) > int((victim.label(signs) != y).sum())
