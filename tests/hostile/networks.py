"""Hostile ONNX networks and the files of their weights."""

import gzip
import random

import numpy as np
import onnx
from hostile.writer import SEED, bomb
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


def constant(name: str, value: object, kind: object = np.int64) -> TensorProto:
    """Return a constant of the network."""
    return numpy_helper.from_array(np.asarray(value, dtype=kind), name)


def network(nodes: list, constants: list = (), *, columns: int = 4, opset: int = 17, functions: list = (), outputs: tuple = ("y",)) -> onnx.ModelProto:
    """Return a network from x [n, columns] to y."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", FLOAT, ["n", columns])],
        [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs],
        list(constants),
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("local", 1), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=list(functions))


def honest() -> onnx.ModelProto:
    """Return a small network of two layers."""
    rng = np.random.default_rng(0)
    first, last = rng.normal(size=(4, 8)), rng.normal(size=(8, 3))
    nodes = [helper.make_node("MatMul", ["x", "a"], ["h"]), helper.make_node("Relu", ["h"], ["r"]), helper.make_node("MatMul", ["r", "b"], ["y"])]
    return network(nodes, [constant("a", first, np.float32), constant("b", last, np.float32)])


def write(writer) -> None:
    """Write the files of this room."""
    plain = honest().SerializeToString()
    writer.bent("onnx", plain, ".onnx", cuts=6, flips=30)
    writer.add("onnx", "packed", gzip.compress(plain), ".onnx.gz")
    writer.add("onnx", "packed-cut", gzip.compress(plain)[:60], ".onnx.gz")
    writer.add("onnx", "bomb", bomb(1 << 29), ".onnx.gz")
    for name, content in grown().items():
        writer.add("onnx", name, content.SerializeToString(), ".onnx")
    for name, content in lying().items():
        writer.add("onnx", name, content.SerializeToString(), ".onnx")
    rng = random.Random(SEED)
    for number in range(15):
        changed = honest()
        for tensor in rng.sample(list(changed.graph.initializer), 1):
            tensor.dims[:] = [rng.choice((-1, 0, 1, 2**31, 2**62, 8)) for _ in range(rng.randrange(4))]
        writer.add("onnx", f"dims-{number}", changed.SerializeToString(), ".onnx")
    outside(writer)


def added(nodes: list, constants: list = (), last: str = "r", **more: object) -> onnx.ModelProto:
    """Return a network that adds a number to x, which its nodes compute as `last`."""
    return network([*nodes, helper.make_node("Add", ["x", last], ["y"])], constants, **more)


def grown() -> dict[str, onnx.ModelProto]:
    """Return networks that compute values without end."""
    node = helper.make_node
    inner = helper.make_graph(
        [node("Identity", ["going"], ["on"]), node("Identity", ["value"], ["same"])],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", FLOAT, None),
        ],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, []), helper.make_tensor_value_info("same", FLOAT, None)],
    )
    turns, yes, one = constant("turns", 2**62), constant("yes", True, np.bool_), constant("one", [1.0], np.float32)
    calls = [
        helper.make_function(
            "local",
            f"f{k}",
            ["i"],
            ["o"],
            [
                node(f"f{k - 1}" if k else "Relu", ["i" if j == 0 else f"t{j}"], ["o" if j == 9 else f"t{j + 1}"], domain="local" if k else "")
                for j in range(10)
            ],
            [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)],
        )
        for k in range(9)
    ]
    itself = helper.make_function("local", "me", ["i"], ["o"], [node("me", ["i"], ["o"], domain="local")], [helper.make_opsetid("local", 1)])
    deep: onnx.GraphProto | None = None
    for level in range(40):
        body = [node("Identity", ["x"], [f"o{level}"])] if deep is None else [node("If", ["yes"], [f"o{level}"], then_branch=deep, else_branch=deep)]
        deep = helper.make_graph(body, f"level{level}", [], [helper.make_tensor_value_info(f"o{level}", FLOAT, None)])
        if level > 9:
            break
    top = [node("ReduceMax", ["big"], ["r"], keepdims=0)]
    return {
        "constant-of-shape": added([node("ConstantOfShape", ["s"], ["big"]), *top], [constant("s", [2**30])]),
        "constant-of-shape-2-62": added([node("ConstantOfShape", ["s"], ["big"]), *top], [constant("s", [2**31, 2**31])]),
        "expand": added([node("Expand", ["one", "s"], ["big"]), *top], [one, constant("s", [2**30])]),
        "expand-input": network(
            [node("Unsqueeze", ["x", "a"], ["u"]), node("Expand", ["u", "s"], ["big"]), node("ReduceMax", ["big"], ["y"], axes=[2], keepdims=0)],
            [constant("a", [2]), constant("s", [1, 1, 2**28])],
        ),
        "range": added(
            [node("Range", ["a", "b", "d"], ["big"]), node("ReduceSum", ["big"], ["q"], keepdims=0), node("Cast", ["q"], ["r"], to=1)],
            [constant("a", 0), constant("b", 2**40), constant("d", 1)],
        ),
        "range-by-input": added(
            [
                node("ReduceSum", ["x"], ["q"], keepdims=0),
                node("Mul", ["q", "z"], ["p"]),
                node("Add", ["p", "k"], ["e"]),
                node("Cast", ["e"], ["b"], to=7),
                node("Range", ["a", "b", "d"], ["big"]),
                node("ReduceSum", ["big"], ["t"], keepdims=0),
                node("Cast", ["t"], ["r"], to=1),
            ],
            [constant("z", 0, np.float32), constant("k", 2**30, np.float32), constant("a", 0), constant("d", 1)],
        ),
        "tile": added([node("Tile", ["one", "s"], ["big"]), *top], [one, constant("s", [2**30])]),
        "tile-input": network([node("Tile", ["x", "s"], ["big"]), node("ReduceMax", ["big"], ["y"], axes=[1])], [constant("s", [1, 2**27])]),
        "pad": network([node("Pad", ["x", "s"], ["big"]), node("ReduceMax", ["big"], ["y"], axes=[1])], [constant("s", [0, 0, 0, 2**30])]),
        "concat": network(
            [
                node("Concat", ["x", "x"], ["a0"], axis=1),
                *[node("Concat", [f"a{k}"] * 2, [f"a{k + 1}"], axis=1) for k in range(30)],
                node("ReduceMax", ["a30"], ["y"], axes=[1]),
            ]
        ),
        "sums": network([node("Add", ["x", "x"], ["a0"]), *[node("Add", [f"a{k}"] * 2, [f"a{k + 1}" if k < 999 else "y"]) for k in range(1000)]]),
        "chain": network([node("Relu", ["x" if k == 0 else f"v{k}"], [f"v{k + 1}" if k < 59_999 else "y"]) for k in range(60_000)]),
        "chain-allowed": network([node("Relu" if k % 2 else "Neg", ["x" if k == 0 else f"v{k}"], [f"v{k + 1}" if k < 9_999 else "y"]) for k in range(10_000)]),
        "loop": network([node("Loop", ["turns", "yes", "x"], ["y"], body=inner)], [turns, yes]),
        "loop-constant": added([node("Loop", ["turns", "yes", "one"], ["r"], body=inner)], [turns, yes, one]),
        "if-nested": network([node("If", ["yes"], ["y"], then_branch=deep, else_branch=deep)], [yes]),
        "functions": network([node("f8", ["x"], ["y"], domain="local")], functions=calls),
        "function-itself": network([node("me", ["x"], ["y"], domain="local")], functions=[itself]),
        "matmul": added(
            [
                node("ConstantOfShape", ["s"], ["big"], value=numpy_helper.from_array(np.ones(1, np.float32))),
                *[node("MatMul", ["big" if k == 0 else f"m{k}", "big"], [f"m{k + 1}"]) for k in range(900)],
                node("ReduceMax", ["m900"], ["r"], keepdims=0),
            ],
            [constant("s", [2000, 2000])],
        ),
        "one-hot": network(
            [node("Cast", ["x"], ["i"], to=7), node("OneHot", ["i", "depth", "values"], ["big"]), node("ReduceMax", ["big"], ["y"], axes=[2], keepdims=0)],
            [constant("depth", 2**30), constant("values", [0, 1], np.float32)],
        ),
        "resize": network(
            [node("Unsqueeze", ["x", "a"], ["u"]), node("Resize", ["u", "", "k"], ["big"]), node("ReduceMax", ["big"], ["y"], axes=[2, 3], keepdims=0)],
            [constant("a", [1, 2]), constant("k", [1, 1, 1e5, 1e5], np.float32)],
        ),
        "eye": added([node("ConstantOfShape", ["s"], ["o"]), node("EyeLike", ["o"], ["big"], dtype=1), *top], [constant("s", [2**15, 2**15])]),
        "random": added([node("RandomNormal", [], ["big"], shape=[2**30]), *top]),
        "pool-pads": network(
            [
                node("Unsqueeze", ["x", "a"], ["u"]),
                node("MaxPool", ["u"], ["w"], kernel_shape=[1, 2**31 - 1], pads=[0, 2**30, 0, 2**30]),
                node("ReduceMax", ["w"], ["y"], axes=[2, 3], keepdims=0),
            ],
            [constant("a", [1, 2])],
        ),
        **{
            f"zero-{key}-{kind}": network(
                [node("Unsqueeze", ["x", "a"], ["u"]), node(kind, ["u", *more], ["w"], **{**usual, key: value}), node("Flatten", ["w"], ["y"])],
                [constant("a", [1, 2]), constant("k", np.ones((1, 1, 1, 1)), np.float32), constant("c", [1.0], np.float32)],
            )
            for kind, more, usual, keys in (
                ("Conv", ["k"], {"kernel_shape": [1, 1]}, {"strides": [0, 0], "dilations": [0, 0], "group": 0, "kernel_shape": [0, 0]}),
                ("MaxPool", [], {"kernel_shape": [1, 1]}, {"strides": [0, 0], "dilations": [0, 0], "kernel_shape": [0, 0]}),
                ("AveragePool", [], {"kernel_shape": [1, 1]}, {"strides": [0, 0], "kernel_shape": [0, -1]}),
                ("ConvTranspose", ["k"], {"kernel_shape": [1, 1]}, {"strides": [0, 0], "group": 0}),
                ("DepthToSpace", [], {"blocksize": 1}, {"blocksize": 0}),
                ("SpaceToDepth", [], {"blocksize": 1}, {"blocksize": 0}),
                ("LRN", [], {"size": 1}, {"size": 0}),
            )
            for key, value in keys.items()
        },
        "concat-constants": added(
            [
                node("Concat", ["one", "one"], ["a0"], axis=0),
                *[node("Concat", [f"a{k}"] * 2, [f"a{k + 1}"], axis=0) for k in range(31)],
                node("ReduceMax", ["a31"], ["r"], keepdims=0),
            ],
            [one],
        ),
        "outer": added(
            [node("Add", ["p", "q"], ["big"]), *top], [constant("p", np.ones((2**15, 1)), np.float32), constant("q", np.ones((1, 2**16)), np.float32)]
        ),
        "gather-constants": added(
            [node("Gather", ["p", "i"], ["big"]), *top], [constant("p", np.ones((1, 2**14)), np.float32), constant("i", np.zeros(2**17))]
        ),
        "mod-zero": added([node("Mod", ["a", "z"], ["q"]), node("Cast", ["q"], ["r"], to=1)], [constant("a", 1), constant("z", 0)]),
        "mod-smallest": added([node("Mod", ["a", "z"], ["q"]), node("Cast", ["q"], ["r"], to=1)], [constant("a", -(2**63)), constant("z", -1)]),
        "divide-by-input": network([node("Cast", ["x"], ["i"], to=7), node("Div", ["i", "i"], ["q"]), node("Cast", ["q"], ["y"], to=1)]),
        "einsum": network([node("Einsum", ["x", "x"], ["y"], equation="ab,cd->" + "abcd" * 1000)]),
        "gather": network([node("Gather", ["x", "i"], ["y"], axis=1)], [constant("i", [2**62, -(2**62), 0])]),
        "slice": network(
            [node("Slice", ["x", "s", "e", "a", "t"], ["y"])], [constant("s", [-(2**62)]), constant("e", [2**62]), constant("a", [1]), constant("t", [2**62])]
        ),
        "split": network([node("Split", ["x", "s"], ["y"], axis=1)], [constant("s", [2**62])]),
        "reshape": network([node("Reshape", ["x", "s"], ["y"])], [constant("s", [2**62, -1])]),
        "cumsum": network([node("CumSum", ["x", "a"], ["y"])], [constant("a", 2**31)]),
        "divide-by-zero": network([node("Cast", ["x"], ["i"], to=7), node("Div", ["i", "z"], ["q"]), node("Cast", ["q"], ["y"], to=1)], [constant("z", 0)]),
        "divide-constants": added([node("Div", ["a", "z"], ["q"]), node("Cast", ["q"], ["r"], to=1)], [constant("a", 1), constant("z", 0)]),
        "divide-smallest": added([node("Div", ["a", "z"], ["q"]), node("Cast", ["q"], ["r"], to=1)], [constant("a", -(2**63)), constant("z", -1)]),
    }


def lying() -> dict[str, onnx.ModelProto]:
    """Return networks that say something wrong about themselves."""
    found = {}

    def changed(name: str) -> onnx.ModelProto:
        found[name] = honest()
        return found[name]

    changed("no-type").graph.initializer[0].data_type = 0
    changed("strange-type").graph.initializer[0].data_type = 999
    changed("type-of-strings").graph.initializer[0].data_type = TensorProto.STRING
    changed("type-of-4-bits").graph.initializer[0].data_type = TensorProto.INT4
    changed("short-data").graph.initializer[0].raw_data = b"\0"
    changed("name-twice").graph.initializer.append(honest().graph.initializer[0])
    changed("no-nodes").graph.ClearField("node")
    changed("no-output").graph.ClearField("output")
    changed("no-input").graph.ClearField("input")
    changed("opset").opset_import[0].version = 2**62
    changed("ir").ir_version = 2**62
    changed("circle").graph.node[0].input[0] = "y"
    changed("missing").graph.node[0].input[0] = "nowhere"
    changed("domain").graph.node[1].domain = "evil.ops"
    changed("operator").graph.node[1].op_type = "PyOp"
    changed("long-names").graph.node[1].name = "n" * 10**6
    changed("escape-names").graph.node[1].name = "\x1b]0;x\x07\n[red]"
    changed("huge-input").graph.input[0].type.tensor_type.shape.dim[1].dim_value = 2**62
    changed("negative-input").graph.input[0].type.tensor_type.shape.dim[1].dim_value = -4
    changed("batch-2-40").graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2**40
    changed("batch-1e6").graph.input[0].type.tensor_type.shape.dim[0].dim_value = 10**6
    changed("string-input").graph.input[0].type.tensor_type.elem_type = TensorProto.STRING
    changed("no-shape").graph.input[0].type.tensor_type.ClearField("shape")
    changed("training").training_info.add().initialization.CopyFrom(honest().graph)
    sparse = changed("sparse").graph.sparse_initializer.add()
    sparse.dims.extend([2**40, 2**20])
    sparse.values.CopyFrom(constant("s", [1.0], np.float32))
    sparse.indices.CopyFrom(constant("", [0]))
    changed("attribute-tensor").graph.node[1].attribute.append(helper.make_attribute("alpha", constant("t", np.zeros((2, 2)), np.float32)))
    ctx = changed("context").graph.node[1]
    ctx.op_type, ctx.domain = "EPContext", "com.microsoft"
    ctx.attribute.extend([helper.make_attribute("ep_cache_context", "../../CANARY"), helper.make_attribute("embed_mode", 0)])
    return found


def outside(writer) -> None:
    """Write networks whose weights stand in files beside them."""

    def kept(name: str, **entries: str) -> None:
        content = honest()
        tensor = content.graph.initializer[0]
        (writer.folder / "beside.bin").write_bytes(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in entries.items():
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value
        writer.add("onnx", f"outside-{name}", content.SerializeToString(), ".onnx")

    for link, to in (("link.bin", "/etc/passwd"), ("folder", "/etc")):
        if not (writer.folder / link).is_symlink():
            (writer.folder / link).symlink_to(to)
    for name, entries in {
        "honest": {"location": "beside.bin"},
        "parent": {"location": "../beside.bin"},
        "absolute": {"location": "/etc/passwd"},
        "device": {"location": "/dev/zero"},
        "link": {"location": "link.bin"},
        "folder-link": {"location": "folder/passwd"},
        "itself": {"location": "."},
        "missing": {"location": "nowhere.bin"},
        "nul": {"location": "beside.bin\0x"},
        "empty": {"location": ""},
        "offset": {"location": "beside.bin", "offset": "9" * 400},
        "negative": {"location": "beside.bin", "offset": "-4", "length": "4"},
        "length": {"location": "beside.bin", "length": str(2**62)},
        "backslash": {"location": "..\\beside.bin"},
        "address": {"location": "http://127.0.0.1:9/x"},
        "long": {"location": "x" * 10_000},
        "superscript": {"location": "beside.bin", "offset": "²"},
    }.items():
        kept(name, **entries)
