"""How each ONNX operator is built, with the differences between opsets."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparring.graph.builder import Builder, Edge, Unsupported, Value
from sparring.graph.pools import avg_pool, max_over, max_pool


@dataclass(frozen=True, eq=False)
class Call:
    """Represent one node of the file.

    inputs: None where one is left out; outputs: how many are used.
    """

    builder: Builder
    operator: str
    inputs: Sequence[Value | None]
    settings: dict[str, Any]
    outputs: int
    opset: int

    def edge(self, place: int = 0) -> Edge:
        """Return the input at this place, which depends on the network's input."""
        value = self.inputs[place]
        if not isinstance(value, Edge):
            raise Unsupported(f"its input {place} is constant while its settings depend on the input of the network")
        return value

    def value(self, place: int) -> Value:
        """Return the input at this position; raise Unsupported if it is missing."""
        value = self.inputs[place]
        if value is None:
            raise Unsupported(f"its input {place} is missing")
        return value

    def constant(self, place: int, what: str) -> Tensor | None:
        """Return the constant input at this position, or None."""
        value = self.inputs[place] if place < len(self.inputs) else None
        if isinstance(value, Edge):
            raise Unsupported(f"its {what} depends on the input of the network")
        return value

    def numbers(self, place: int, what: str, since: int = 0) -> list[int] | None:
        """Return whole numbers that are an input since some opset and a setting before."""
        if self.opset < since or what in self.settings:
            found = self.settings.get(what)
            return None if found is None else [int(each) for each in found]
        found = self.constant(place, what)
        return None if found is None else [int(each) for each in found.flatten()]


OnnxReader = Callable[[Call], Any]

READERS: dict[str, OnnxReader] = {}
"""By the name of the operator."""


def reads(*names: str) -> Callable[[OnnxReader], OnnxReader]:
    """Return the function reads the ONNX operators of these names."""

    def enter(reader: OnnxReader) -> OnnxReader:
        READERS.update(dict.fromkeys(names, reader))
        return reader

    return enter


# number by number

READERS["Relu"] = lambda call: call.builder.relu(call.edge())
READERS["Sigmoid"] = lambda call: call.builder.sigmoid(call.edge())
READERS["Tanh"] = lambda call: call.builder.tanh(call.edge())
READERS["Abs"] = lambda call: call.builder.abs(call.edge())
READERS["Neg"] = lambda call: call.builder.scale(call.edge(), -1.0)
READERS["Add"] = lambda call: call.builder.add(call.value(0), call.value(1))
READERS["Sub"] = lambda call: call.builder.sub(call.value(0), call.value(1))
READERS["Mul"] = lambda call: call.builder.mul(call.value(0), call.value(1))
READERS["Div"] = lambda call: call.builder.div(call.value(0), call.value(1))
READERS["MatMul"] = lambda call: call.builder.matmul(call.value(0), call.value(1))
READERS["Identity"] = lambda call: call.value(0)
READERS["GlobalAveragePool"] = lambda call: call.builder.sum(call.edge(), range(2, len(call.edge().shape)), keep=True, mean=True)
READERS["GlobalMaxPool"] = lambda call: max_over(call.builder, call.edge(), range(2, len(call.edge().shape)), keep=True)
READERS["LeakyRelu"] = lambda call: call.builder.leaky_relu(call.edge(), call.settings.get("alpha", 0.01))


@reads("PRelu")
def _prelu(call: Call) -> Value:
    slope = call.constant(1, "slope")
    if slope is None:
        raise Unsupported("its slope is missing")
    return call.builder.leaky_relu(call.edge(), slope)


@reads("HardSigmoid")
def _hard_sigmoid(call: Call) -> Value:
    return call.builder.clip(call.builder.scale(call.edge(), call.settings.get("alpha", 0.2), call.settings.get("beta", 0.5)), 0.0, 1.0)


@reads("HardSwish")
def _hard_swish(call: Call) -> Value:
    return call.builder.mul(call.edge(), call.builder.clip(call.builder.scale(call.edge(), 1 / 6, 0.5), 0.0, 1.0))


@reads("Clip")
def _clip(call: Call) -> Value:
    if call.opset < 11:
        return call.builder.clip(call.edge(), call.settings.get("min"), call.settings.get("max"))
    return call.builder.clip(call.edge(), call.constant(1, "lower limit"), call.constant(2, "upper limit"))


@reads("Sum", "Max", "Min", "Mean")
def _several(call: Call) -> Value:
    together = {"Sum": call.builder.add, "Mean": call.builder.add, "Max": call.builder.maximum, "Min": call.builder.minimum}[call.operator]
    total = call.value(0)
    for place in range(1, len(call.inputs)):
        total = together(total, call.value(place))
    return call.builder.div(total, torch.tensor(float(len(call.inputs)))) if call.operator == "Mean" else total


@reads("Pow")
def _pow(call: Call) -> Value:
    exponent = call.constant(1, "exponent")
    if exponent is None or exponent.numel() != 1 or float(exponent) not in (1.0, 2.0):
        raise Unsupported("only squares are supported, not other powers")
    return call.edge() if float(exponent) == 1 else call.builder.mul(call.edge(), call.edge())


@reads("Softmax", "LogSoftmax")
def _softmax(call: Call) -> Value:
    axis = call.settings.get("axis", -1 if call.opset >= 13 else 1)
    edge = call.edge()
    if call.opset < 13:  # over everything from the axis on
        edge = call.builder.view(edge, (math.prod(edge.shape[:axis]), math.prod(edge.shape[axis:])))
        axis = 1
    return call.builder.softmax(edge, axis, "softmax" if call.operator == "Softmax" else "log_softmax")._replace(shape=call.edge().shape)


@reads("Dropout")
def _dropout(call: Call) -> Value:
    training = call.constant(2, "training mode")
    if training is not None and bool(training.any()):
        raise Unsupported("it is active in evaluation mode, so the output is random")
    return call.value(0)


@reads("Cast", "CastLike")
def _cast(call: Call) -> Value:
    if call.operator == "Cast" and call.settings["to"] not in (1, 10, 11, 16):  # float, float16, double, bfloat16
        raise Unsupported("rounding to whole numbers is not continuous")
    return call.value(0)


@reads("BatchNormalization")
def _batch_norm(call: Call) -> Value:
    if call.settings.get("training_mode", 0):
        raise Unsupported("it uses batch statistics, so the output depends on the other samples")
    weight, bias, mean, variance = (call.constant(place, "statistics") for place in range(1, 5))
    if mean is None or variance is None:
        raise Unsupported("its statistics are missing")
    return call.builder.batch_norm(call.edge(), mean, variance, weight, bias, call.settings.get("epsilon", 1e-5))


# numbers moved about


@reads("Flatten")
def _flatten(call: Call) -> Value:
    edge = call.edge()
    axis = call.settings.get("axis", 1)
    axis += len(edge.shape) if axis < 0 else 0
    return call.builder.view(edge, (math.prod(edge.shape[:axis]), math.prod(edge.shape[axis:])))


@reads("Reshape")
def _reshape(call: Call) -> Value:
    sides = call.numbers(1, "shape", 5) or []
    edge = call.edge()
    if not call.settings.get("allowzero", 0):
        sides = [edge.shape[place] if side == 0 else side for place, side in enumerate(sides)]
    return call.builder.view(edge, sides)


@reads("Squeeze")
def _squeeze(call: Call) -> Value:
    edge, axes = call.edge(), call.numbers(1, "axes", 13)
    rank = len(edge.shape)
    gone = {axis % rank for axis in axes} if axes is not None else {axis for axis, side in enumerate(edge.shape) if side == 1}
    return call.builder.view(edge, [side for axis, side in enumerate(edge.shape) if axis not in gone])


@reads("Unsqueeze")
def _unsqueeze(call: Call) -> Value:
    edge, axes = call.edge(), call.numbers(1, "axes", 13) or []
    rank = len(edge.shape) + len(axes)
    new, rest = {axis % rank for axis in axes}, iter(edge.shape)
    return call.builder.view(edge, [1 if axis in new else next(rest) for axis in range(rank)])


@reads("Transpose")
def _transpose(call: Call) -> Value:
    order = call.settings.get("perm") or range(len(call.edge().shape))[::-1]
    return call.builder.pick(call.edge(), lambda places: places.permute(*order))


@reads("Slice")
def _slice(call: Call) -> Value:
    edge = call.edge()
    starts, ends, axes, steps = (call.numbers(place, what, 10) for place, what in enumerate(("starts", "ends", "axes", "steps"), 1))
    if starts is None or ends is None:
        raise Unsupported("its starts or ends are missing")

    def cut(places: Tensor) -> Tensor:
        for axis, start, end, step in zip(axes or range(len(starts)), starts, ends, steps or [1] * len(starts), strict=True):
            along = range(*slice(start, None if step < 0 and end < -places.shape[axis] else end, step).indices(places.shape[axis]))
            places = places.index_select(axis, torch.tensor(list(along), dtype=torch.int64))
        return places

    return call.builder.pick(edge, cut)


@reads("Gather")
def _gather(call: Call) -> Value:
    edge, index = call.edge(), call.constant(1, "index")
    if index is None:
        raise Unsupported("its index is missing")
    axis = call.settings.get("axis", 0) % len(edge.shape)
    call.builder.check_room([*edge.shape[:axis], *index.shape, *edge.shape[axis + 1 :]])
    where = torch.where(index < 0, index + edge.shape[axis], index).long()

    def gather(places: Tensor) -> Tensor:
        taken = places.index_select(axis, where.flatten())
        return taken.reshape(*places.shape[:axis], *where.shape, *places.shape[axis + 1 :])

    return call.builder.pick(edge, gather)


@reads("Split")
def _split(call: Call) -> Any:
    edge, parts = call.edge(), call.numbers(1, "split", 13)
    axis = call.settings.get("axis", 0) % len(edge.shape)
    if parts is None:
        size = -(-edge.shape[axis] // call.outputs)
        parts = [min(size, edge.shape[axis] - size * place) for place in range(call.outputs)]
    return [call.builder.pick(edge, lambda places, place=place: places.split(parts, axis)[place]) for place in range(len(parts))]


@reads("Expand")
def _expand(call: Call) -> Value:
    edge, sides = call.edge(), call.numbers(1, "shape") or []
    sides = call.builder.for_one(sides, len(sides) == len(edge.shape))
    return call.builder.expand(edge, tuple(np.broadcast_shapes(edge.shape, tuple(sides))))


@reads("Tile")
def _tile(call: Call) -> Value:
    repeats = call.numbers(1, "repeats") or []
    call.builder.check_room([*call.edge().shape, *repeats])
    return call.builder.pick(call.edge(), lambda places: places.repeat(*repeats))


@reads("Concat")
def _concat(call: Call) -> Value:
    return call.builder.concat([call.value(place) for place in range(len(call.inputs))], call.settings["axis"])


@reads("Pad")
def _pad(call: Call) -> Value:
    edge, rank = call.edge(), len(call.edge().shape)
    mode = call.settings.get("mode", b"constant").decode()
    pads = call.numbers(1, "pads", 11) or call.settings.get("paddings") or [0] * 2 * rank
    value = call.constant(2, "value")
    axes = call.numbers(3, "axes") or list(range(rank))
    margins = [(0, 0)] * rank
    for place, axis in enumerate(axes):
        margins[axis] = (int(pads[place]), int(pads[place + len(axes)]))
    if mode == "constant":
        return call.builder.pad(edge, margins, call.settings.get("value", 0.0) if value is None else float(value))
    if mode not in ("reflect", "edge"):
        raise Unsupported(f"mode {mode} is not supported")

    call.builder.check_room([side + max(0, before) + max(0, after) for side, (before, after) in zip(edge.shape, margins, strict=True)])

    def around(places: Tensor) -> Tensor:
        for axis, (before, after) in enumerate(margins):
            along = torch.arange(-before, places.shape[axis] + after)
            last = places.shape[axis] - 1
            along = along.clamp(0, last) if mode == "edge" else last - (last - along.abs()).abs()
            places = places.index_select(axis, along)
        return places

    return call.builder.pick(edge, around)


# sums


@reads("Gemm")
def _gemm(call: Call) -> Value:
    a, b, builder = call.value(0), call.value(1), call.builder
    alpha, beta = call.settings.get("alpha", 1.0), call.settings.get("beta", 1.0)
    a, b = (_turned(builder, side) if call.settings.get(key) else side for side, key in ((a, "transA"), (b, "transB")))
    bias = call.inputs[2] if len(call.inputs) > 2 else None
    if isinstance(a, Edge) and isinstance(b, Tensor) and not isinstance(bias, Edge):
        return builder.linear(a, builder.real(b).mT * alpha, None if bias is None else builder.real(bias) * beta)
    product = builder.mul(builder.matmul(a, b), builder.real(alpha))
    return product if bias is None else builder.add(product, builder.mul(bias, builder.real(beta)))


def _turned(builder: Builder, value: Value) -> Value:
    return value.mT if isinstance(value, Tensor) else builder.pick(value, lambda places: places.mT)


@reads("Conv", "ConvTranspose")
def _conv(call: Call) -> Value:
    weight, bias = call.constant(1, "weight"), call.constant(2, "bias")
    if weight is None:
        raise Unsupported("its weight is missing")
    axes = weight.ndim - 2
    stride, dilation = (list(call.settings.get(key) or [1] * axes) for key in ("strides", "dilations"))
    groups = call.settings.get("group", 1)
    if call.operator == "Conv":
        margins = _margins(call, list(weight.shape[2:]), stride, dilation)
        return call.builder.conv(call.edge(), weight, bias, stride=stride, padding=margins, dilation=dilation, groups=groups)
    extra = list(call.settings.get("output_padding") or [0] * axes)
    if call.settings.get("output_shape") or call.settings.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise Unsupported("output_shape and auto_pad are not supported: give pads")
    pads = call.settings.get("pads") or [0] * 2 * axes
    margins = [(int(pads[axis]), int(pads[axis + axes])) for axis in range(axes)]
    settings = {"stride": stride, "padding": margins, "dilation": dilation, "groups": groups, "output_padding": extra}
    return call.builder.conv_transpose(call.edge(), weight, bias, **settings)


def _margins(call: Call, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> list[tuple[int, int]]:
    """(before, after) of each axis, from the pads or from auto_pad."""
    mode, axes = call.settings.get("auto_pad", b"NOTSET").decode(), len(kernel)
    if mode in ("NOTSET", ""):
        pads = call.settings.get("pads") or [0] * 2 * axes
        return [(int(pads[axis]), int(pads[axis + axes])) for axis in range(axes)]
    if mode == "VALID":
        return [(0, 0)] * axes
    margins = []
    for side, k, s, d in zip(call.edge().shape[-axes:], kernel, stride, dilation, strict=True):
        total = max(0, (-(-side // s) - 1) * s + d * (k - 1) + 1 - side)
        margins.append((total // 2, total - total // 2) if mode == "SAME_UPPER" else (total - total // 2, total // 2))
    return margins


@reads("AveragePool", "MaxPool")
def _pool(call: Call) -> Value:
    kernel = list(call.settings["kernel_shape"])
    stride, dilation = (list(call.settings.get(key) or [1] * len(kernel)) for key in ("strides", "dilations"))
    settings = {"stride": stride, "padding": _margins(call, kernel, stride, dilation), "dilation": dilation, "ceil": bool(call.settings.get("ceil_mode", 0))}
    if call.operator == "MaxPool":
        if call.outputs > 1:
            raise Unsupported("the indices of its maxima are not supported")
        return max_pool(call.builder, call.edge(), kernel, **settings)
    return avg_pool(call.builder, call.edge(), kernel, count_padding=bool(call.settings.get("count_include_pad", 0)), **settings)


@reads("ReduceMean", "ReduceSum", "ReduceMax")
def _reduce(call: Call) -> Value:
    axes = call.numbers(1, "axes", 13 if call.operator == "ReduceSum" else 18)
    if not axes and call.settings.get("noop_with_empty_axes", 0):
        return call.edge()
    keep = bool(call.settings.get("keepdims", 1))
    if call.operator == "ReduceMax":
        return max_over(call.builder, call.edge(), axes or (), keep=keep)
    return call.builder.sum(call.edge(), axes, keep=keep, mean=call.operator == "ReduceMean")
