"""One ONNX operator by itself, in onnxruntime and in ours."""

import numpy as np
import onnxruntime
import torch
from onnx import helper, numpy_helper

from sparring.graph.onnx_module import Step


def both(operator, inputs, outputs, opset, **settings):
    """What onnxruntime and what our functions make of an operator: two lists of arrays.

    inputs: arrays by name in the order of the operator; the first varies, the others are constants, and None is one that is left out.
    """
    names = [name if value is not None else "" for name, value in inputs.items()]
    while not names[-1]:
        names.pop()
    (first, x), *constants = ((name, inputs[name]) for name in names if name)
    node = helper.make_node(operator, names, outputs, **settings)
    ends = [helper.make_tensor_value_info(first, 1, x.shape)], [helper.make_tensor_value_info(name, 1, None) for name in outputs]
    graph = helper.make_graph([node], "one", *ends, [numpy_helper.from_array(value, name) for name, value in constants])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    quiet = onnxruntime.SessionOptions()
    quiet.log_severity_level = 4
    truth = onnxruntime.InferenceSession(model.SerializeToString(), quiet, providers=["CPUExecutionProvider"]).run(None, {first: x})
    return truth, ours(node, {name: torch.from_numpy(np.array(inputs[name])) for name in names if name}, opset)


def ours(node, values, opset):
    """The outputs of our function of an operator."""
    known = {**values, "": None}
    Step(node.op_type, list(node.input), list(node.output), {one.name: helper.get_attribute_value(one) for one in node.attribute}, opset, "here").run(known)
    return [known[name].numpy() for name in node.output]
