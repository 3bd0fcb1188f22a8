"""Whole-number arithmetic in ONNX files that would end the process: onnxruntime leaves some divisions to the processor, which stops the program."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from sparring.core.errors import LoadError

DIVISIONS = frozenset({"Div", "Mod"})
AT_LEAST_ONE = frozenset({"strides", "dilations", "kernel_shape", "group", "blocksize", "block_size", "num_groups", "num_heads", "size"})
"""Settings by which an operator divides."""


def check_arithmetic(proto: Any, nodes: Iterable[Any], name: str) -> None:
    """Refuse divisions of whole numbers that would end the process.

    Args:
        proto: The file.
        nodes: All its operators, those of inner graphs and functions included.
        name: What the file is called, for errors.

    Raises:
        LoadError: Names the operator.
    """
    nodes = list(nodes)
    divisions = [node for node in nodes if node.op_type in DIVISIONS and len(node.input) == 2]
    for node in nodes:
        for one in node.attribute:
            if one.name in AT_LEAST_ONE and min([one.i] if one.type == 2 else list(one.ints), default=1) < 1:
                raise LoadError(f"{name}: {node.op_type} {node.name[:80]!r} has {one.name}={list(one.ints) or one.i}: numbers of at least 1 are possible")
    if not divisions:
        return
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    constants |= {node.output[0]: one.t for node in nodes if node.op_type == "Constant" and node.output for one in node.attribute if one.name == "value"}
    doubtful = [node for node in divisions if not _sound(constants.get(node.input[1]))]
    if not doubtful:
        return
    real = _real(proto)
    for node in doubtful:
        if node.input[1] not in real and node.input[0] not in real:
            raise LoadError(
                f"{name}: {node.op_type} {node.name[:80]!r} may divide whole numbers by zero or -1, which would end the program: use a positive constant"
            )


def _sound(divisor: Any) -> bool:
    """Whether a constant divides without harm: real numbers, and whole ones of at least 1."""
    from onnx import numpy_helper

    if divisor is None:
        return False
    try:
        values = np.asarray(numpy_helper.to_array(divisor))
    except (ValueError, TypeError, KeyError):
        return False
    return values.dtype.kind == "f" or (values.dtype.kind in "iu" and bool((values >= 1).all()))


def _real(proto: Any) -> set[str]:
    """The names of values that hold real numbers, by the types that follow from the operators; constants are left out, for speed."""
    import onnx

    bare = onnx.ModelProto()
    bare.CopyFrom(proto)
    for tensor in bare.graph.initializer:
        if tensor.ByteSize() > 10_000:
            value = bare.graph.input.add()
            value.CopyFrom(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    small = [tensor for tensor in bare.graph.initializer if tensor.ByteSize() <= 10_000]
    del bare.graph.initializer[:]
    bare.graph.initializer.extend(small)
    try:
        bare = onnx.shape_inference.infer_shapes(bare)
    except Exception:  # onnx's errors share no base class; nothing is known then
        return set()
    kinds = {onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
    graphs = [bare.graph]
    known: set[str] = set()
    for graph in graphs:  # grows meanwhile
        typed = [*graph.value_info, *graph.input, *graph.output]
        known |= {one.name for one in typed if one.type.tensor_type.elem_type in kinds}
        known |= {one.name for one in graph.initializer if one.data_type in kinds}
        graphs += [inner for node in graph.node for one in node.attribute for inner in ((one.g,) if one.g.node else ()) + tuple(one.graphs)]
    return known
