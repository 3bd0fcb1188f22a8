"""Cheaper graphs of the same function: batch norms folded, pooling before ReLU, ReLU in place."""

import inspect
import itertools
import logging
import operator
import random
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.autograd.function import once_differentiable
from torch.nn.utils.fusion import fuse_conv_bn_eval

log = logging.getLogger(__name__)

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
FRESH_OUTPUT = (*CONVOLUTIONS, *BATCH_NORMS, nn.Linear, nn.MaxPool2d)


def simplified(module: nn.Module, _: Tensor) -> nn.Module:
    """Fold batch normalisation into convolutions and, in traceable models, simplify ReLUs."""
    traced = _traced(module)
    if traced is None:
        for part in module.modules():
            if type(part) is nn.Sequential:
                _fold_sequential(part)
        return module
    for rewrite in (_fold_graph, _pool_before_relu, _relu_in_place):
        for node in list(traced.graph.nodes):
            rewrite(traced, node)
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced


def _traced(module: nn.Module) -> fx.GraphModule | None:
    """The module as a graph, or None where its path depends on values or chance."""
    options = list(inspect.signature(module.forward).parameters.values())[1:]
    fixed = {option.name: option.default for option in options if option.default is not inspect.Parameter.empty}
    before = _random_states()
    try:
        traced = fx.symbolic_trace(module, concrete_args=fixed or None)
    except Exception as error:
        log.debug("%s cannot be traced: %s", type(module).__name__, error)
        return None
    return traced if _random_states() == before else None  # what was drawn while tracing would stay fixed


def _random_states() -> tuple[bytes, object, bytes]:
    return torch.get_rng_state().numpy().tobytes(), random.getstate(), repr(np.random.get_state()).encode()


def _fold_sequential(sequence: nn.Sequential) -> None:
    layers = list(sequence)
    for index, (layer, after) in enumerate(itertools.pairwise(layers)):
        if type(layer) in CONVOLUTIONS and _folds(after):
            sequence[index], sequence[index + 1] = _folded(layer, after), nn.Identity()


def _folds(module: nn.Module | None) -> bool:
    return isinstance(module, BATCH_NORMS) and type(module) in BATCH_NORMS and module.running_mean is not None


def _folded(convolution: nn.Module, norm: nn.Module | None) -> nn.Module:
    assert isinstance(convolution, CONVOLUTIONS)  # both are the caller's checks, repeated for the type checker
    assert isinstance(norm, BATCH_NORMS)
    return fuse_conv_bn_eval(convolution, norm)


def _layer(graph: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    return graph.get_submodule(str(node.target)) if node.op == "call_module" else None


def _fold_graph(graph: fx.GraphModule, node: fx.Node) -> None:
    if not _folds(_layer(graph, node)):
        return
    before = node.args[0] if node.args else None
    if not isinstance(before, fx.Node) or len(before.users) > 1:
        return
    convolution = _layer(graph, before)
    if convolution is None or type(convolution) not in CONVOLUTIONS:
        return
    name = f"folded_{before.name}"  # its own name: the convolution may be called elsewhere too
    graph.add_submodule(name, _folded(convolution, _layer(graph, node)))
    before.target = name
    node.replace_all_uses_with(before)
    graph.graph.erase_node(node)


def _is_relu(graph: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return type(_layer(graph, node)) is nn.ReLU
    return node.target in (F.relu, torch.relu, torch.relu_) or (node.op == "call_method" and node.target == "relu")


def _pool_before_relu(graph: fx.GraphModule, node: fx.Node) -> None:
    """The maximum of rectified values is the rectified maximum, on fewer values."""
    relu = node.args[0] if node.args else None
    pool = _layer(graph, node)
    if type(pool) is not nn.MaxPool2d or pool.return_indices or not isinstance(relu, fx.Node):
        return
    if not _is_relu(graph, relu) or len(relu.users) > 1:
        return
    node.replace_input_with(relu, relu.args[0])  # pyright: ignore[reportArgumentType]
    graph.graph.erase_node(relu)
    with graph.graph.inserting_after(node):
        after = graph.graph.call_function(torch.relu, (node,))
    node.replace_all_uses_with(after, delete_user_cb=lambda user: user is not after)


def _relu_in_place(graph: fx.GraphModule, node: fx.Node) -> None:
    before = node.args[0] if node.args else None
    if not _is_relu(graph, node) or not isinstance(before, fx.Node) or len(before.users) > 1:
        return
    if type(_layer(graph, before)) in FRESH_OUTPUT or before.target in (operator.add, torch.add):
        with graph.graph.inserting_after(node):
            after = graph.graph.call_function(_relu_, (before,))
        node.replace_all_uses_with(after)
        graph.graph.erase_node(node)


def _relu_(x: Tensor) -> Tensor:
    """A ReLU in place that hands gradients on in the layout of its output; pooling and means tend to lose it."""
    if x.ndim == 4 and x.requires_grad and torch.is_grad_enabled() and not x.is_contiguous():
        return _LayoutKeepingReLU.apply(x)  # pyright: ignore[reportReturnType]
    return torch.relu_(x)


class _LayoutKeepingReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # pyright: ignore
        ctx.mark_dirty(x)
        ctx.save_for_backward(torch.relu_(x))
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:  # pyright: ignore
        (y,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(g.contiguous(memory_format=torch.channels_last), y, 0)
