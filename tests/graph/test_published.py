"""Published networks, torch and ONNX, read and compared."""

import copy
import gzip
from pathlib import Path

import pytest
import torch

from sparring.domains.image import Image
from sparring.graph.from_torch import from_torch
from sparring.graph.operators import Conv, Linear, Relu
from sparring.models.onnx import OnnxVictim

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "data"
FILES = sorted((SHARED / "vnncomp").glob("*/onnx/*.onnx.gz"))

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data is not beside the checkout: published networks are not read"),
]

PUBLISHED = {
    "wong", "wk17a", "wong01", "conv_adv03", "fmnist_wong01", "trades", "madry_tiny", "conv_ibp", "colt01", "conv_nat", "mlp3", "mlp6",
    "cifar_conv_adv2", "cifar_conv_mix4", "cifar_conv_nat", "cifar_resnet2b", "cifar_resnet20", "cifar_resnet8",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_published(name, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import networks

    module = networks.load(name)
    shape = (3, 32, 32) if name.startswith("cifar") else (1, 28, 28)
    network = from_torch(module, shape)
    x = torch.rand(4, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    truth = copy.deepcopy(module).double()(x).detach()
    assert (network(x) - truth).abs().max() <= 1e-10 * truth.abs().max()
    assert network.relus_only
    assert network.outputs == 10
    if "resnet20" in name:
        kinds = [type(node.operator) for node in network.nodes]
        assert kinds.count(Conv) == 19
        assert kinds.count(Relu) == 19


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name.removesuffix(".onnx.gz"))
def test_vnncomp(path):
    """Against onnxruntime on points of our own; layers and inputs as the competition describes them."""
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from sparring.graph.from_onnx import from_onnx

    network = from_onnx(path)
    session = onnxruntime.InferenceSession(gzip.decompress(path.read_bytes()), providers=["CPUExecutionProvider"])
    shape = (1, 1, 5) if "ACASXU" in path.name else (784, 1)
    assert network.input_shape == shape
    x = torch.rand(5, *shape, generator=torch.Generator().manual_seed(2)) - 0.5
    truth = torch.cat([torch.from_numpy(session.run(None, {session.get_inputs()[-1].name: one[None].numpy()})[0]) for one in x])
    assert (network(x.double()) - truth).abs().max() <= 1e-5 * truth.abs().max()
    victim = OnnxVictim(path, Image(shape if len(shape) == 3 else (1, 28, 28)))
    assert "gradients" in victim.exposes
    assert victim.name == path.name.removesuffix(".onnx.gz")
    torch.testing.assert_close(victim.search_scores(x.flatten(1).reshape(-1, *victim.domain.shape)), truth, rtol=1e-4, atol=1e-5)
    kinds = [type(node.operator) for node in network.nodes]
    layers = 7 if "ACASXU" in path.name else int(path.name.split("x")[1][0]) + 1
    assert kinds.count(Linear) == layers
    assert kinds.count(Relu) == layers - 1
