"""Networks and properties so small that the answers are known by hand."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def write_network(path, *layers, softmax=False):
    """An ONNX file of linear layers (weight [out, in], bias [out]) with ReLU between them."""
    nodes, constants, here = [], [], "x"
    for number, (weight, bias) in enumerate(layers):
        for name, value in ((f"w{number}", weight), (f"b{number}", bias)):
            constants.append(numpy_helper.from_array(np.array(value, np.float32), name))
        nodes.append(helper.make_node("Gemm", [here, f"w{number}", f"b{number}"], [f"z{number}"], transB=1))
        here = f"z{number}"
        if number + 1 < len(layers):
            nodes.append(helper.make_node("Relu", [here], [f"a{number}"]))
            here = f"a{number}"
    if softmax:
        nodes.append(helper.make_node("Softmax", [here], ["p"], axis=1))
        here = "p"
    inputs, outputs = len(layers[0][0][0]), len(layers[-1][0])
    taken = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, inputs])
    given = helper.make_tensor_value_info(here, TensorProto.FLOAT, [1, outputs])
    graph = helper.make_graph(nodes, "small", [taken], [given], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def absolute(path):
    """y = |x| for one number x."""
    return write_network(path, ([[1.0], [-1.0]], [0.0, 0.0]), ([[1.0, 1.0]], [0.0]))


def identity(path):
    """y = x for one number x."""
    return write_network(path, ([[1.0]], [0.0]))


def write_property(path, low, high, rule, inputs=1, outputs=1):
    """low <= X_i <= high for all inputs, and a rule, as VNN-LIB text."""
    names = [f"X_{i}" for i in range(inputs)]
    declared = "\n".join(f"(declare-const {name} Real)" for name in (*names, *(f"Y_{i}" for i in range(outputs))))
    box = "\n".join(f"(assert (>= {name} {low}))\n(assert (<= {name} {high}))" for name in names)
    path.write_text(f"{declared}\n{box}\n(assert {rule})\n")
    return path
