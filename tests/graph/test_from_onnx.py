"""Networks read from ONNX files against onnxruntime."""

import gzip

import numpy as np
import pytest
import torch

from sparring.core.errors import LoadError
from sparring.graph.builder import Unsupported
from sparring.graph.from_onnx import from_onnx, import_onnx
from sparring.graph.operators import Conv, Linear, Relu, Scale

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
make, kinds = onnx.helper, onnx.TensorProto


def weights(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def file(nodes, taken, given=("n", None), *, constants=None, opset=17, kind=kinds.FLOAT, named_inputs=False):
    """The bytes of an ONNX file from x [*taken] to y [*given]. nodes: (operator, inputs, outputs, settings)."""
    constants = {name: np.asarray(value) for name, value in (constants or {}).items()}
    ends = make.make_tensor_value_info("x", kind, taken), make.make_tensor_value_info("y", kind, given)
    inputs = [ends[0]]
    if named_inputs:  # as files of IR version 3 have it
        inputs = [make.make_tensor_value_info(name, make.np_dtype_to_tensor_dtype(value.dtype), value.shape) for name, value in constants.items()] + inputs
    graph = make.make_graph(
        [make.make_node(operator, given.split(), out.split(), **settings) for operator, given, out, settings in nodes],
        "g",
        inputs,
        [ends[1]],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return make.make_model(graph, opset_imports=[make.make_opsetid("", opset)], ir_version=8).SerializeToString()


def whole(*numbers):
    return np.array(numbers, dtype=np.int64)


def real(*numbers):
    return np.array(numbers, dtype=np.float32)


def one(operator, inputs="x", *, taken=("n", 6), constants=None, opset=17, last=True, **settings):
    """The operator, then everything flattened."""
    nodes = [(operator, inputs, "out", settings), ("Flatten", "out", "y", {})] if last else [(operator, inputs, "y", settings)]
    return file(nodes, taken, constants=constants, opset=opset)


IMAGE = ("n", 2, 6, 7)

FILES = {
    "gemm": one("Gemm", "x w b", constants={"w": weights(6, 3), "b": weights(3)}, alpha=0.5, beta=2.0),
    "gemm turned": one("Gemm", "x w", constants={"w": weights(3, 6)}, transB=1),
    "matmul": one("MatMul", "x w", constants={"w": weights(6, 3)}),
    "matmul of a stack": one("MatMul", "x w", taken=("n", 4, 6), constants={"w": weights(1, 6, 3)}),
    "matmul from the left": one("MatMul", "w x", taken=("n", 4, 5), constants={"w": weights(3, 4)}),
    "convolution": one(
        "Conv", "x w b", taken=IMAGE, constants={"w": weights(4, 1, 3, 2), "b": weights(4)}, group=2, pads=[1, 0, 2, 1], strides=[2, 1], dilations=[1, 2]
    ),
    "convolution 1d": one("Conv", "x w", taken=("n", 2, 7), constants={"w": weights(3, 2, 3)}, pads=[1, 1]),
    "convolution same upper": one("Conv", "x w", taken=IMAGE, constants={"w": weights(3, 2, 2, 4)}, auto_pad="SAME_UPPER", strides=[1, 2]),
    "convolution same lower": one("Conv", "x w", taken=IMAGE, constants={"w": weights(3, 2, 2, 4)}, auto_pad="SAME_LOWER"),
    "transposed convolution": one(
        "ConvTranspose", "x w b", taken=IMAGE, constants={"w": weights(2, 3, 3, 2), "b": weights(3)}, strides=[2, 3], pads=[1, 0, 0, 1], output_padding=[1, 0]
    ),
    "add": one("Add", "x c", constants={"c": weights(6)}),
    "subtract from": one("Sub", "c x", constants={"c": weights(1, 6)}),
    "times": one("Mul", "x c", constants={"c": weights(1)}),
    "divide": one("Div", "x c", constants={"c": weights(6) ** 2 + 0.1}),
    "product": one("Mul", "x x"),
    "grow": one("Add", "x c", taken=("n", 1, 6), constants={"c": weights(4, 1)}),
    "negative": one("Neg"),
    "absolute": one("Abs"),
    "batch norm": one(
        "BatchNormalization",
        "x s b m v",
        taken=IMAGE,
        constants={"s": weights(2), "b": weights(2, seed=1), "m": weights(2, seed=2), "v": weights(2) ** 2},
        epsilon=1e-3,
    ),
    "relu": one("Relu"),
    "leaky": one("LeakyRelu", alpha=0.3),
    "prelu": one("PRelu", "x s", taken=IMAGE, constants={"s": weights(2, 1, 1)}),
    "sigmoid": one("Sigmoid"),
    "tanh": one("Tanh"),
    "hard sigmoid": one("HardSigmoid"),
    "hard swish": one("HardSwish"),
    "clip": one("Clip", "x l h", constants={"l": np.float32(-0.4), "h": np.float32(1.1)}),
    "clip above": one("Clip", "x l h", constants={"l": np.float32(-np.inf), "h": np.float32(0.5)}),
    "old clip": one("Clip", opset=10, min=-0.2, max=0.7),
    "square": one("Pow", "x two", constants={"two": np.float32(2)}),
    "sum of several": one("Sum", "x x c", constants={"c": weights(6)}),
    "mean of several": one("Mean", "x c", constants={"c": weights(6)}),
    "largest of several": one("Max", "x c d", constants={"c": weights(6), "d": weights(6, seed=1)}),
    "smallest of several": one("Min", "c x", constants={"c": weights(6)}),
    "average pool": one("AveragePool", taken=IMAGE, kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1]),
    "average pool of padding": one("AveragePool", taken=IMAGE, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1),
    "average pool ceil": one("AveragePool", taken=("n", 2, 6, 8), opset=19, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    "max pool": one("MaxPool", taken=IMAGE, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    "max pool uneven": one("MaxPool", taken=IMAGE, kernel_shape=[2, 3], strides=[2, 2], pads=[0, 0, 1, 2]),
    "max pool ceil": one("MaxPool", taken=("n", 2, 6, 8), kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    "max pool dilated": one("MaxPool", taken=IMAGE, kernel_shape=[2, 2], dilations=[2, 3]),
    "max pool same": one("MaxPool", taken=IMAGE, kernel_shape=[2, 2], strides=[1, 1], auto_pad="SAME_UPPER"),
    "global average pool": one("GlobalAveragePool", taken=IMAGE),
    "global max pool": one("GlobalMaxPool", taken=IMAGE),
    "mean over axes": one("ReduceMean", taken=IMAGE, axes=[1, -1], keepdims=0),
    "mean over axes of a tensor": one("ReduceMean", "x a", taken=IMAGE, opset=18, constants={"a": whole(2, 3)}),
    "sum over axes": one("ReduceSum", "x a", taken=IMAGE, constants={"a": whole(1)}),
    "old sum over axes": one("ReduceSum", taken=IMAGE, opset=11, axes=[3]),
    "largest over axes": one("ReduceMax", taken=IMAGE, axes=[1], keepdims=0),
    "reshape": one("Reshape", "x s", taken=IMAGE, constants={"s": whole(0, -1, 7)}),
    "transpose": one("Transpose", taken=IMAGE, perm=[0, 2, 3, 1]),
    "slice": one("Slice", "x s e a t", taken=IMAGE, constants={"s": whole(-1, 1), "e": whole(-100, 4), "a": whole(3, 2), "t": whole(-2, 1)}),
    "old slice": one("Slice", taken=IMAGE, opset=9, starts=[1, 0], ends=[100, -1], axes=[2, 3]),
    "concat": one("Concat", "x x", taken=("n", 2, 3), axis=-1),
    "pad": one("Pad", "x p v", taken=("n", 2, 3), constants={"p": whole(0, 1, 0, 0, 0, 2), "v": np.float32(1.5)}),
    "pad mirrored": one("Pad", "x p", taken=("n", 2, 5), constants={"p": whole(0, 0, 2, 0, 0, 3)}, mode="reflect"),
    "pad with the edge": one("Pad", "x p", taken=("n", 2, 5), constants={"p": whole(0, 0, 2, 0, 0, 3)}, mode="edge"),
    "old pad": one("Pad", taken=("n", 2, 3), opset=10, pads=[0, 1, 0, 0, 0, 2]),
    "squeeze": one("Squeeze", "x a", taken=("n", 1, 6), constants={"a": whole(1)}),
    "unsqueeze": one("Unsqueeze", "x a", constants={"a": whole(1, -1)}),
    "old unsqueeze": one("Unsqueeze", opset=11, axes=[1]),
    "gather": one("Gather", "x i", taken=("n", 5, 2), constants={"i": whole(3, -1, 0, 0)}, axis=1),
    "gather one": one("Gather", "x i", taken=("n", 5, 2), constants={"i": np.int64(2)}, axis=1),
    "expand": one("Expand", "x s", taken=("n", 1, 6), constants={"s": whole(1, 3, 1)}),
    "tile": one("Tile", "x s", taken=("n", 2, 3), constants={"s": whole(1, 2, 1)}),
    "identity": one("Identity"),
    "dropout": one("Dropout"),
    "cast": one("Cast", to=kinds.FLOAT),
    "softmax": one("Softmax", last=False, axis=1),
    "log softmax": one("LogSoftmax", last=False, axis=-1),
    "old softmax": one("Softmax", last=False, opset=11),
    "split": file([("Split", "x s", "a b", {"axis": 1}), ("Relu", "b", "c", {}), ("Concat", "c a", "y", {"axis": 1})], ("n", 6), constants={"s": whole(2, 4)}),
    "shape computed": file(
        [
            ("Shape", "x", "s", {}),
            ("Gather", "s zero", "n", {}),
            ("Unsqueeze", "n first", "m", {}),
            ("Concat", "m rest", "to", {"axis": 0}),
            ("Reshape", "x to", "y", {}),
        ],
        IMAGE,
        constants={"zero": np.int64(0), "first": whole(0), "rest": whole(-1)},
    ),
    "constants computed": file(
        [
            ("Constant", "", "c", {"value": onnx.numpy_helper.from_array(real(1, 2, 3))}),
            ("ConstantOfShape", "s", "o", {"value": onnx.numpy_helper.from_array(real(0.5))}),
            ("Mul", "c o", "w", {}),
            ("Exp", "w", "e", {}),
            ("Add", "x e", "y", {}),
        ],
        ("n", 3),
        constants={"s": whole(3)},
    ),
    "constants as inputs": file(
        [("Sub", "x m", "v", {}), ("MatMul", "v w", "y", {})], (1, 3), constants={"m": weights(1, 3), "w": weights(3, 2)}, named_inputs=True
    ),
    "without a batch": file([("MatMul", "w x", "v", {}), ("Relu", "v", "y", {})], (5, 1), (4, 1), constants={"w": weights(4, 5)}),
    "without a batch, as many in as out": file(
        [("MatMul", "w x", "v", {}), ("Add", "v c", "y", {})], (4, 1), (4, 1), constants={"w": weights(4, 4), "c": weights(4, 1)}
    ),
    "one row of numbers": file([("MatMul", "x w", "y", {})], (5,), (3,), constants={"w": weights(5, 3)}),
    "a batch of one": file(
        [("Squeeze", "x a", "v", {}), ("MatMul", "v w", "r", {}), ("Reshape", "r s", "y", {})],
        (1, 1, 1, 5),
        (1, 3),
        constants={"a": whole(0, 1, 2), "w": weights(5, 3), "s": whole(1, 3)},
    ),
    "a batch of four": file([("Reshape", "x s", "v", {}), ("MatMul", "v w", "y", {})], (4, 2, 3), (4, 2), constants={"s": whole(4, 6), "w": weights(6, 2)}),
    "double": file([("MatMul", "x w", "v", {}), ("Relu", "v", "y", {})], ("n", 5), constants={"w": weights(5, 3).astype(float)}, kind=kinds.DOUBLE),
}


def asked(content, x):
    """onnxruntime's answers, in batches as the file wants them."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (taken,) = [each for each in session.get_inputs() if each.name == "x"]
    fed = x.numpy().astype(np.float64 if "double" in taken.type else np.float32)
    if fed.ndim > len(taken.shape):
        batches = list(fed)
    else:
        rows = taken.shape[0] if isinstance(taken.shape[0], int) else len(fed)
        batches = [fed[start : start + rows] for start in range(0, len(fed), rows)]
    return torch.from_numpy(np.concatenate([session.run(None, {"x": batch})[0].ravel() for batch in batches])).double()


@pytest.mark.parametrize("name", FILES)
def test_operators(name):
    built = import_onnx(FILES[name])
    shape = built.network.input_shape
    scale = torch.tensor([0.01, 0.5, 1, 1, 2, 3, 10, 100], dtype=torch.float64).reshape(-1, *[1] * len(shape))
    x = (torch.randn(8, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) * scale).float()
    truth = asked(FILES[name], x)
    found = built.answer(x.double()).flatten()
    assert found.shape == truth.shape
    assert (found - truth).abs().max() <= 1e-5 * truth.abs().max()


def test_layers_are_folded():
    content = file(
        [
            ("Conv", "x w", "c", {}),
            ("BatchNormalization", "c s b m v", "n", {}),
            ("Relu", "n", "r", {}),
            ("Flatten", "r", "f", {}),
            ("MatMul", "f u", "p", {}),
            ("Add", "p d", "y", {}),
        ],
        ("n", 1, 3, 3),
        constants={"w": weights(2, 1, 2, 2), "s": weights(2), "b": weights(2), "m": weights(2), "v": weights(2) ** 2, "u": weights(8, 3), "d": weights(3)},
    )
    kinds_found = [type(node.operator) for node in from_onnx(content).nodes]
    assert [kinds_found.count(kind) for kind in (Conv, Scale, Relu, Linear)] == [1, 0, 1, 1]


def test_packed_files(tmp_path):
    path = tmp_path / "net.onnx.gz"
    path.write_bytes(gzip.compress(FILES["gemm"]))
    assert from_onnx(path).fingerprint == from_onnx(FILES["gemm"]).fingerprint == from_onnx(str(path)).fingerprint


def test_open_shapes_can_be_given():
    content = file([("Relu", "x", "v", {}), ("GlobalAveragePool", "v", "m", {}), ("Flatten", "m", "y", {})], ("n", 2, "high", "wide"))
    with pytest.raises(LoadError, match="give the shape of one input"):
        from_onnx(content)
    assert from_onnx(content, shape=(2, 3, 5)).input_shape == (2, 3, 5)
    with pytest.raises(LoadError, match=r"takes inputs .*, not \[3, 3, 5\]"):
        from_onnx(content, shape=(3, 3, 5))


def test_a_fixed_batch_and_a_given_shape():
    assert from_onnx(FILES["a batch of four"], shape=(2, 3)).input_shape == (2, 3)
    assert from_onnx(FILES["without a batch"], shape=(5, 1)).input_shape == (5, 1)


def two(inputs, outputs):
    values = {name: make.make_tensor_value_info(name, kinds.FLOAT, ["n", 3]) for name in "xzyw"}
    nodes = [make.make_node("Add", ["x", inputs[-1]], ["y"]), make.make_node("Relu", ["y"], ["w"])]
    graph = make.make_graph(nodes, "g", [values[name] for name in inputs], [values[name] for name in outputs])
    return make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8).SerializeToString()


REFUSED = {
    "empty": (b"", LoadError, "empty"),
    "text": (b"not a network at all", LoadError, "not an ONNX (network|file)"),
    "cut": (FILES["convolution"][:-40], LoadError, "not an ONNX (network|file)"),
    "damaged gzip": (gzip.compress(FILES["gemm"])[:-12], LoadError, "truncated gzip"),
    "too new": (one("Relu", opset=17).replace(b"\x10\x11", b"\x10\x7f"), LoadError, "not an ONNX (network|file)"),
    "unknown operator": (one("Erf"), Unsupported, r"operator Erf \(node out, 1 of 2\) has no bound: supported are Abs, Add, .*Relu"),
    "two inputs": (two("xz", "w"), Unsupported, r"2 inputs \(x, z\)"),
    "two outputs": (two("x", "yw"), Unsupported, r"2 outputs \(y, w\)"),
    "input over input": (one("Div", "x x"), Unsupported, "division by a value that depends"),
    "softmax inside": (
        file([("Softmax", "x", "v", {}), ("Relu", "v", "y", {})], ("n", 3)),
        Unsupported,
        "operator Relu .*softmax is supported only at the end",
    ),
    "softmax of rows": (one("Softmax", taken=("n", 2, 3), axis=-1), Unsupported, "over the classes"),
    "over the batch": (file([("ReduceMean", "x", "m", {"axes": [0]}), ("Sub", "x m", "y", {})], ("n", 3)), Unsupported, "alone than in a batch"),
    "whole numbers": (
        file([("Cast", "x", "v", {"to": kinds.INT64}), ("Cast", "v", "y", {"to": kinds.FLOAT})], ("n", 3)),
        Unsupported,
        "operator Cast .*not continuous",
    ),
    "gather by the input": (
        file([("Shape", "x", "s", {}), ("Cast", "s", "y", {"to": kinds.FLOAT})], ("n", 3), (2,)),
        Unsupported,
        "does not depend on its input",
    ),
    "image": (file([("Relu", "x", "y", {})], IMAGE, IMAGE), Unsupported, "one row of scores"),
    "a product of matrices": (one("MatMul", "x x", taken=("n", 3, 3)), Unsupported, "both depend on the input"),
    "three axes": (one("Conv", "x w", taken=("n", 1, 2, 2, 2), constants={"w": weights(1, 1, 1, 1, 1)}), Unsupported, "one or two are supported"),
    "cube": (one("Pow", "x c", constants={"c": np.float32(3)}), Unsupported, "only squares"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    content, kind, sentence = REFUSED[case]
    with pytest.raises(kind, match=sentence):
        from_onnx(content)


def test_missing_file(tmp_path):
    with pytest.raises(LoadError, match="does not exist"):
        from_onnx(tmp_path / "nothing.onnx")


def test_a_wrong_reading_is_refused(monkeypatch):
    from sparring.graph import onnx_operators

    monkeypatch.setitem(onnx_operators.READERS, "LeakyRelu", lambda call: call.builder.leaky_relu(call.edge(), 0.31))
    with pytest.raises(LoadError, match=r"was imported wrongly: .* differ by [0-9.e-]+ where"):
        from_onnx(FILES["leaky"])
