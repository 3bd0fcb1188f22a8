"""The network of a victim, in the shape of its domain and with as many scores as it has classes."""

import pytest
import torch
from graph.network_zoo import NETWORKS
from torch import nn

from sparring.domains.image import Image
from sparring.graph.builder import Unsupported
from sparring.models.callable import CallableVictim
from sparring.models.graph_of import network_of
from sparring.models.onnx import OnnxVictim
from sparring.models.torch import TorchVictim


def images(*shape):
    return torch.rand(5, *shape, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("name", ["residual", "max pool", "batch norm"])
def test_of_a_module(name):
    module, shape = NETWORKS[name]
    victim = TorchVictim(module, Image(shape))
    x = images(*shape)
    with victim.session():
        torch.testing.assert_close(network_of(victim)(x.double()).float(), victim.scores(x), rtol=1e-4, atol=1e-5)
    assert network_of(victim) is network_of(victim)


def test_of_an_exported_program():
    module, shape = NETWORKS["convolutions"]
    program = torch.export.export(module.eval(), (torch.zeros(2, *shape),))
    victim = TorchVictim(program, Image(shape))
    x = images(*shape)[:2]
    torch.testing.assert_close(network_of(victim)(x.double()).float(), victim.scores(x), rtol=1e-4, atol=1e-5)


def test_of_a_module_that_was_trained_on():
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    victim = TorchVictim(module, Image((1, 2, 2)))
    before = network_of(victim)
    with torch.no_grad():
        module[1].weight.mul_(2)
    after, x = network_of(victim), images(1, 2, 2)
    assert after is not before
    torch.testing.assert_close(after(x.double()).float(), victim.scores(x))


def test_one_score_becomes_two():
    victim = TorchVictim(nn.Sequential(nn.Flatten(), nn.Linear(4, 1)), Image((1, 2, 2)))
    x = images(1, 2, 2)
    torch.testing.assert_close(network_of(victim)(x.double()).float(), victim.scores(x))
    assert network_of(victim).outputs == victim.classes == 2


def test_of_a_file_that_takes_another_shape(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    make, kinds = onnx.helper, onnx.TensorProto
    weight = torch.randn(6, 3, generator=torch.Generator().manual_seed(1)).numpy()
    ends = make.make_tensor_value_info("x", kinds.FLOAT, [1, 6]), make.make_tensor_value_info("y", kinds.FLOAT, [1, 3])
    graph = make.make_graph([make.make_node("MatMul", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [onnx.numpy_helper.from_array(weight, "w")])
    path = tmp_path / "net.onnx"
    path.write_bytes(make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8).SerializeToString())
    victim = OnnxVictim(path, Image((1, 2, 3)))
    network, x = network_of(victim), images(1, 2, 3)
    assert network.input_shape == (1, 2, 3)
    torch.testing.assert_close(network(x.double()).float(), victim.scores(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(victim.search_scores(x), victim.scores(x), rtol=1e-4, atol=1e-5)


def test_of_anything_else():
    with pytest.raises(Unsupported, match="is a CallableVictim: bounds need a network"):
        network_of(CallableVictim(lambda x: x.reshape(len(x), -1), Image((1, 2, 2)), classes=4))
