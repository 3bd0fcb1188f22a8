"""ONNX files as victims: onnxruntime answers, a copy in torch gives the gradients."""

import pytest
import torch

import sparring as sp
from sparring.core.errors import AccessError
from sparring.core.fingerprint import digest
from sparring.domains.image import Image
from sparring.graph.builder import Unsupported
from sparring.graph.from_onnx import from_onnx
from sparring.models.onnx import OnnxVictim
from sparring.models.torch import TorchVictim
from sparring.tasks.mask import mask

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
make, kinds = onnx.helper, onnx.TensorProto

NET = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))


def settled():
    rng = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in NET.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=rng) / 2)
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

    def two(scores):
        return scores[:, [0, 2]]

    for a, b in zip(victim.gradients(x, two), twin.gradients(x, two), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(victim.search_scores(x), victim.scores(x), rtol=1e-4, atol=1e-5)


def test_the_fingerprint_is_that_of_the_file(tmp_path):
    path = written(tmp_path / "net.onnx")
    assert OnnxVictim(path, Image((1, 6, 6))).fingerprint == digest(path.read_bytes())


def test_an_operator_nobody_knows_leaves_scores_and_labels(tmp_path):
    victim = OnnxVictim(written(tmp_path / "net.onnx", middle="Hardmax"), Image((1, 6, 6)))
    assert victim.exposes == {"scores", "labels"}
    assert victim.exact
    assert "operator Hardmax" in victim.no_gradients
    assert victim.scores(images()).shape == (7, 3)
    assert torch.equal(victim.search_scores(images()), victim.scores(images()))
    for ask in (lambda: victim.gradient(images(), lambda scores: scores[:, 0]), lambda: victim.gradients(images(), lambda scores: scores[:, :1])):
        with pytest.raises(AccessError, match="provides no gradients: operator Hardmax"):
            ask()


def test_gradient_attacks_run(tmp_path):
    """Ten steps of PGD break more samples than the best of twenty random signs, which cost as many passes, and onnxruntime agrees on what fell."""
    victim, x = OnnxVictim(written(tmp_path / "net.onnx"), Image((1, 6, 6))), images(40)
    y = victim.label(x)
    found = sp.attacks.pgd(victim, x, y, sp.linf(0.1), steps=10)
    assert (found - x).abs().max() <= 0.1 + 1e-6
    signs = torch.randn(20, *x.shape, generator=torch.Generator().manual_seed(0)).sign()
    lucky = torch.stack([victim.label((x + 0.1 * sign).clamp(0, 1)) != y for sign in signs]).any(0)
    assert int((victim.label(found) != y).sum()) > int(lucky.sum())


def write_mask(path, *, rows="n", classes=3, end="y"):
    """A convolution with one score per pixel and class, and a file of it; `end` names the output, "s" is after a softmax."""
    net = torch.nn.Conv2d(1, classes, 3, padding=1)
    rng = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=rng))
    nodes = [make.make_node("Conv", ["x", "a", "b"], ["y"], pads=[1, 1, 1, 1])]
    nodes += [make.make_node("Softmax", ["y"], ["s"], axis=1)] if end == "s" else []
    ends = make.make_tensor_value_info("x", kinds.FLOAT, [rows, 1, 4, 5]), make.make_tensor_value_info(end, kinds.FLOAT, [rows, classes, 4, 5])
    tensors = [onnx.numpy_helper.from_array(value.detach().numpy(), name) for name, value in zip("ab", net.parameters(), strict=True)]
    model = make.make_model(make.make_graph(nodes, "g", ends[:1], ends[1:], tensors), opset_imports=[make.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path, net


@pytest.mark.parametrize("rows", ["n", 1, 4])
@pytest.mark.parametrize("classes", [1, 3])
def test_masks_keep_their_shape(tmp_path, rows, classes):
    """Scores are [n, classes, height, width], one channel is class 1 against 0, and gradients are those of torch."""
    path, net = write_mask(tmp_path / "mask.onnx", rows=rows, classes=classes)
    domain, x = Image((1, 4, 5)), torch.rand(7, 1, 4, 5, generator=torch.Generator().manual_seed(2))
    victim, twin = OnnxVictim(path, domain, task=mask()), TorchVictim(net, domain, search="plain", task=mask())
    assert victim.task == twin.task == mask(max(classes, 2), size=(4, 5))
    assert "gradients" in victim.exposes
    torch.testing.assert_close(victim.scores(x), twin.scores(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(victim.search_scores(x), twin.scores(x), rtol=1e-4, atol=1e-5)
    assert torch.equal(victim.answer(x), twin.answer(x))
    criterion = victim.task.wrong(victim.answer(x))
    for a, b in zip(victim.gradient(x, criterion.loss), twin.gradient(x, criterion.loss), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_masks_behind_a_softmax_give_gradients(tmp_path):
    """The softmax is over the classes of every pixel, which has no bound but a gradient."""
    victim = OnnxVictim(write_mask(tmp_path / "mask.onnx", end="s")[0], Image((1, 4, 5)), task=mask())
    assert victim.exposes == {"gradients", "scores", "labels"}
    assert victim.gradient(torch.rand(2, 1, 4, 5), lambda scores: scores[:, 0].flatten(1).sum(1)).grad.abs().sum() > 0
    assert victim.scores(torch.rand(2, 1, 4, 5)).sum(1) == pytest.approx(torch.ones(2, 4, 5))


def test_certifiers_still_refuse_maps(tmp_path):
    with pytest.raises(Unsupported, match=r"one row of scores \[n, k\] is supported"):
        from_onnx(write_mask(tmp_path / "mask.onnx")[0])
