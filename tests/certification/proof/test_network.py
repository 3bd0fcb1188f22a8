"""The network in a proof file against the ONNX file it came from: the same ones agree, another weight, place or sign shows."""

import ast
import hashlib
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from certification.proof.made import pack, unpack
from onnx import TensorProto, helper, numpy_helper

from sparring.certification.networks.bounds.inputs import InputSet
from sparring.certification.networks.proof.form import ReluLeaf, ReluProof
from sparring.certification.networks.proof.sample import SampleProof
from sparring.certification.networks.query import Query
from sparring.certification.proof.file import write_proof
from sparring.graph.from_onnx import import_onnx
from sparring.graph.onnx_session import Session
from sparring_check import check_network


def constant(draw, name, *shape):
    return numpy_helper.from_array(draw.normal(size=shape).astype(np.float32), name)


def saved(path, nodes, constants, sides, outputs):
    made = helper.make_node
    graph = helper.make_graph(
        [made(operator, names, [given], **settings) for operator, names, given, settings in nodes], "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, sides)], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, outputs])], constants,
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def dense(path):
    draw = np.random.default_rng(0)
    constants = [constant(draw, "m", 1, 5), constant(draw, "w", 5, 6), constant(draw, "b", 6), constant(draw, "v", 3, 6), constant(draw, "c", 3)]
    nodes = [
        ("Sub", ["x", "m"], "d", {}),
        ("MatMul", ["d", "w"], "h", {}),
        ("Add", ["h", "b"], "z", {}),
        ("Relu", ["z"], "a", {}),
        ("Gemm", ["a", "v", "c"], "y", {"transB": 1}),
    ]
    return saved(path, nodes, constants, [1, 5], 3)


def convolved(path):
    draw = np.random.default_rng(1)
    constants = [constant(draw, "k", 4, 2, 3, 2), constant(draw, "b", 4), constant(draw, "l", 4, 2, 2, 2), constant(draw, "v", 3, 80), constant(draw, "c", 3)]
    nodes = [
        ("Conv", ["x", "k", "b"], "z", {"pads": [1, 1, 1, 1], "strides": [2, 1], "dilations": [1, 2], "kernel_shape": [3, 2]}),
        ("Relu", ["z"], "a", {}),
        ("Conv", ["a", "l"], "u", {"group": 2, "kernel_shape": [2, 2], "pads": [0, 1, 1, 0]}),
        ("Add", ["u", "a"], "s", {}),
        ("Relu", ["s"], "t", {}),
        ("Flatten", ["t"], "f", {}),
        ("Gemm", ["f", "v", "c"], "y", {"transB": 1}),
    ]
    return saved(path, nodes, constants, [1, 2, 8, 5], 3)


def pooled(path):
    draw = np.random.default_rng(1)
    nodes = [("MaxPool", ["x"], "a", {"kernel_shape": [2, 2], "strides": [2, 2]}), ("Flatten", ["a"], "f", {}), ("Gemm", ["f", "v"], "y", {"transB": 1})]
    return saved(path, nodes, [constant(draw, "v", 3, 4)], [1, 1, 4, 4], 3)


def proof_of(source, path):
    """A file that holds its network; what it proves is of no matter here."""
    content = source.read_bytes()
    network = import_onnx(content, runtime=Session(content, source.name)).network
    point = torch.zeros(1, *network.input_shape, dtype=torch.float64)
    asked = Query.robustness(network, InputSet(point, point), torch.tensor([0]))
    write_proof(path, [SampleProof(asked, ReluProof((ReluLeaf(0, np.eye(2)[0]),)))], source)
    return path


@pytest.fixture(params=[dense, convolved], ids=["dense", "convolved"])
def pair(request, tmp_path):
    source = request.param(tmp_path / "net.onnx")
    return proof_of(source, tmp_path / "a.proof"), source


def test_the_same_network(pair, capsys):
    assert check_network.main([str(one) for one in pair]) == 0
    assert capsys.readouterr().out.startswith("the same network as ")


def test_its_reading_is_that_of_onnxruntime(pair):
    _, source = pair
    read = check_network.Onnx(source.read_bytes())
    session = onnxruntime.InferenceSession(str(source))
    for seed in range(5):
        x = np.random.default_rng(seed).normal(size=session.get_inputs()[0].shape).astype(np.float32)
        (expected,) = session.run(None, {"x": x})
        np.testing.assert_allclose(read.run(x.astype(np.float64).ravel(), lambda value: np.maximum(value, 0)), expected.ravel(), rtol=1e-4, atol=1e-4)


def test_every_number_that_is_another_shows(pair, tmp_path):
    """Each array, at its smallest and its largest number: with another sign or a millionth more; and two rows exchanged."""
    header, arrays = unpack(pair[0])
    met = 0
    for node in header["network"]:
        for field in ("weight", "bias", "factor", "shift"):
            if node.get(field) is None:
                continue
            value = arrays[node[field]]
            changes = [value[::-1].copy()] if value.ndim else []
            for place in (np.abs(value).argmax(), np.abs(value).argmin()):
                for change in (lambda number: -number, lambda number: number * 1.000001 + 1e-6):
                    other = value.copy()
                    other.flat[place] = change(other.flat[place])
                    changes.append(other)
            for other in changes:
                if not np.allclose(other, value, rtol=0, atol=1e-8):
                    met += 1
                    tampered = pack(tmp_path / "b.proof", header, {**arrays, node[field]: other})
                    assert check_network.main([str(tampered), str(pair[1])]) == 1
    assert met >= 12


def test_other_settings_of_a_convolution_show(tmp_path):
    source = convolved(tmp_path / "net.onnx")
    header, arrays = unpack(proof_of(source, tmp_path / "a.proof"))
    first = next(node for node in header["network"] if node["operator"] == "Conv")
    for change in ({"stride": [1, 1]}, {"padding": [0, 0]}, {"dilation": [1, 1]}):
        kept = dict(first)
        first.update(change)
        assert check_network.main([str(pack(tmp_path / "b.proof", header, arrays)), str(source)]) in (1, 2)
        first.update(kept)
    assert check_network.main([str(pack(tmp_path / "b.proof", header, arrays)), str(source)]) == 0


def test_another_file_and_what_is_not_read(tmp_path, capsys):
    first, second = dense(tmp_path / "a.onnx"), convolved(tmp_path / "b.onnx")
    assert check_network.main([str(proof_of(first, tmp_path / "a.proof")), str(second)]) == 1
    header, arrays = unpack(tmp_path / "a.proof")
    header["source"]["sha256"] = hashlib.sha256(second.read_bytes()).hexdigest()
    assert check_network.main([str(pack(tmp_path / "b.proof", header, arrays)), str(second)]) in (1, 2)
    third = pooled(tmp_path / "c.onnx")
    capsys.readouterr()
    assert check_network.main([str(proof_of(third, tmp_path / "c.proof")), str(third)]) == 2
    assert capsys.readouterr().out == "cannot be compared: Unknown: the operator MaxPool\n"


def test_it_reads_onnx_without_onnx():
    imported = set()
    for node in ast.walk(ast.parse(Path(check_network.__file__).read_text())):
        if isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            imported.add(node.module)
    assert {name for name in imported if name.split(".")[0] not in sys.stdlib_module_names} == {"numpy", "sparring_check.check_proof"}
