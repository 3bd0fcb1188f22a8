"""ONNX operators as torch functions of whole batches, through which gradients pass; for networks with operators that have no bound."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sparring.graph.builder import Unsupported

Function = Callable[["Application"], Any]

FUNCTIONS: dict[str, Function] = {}
"""By the name of the operator; each returns its output, or a list of them."""

TYPES = {
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 5: torch.int16, 6: torch.int32, 7: torch.int64, 9: torch.bool, 10: torch.float16, 11: torch.float64,
    16: torch.bfloat16,
}  # fmt: skip
"""Types by their numbers in ONNX."""


class Application(NamedTuple):
    """Hold one operator of the file with the values of its inputs; None where one is left out."""

    operator: str
    inputs: Sequence[Tensor | None]
    settings: dict[str, Any]
    outputs: int
    opset: int

    def get(self, place: int) -> Tensor | None:
        """Return an input that may be left out."""
        return self.inputs[place] if place < len(self.inputs) else None

    def at(self, place: int) -> Tensor:
        """Return an input that must be there.

        Raises:
            Unsupported: If it is left out.
        """
        value = self.get(place)
        if value is None:
            raise Unsupported(f"its input {place} is missing")
        return value

    @property
    def x(self) -> Tensor:
        """Return the first input."""
        return self.at(0)

    def numbers(self, place: int, name: str) -> list[int] | None:
        """Return whole numbers that are an input in newer opsets and a setting in older ones."""
        if name in self.settings:
            return [int(one) for one in self.settings[name]]
        value = self.get(place)
        return None if value is None else [int(one) for one in value.flatten().tolist()]

    def word(self, name: str, default: str) -> str:
        """Return a setting that is text."""
        value = self.settings.get(name, default)
        return value.decode() if isinstance(value, bytes) else value

    def axis(self, default: int, of: Tensor | None = None) -> int:
        """Return the setting `axis`, counted from the front."""
        rank = (self.x if of is None else of).ndim
        found = int(self.settings.get("axis", default))
        return found + rank if found < 0 else found


def computes(*names: str) -> Callable[[Function], Function]:
    """Return a decorator that enters the function under the names of operators."""

    def enter(function: Function) -> Function:
        FUNCTIONS.update(dict.fromkeys(names, function))
        return function

    return enter


def _unary(function: Callable[[Tensor], Tensor]) -> Function:
    return lambda node: function(node.x)


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Function:
    return lambda node: function(node.x, node.at(1))


for _name in (
    "abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "ceil", "cos", "cosh", "erf", "exp", "floor", "log", "neg", "reciprocal", "relu", "round",
    "sigmoid", "sign", "sin", "sinh", "sqrt", "tan", "tanh",
):  # fmt: skip
    FUNCTIONS[_name.capitalize()] = _unary(getattr(torch, _name))
for _name, _function in {
    "Softplus": F.softplus, "Softsign": F.softsign, "Mish": F.mish, "HardSwish": F.hardswish, "Identity": lambda x: x, "Not": torch.logical_not,
}.items():  # fmt: skip
    FUNCTIONS[_name] = _unary(_function)
for _name, _function in {
    "Add": torch.add, "Sub": torch.sub, "Mul": torch.mul, "MatMul": torch.matmul, "Equal": torch.eq, "Less": torch.lt, "LessOrEqual": torch.le,
    "Greater": torch.gt, "GreaterOrEqual": torch.ge, "And": torch.logical_and, "Or": torch.logical_or, "Xor": torch.logical_xor, "Pow": torch.pow,
}.items():  # fmt: skip
    FUNCTIONS[_name] = _binary(_function)


# number by number


@computes("Div")
def _div(node: Application) -> Tensor:
    a, b = node.x, node.at(1)
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


@computes("Mod")
def _mod(node: Application) -> Tensor:
    return torch.fmod(node.x, node.at(1)) if node.settings.get("fmod", 0) else torch.remainder(node.x, node.at(1))


@computes("Elu")
def _elu(node: Application) -> Tensor:
    return F.elu(node.x, node.settings.get("alpha", 1.0))


@computes("Selu")
def _selu(node: Application) -> Tensor:
    alpha, gamma = node.settings.get("alpha", 1.6732632423543772), node.settings.get("gamma", 1.0507009873554805)
    return gamma * F.elu(node.x, alpha)


@computes("Celu")
def _celu(node: Application) -> Tensor:
    return F.celu(node.x, alpha=node.settings.get("alpha", 1.0))


@computes("Gelu")
def _gelu(node: Application) -> Tensor:
    return F.gelu(node.x, approximate=node.word("approximate", "none"))


@computes("Swish")
def _swish(node: Application) -> Tensor:
    return node.x * torch.sigmoid(node.settings.get("alpha", 1.0) * node.x)


@computes("LeakyRelu")
def _leaky_relu(node: Application) -> Tensor:
    return F.leaky_relu(node.x, node.settings.get("alpha", 0.01))


@computes("PRelu")
def _prelu(node: Application) -> Tensor:
    return torch.where(node.x >= 0, node.x, node.x * node.at(1))


@computes("ThresholdedRelu")
def _thresholded_relu(node: Application) -> Tensor:
    return torch.where(node.x > node.settings.get("alpha", 1.0), node.x, 0.0)


@computes("Shrink")
def _shrink(node: Application) -> Tensor:
    bias, edge = node.settings.get("bias", 0.0), node.settings.get("lambd", 0.5)
    return torch.where(node.x < -edge, node.x + bias, torch.where(node.x > edge, node.x - bias, 0.0))


@computes("HardSigmoid")
def _hard_sigmoid(node: Application) -> Tensor:
    return (node.settings.get("alpha", 0.2) * node.x + node.settings.get("beta", 0.5)).clamp(0, 1)


@computes("Clip")
def _clip(node: Application) -> Tensor:
    low, high = (node.settings.get(name, node.get(place)) for place, name in ((1, "min"), (2, "max")))
    x = node.x if low is None else torch.maximum(node.x, torch.as_tensor(low).to(node.x))
    return x if high is None else torch.minimum(x, torch.as_tensor(high).to(x))


@computes("Max", "Min", "Sum", "Mean")
def _several(node: Application) -> Tensor:
    together = {"Max": torch.maximum, "Min": torch.minimum}.get(node.operator, torch.add)
    total = node.x
    for place in range(1, len(node.inputs)):
        total = together(total, node.at(place))
    return total / len(node.inputs) if node.operator == "Mean" else total


@computes("Where")
def _where(node: Application) -> Tensor:
    return torch.where(node.x.bool(), node.at(1), node.at(2))


@computes("Softmax", "LogSoftmax")
def _softmax(node: Application) -> Tensor:
    function = torch.softmax if node.operator == "Softmax" else torch.log_softmax
    if node.opset >= 13:
        return function(node.x, node.axis(-1))
    return function(node.x.flatten(node.axis(1)), -1).reshape(node.x.shape)  # over everything from the axis on


@computes("Dropout")
def _dropout(node: Application) -> Any:
    training = node.get(2)
    if training is not None and bool(training.any()):
        raise Unsupported("it is active in evaluation mode, so the output is random")
    return [node.x, torch.ones_like(node.x, dtype=torch.bool)]


@computes("Cast")
def _cast(node: Application) -> Tensor:
    return _to(node.x, int(node.settings["to"]))


@computes("CastLike")
def _cast_like(node: Application) -> Tensor:
    return node.x.to(node.at(1).dtype)


def _to(x: Tensor, number: int) -> Tensor:
    if number not in TYPES:
        raise Unsupported(f"type {number} is not supported")
    return x.to(TYPES[number])


# sums


@computes("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare")
def _reduce(node: Application) -> Tensor:
    axes, keep, x = node.numbers(1, "axes"), bool(node.settings.get("keepdims", 1)), node.x
    over = sorted(axis % x.ndim for axis in axes) if axes else list(range(x.ndim))
    if not axes and node.settings.get("noop_with_empty_axes", 0):  # each number by itself
        x, over, keep = x[..., None], [x.ndim], False
    match node.operator:
        case "ReduceSum":
            return x.sum(over, keepdim=keep)
        case "ReduceMean":
            return x.mean(over, keepdim=keep)
        case "ReduceMax":
            return x.amax(over, keepdim=keep)
        case "ReduceMin":
            return x.amin(over, keepdim=keep)
        case "ReduceL1":
            return x.abs().sum(over, keepdim=keep)
        case "ReduceL2":
            return torch.linalg.vector_norm(x, 2, over, keepdim=keep)  # with gradient 0 where all is 0
        case "ReduceLogSum":
            return x.sum(over, keepdim=keep).log()
        case "ReduceLogSumExp":
            return x.logsumexp(over, keepdim=keep)
        case "ReduceSumSquare":
            return x.square().sum(over, keepdim=keep)
    for axis in reversed(over):
        x = x.prod(axis, keepdim=keep)
    return x


@computes("ArgMax", "ArgMin")
def _arg(node: Application) -> Tensor:
    if node.settings.get("select_last_index", 0):
        raise Unsupported("the last of several places is not supported")
    return (torch.argmax if node.operator == "ArgMax" else torch.argmin)(node.x, node.axis(0), keepdim=bool(node.settings.get("keepdims", 1)))


@computes("CumSum")
def _cumsum(node: Application) -> Tensor:
    if node.settings.get("exclusive", 0) or node.settings.get("reverse", 0):
        raise Unsupported("exclusive and reverse sums are not supported")
    return node.x.cumsum(int(node.at(1)))


@computes("TopK")
def _top(node: Application) -> list[Tensor]:
    count = int(node.at(1)) if node.get(1) is not None else int(node.settings["k"])
    values, places = node.x.topk(count, node.axis(-1), largest=bool(node.settings.get("largest", 1)), sorted=True)
    return [values, places]


@computes("Gemm")
def _gemm(node: Application) -> Tensor:
    a, b = node.x, node.at(1)
    a, b = a.mT if node.settings.get("transA") else a, b.mT if node.settings.get("transB") else b
    product = node.settings.get("alpha", 1.0) * (a @ b)
    bias = node.get(2)
    return product if bias is None else product + node.settings.get("beta", 1.0) * bias


@computes("Einsum")
def _einsum(node: Application) -> Tensor:
    return torch.einsum(node.word("equation", ""), *(node.at(place) for place in range(len(node.inputs))))


@computes("Conv", "ConvTranspose")
def _conv(node: Application) -> Tensor:
    weight, bias = node.at(1), node.get(2)
    axes = weight.ndim - 2
    stride, dilation = (list(node.settings.get(key) or [1] * axes) for key in ("strides", "dilations"))
    groups = node.settings.get("group", 1)
    if node.operator == "Conv":
        before, after = margins(node, list(weight.shape[2:]), stride, dilation)
        padded = F.pad(node.x, [side for pair in zip(before[::-1], after[::-1], strict=True) for side in pair])
        return _of_axes(axes, F.conv1d, F.conv2d, F.conv3d)(padded, weight, bias, stride, 0, dilation, groups)
    if node.settings.get("output_shape") or node.word("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise Unsupported("output_shape and auto_pad are not supported: give pads")
    pads = list(node.settings.get("pads") or [0] * 2 * axes)
    extra = list(node.settings.get("output_padding") or [0] * axes)
    out = _of_axes(axes, F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)(node.x, weight, bias, stride, 0, extra, groups, dilation)
    for axis in range(axes):
        out = out.narrow(2 + axis, pads[axis], out.shape[2 + axis] - pads[axis] - pads[axis + axes])
    return out


def _of_axes(axes: int, *functions: Callable[..., Tensor]) -> Callable[..., Tensor]:
    if not 1 <= axes <= len(functions):
        raise Unsupported(f"{axes} axes: one to {len(functions)} are supported")
    return functions[axes - 1]


def margins(node: Application, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return the padding before and after each axis, from `pads` or `auto_pad`."""
    mode, axes = node.word("auto_pad", "NOTSET"), len(kernel)
    if mode in ("NOTSET", ""):
        pads = [int(one) for one in node.settings.get("pads") or [0] * 2 * axes]
        return pads[:axes], pads[axes:]
    if mode == "VALID":
        return [0] * axes, [0] * axes
    total = [max(0, (-(-side // s) - 1) * s + d * (k - 1) + 1 - side) for side, k, s, d in zip(node.x.shape[-axes:], kernel, stride, dilation, strict=True)]
    less, more = [one // 2 for one in total], [one - one // 2 for one in total]
    return (less, more) if mode == "SAME_UPPER" else (more, less)


# normalisation


@computes("BatchNormalization")
def _batch_norm(node: Application) -> Tensor:
    if node.settings.get("training_mode", 0):
        raise Unsupported("it uses batch statistics, so the output depends on the other samples")
    return F.batch_norm(node.x, node.at(3), node.at(4), node.at(1), node.at(2), eps=node.settings.get("epsilon", 1e-5))


@computes("InstanceNormalization")
def _instance_norm(node: Application) -> Tensor:
    return F.instance_norm(node.x, weight=node.at(1), bias=node.at(2), eps=node.settings.get("epsilon", 1e-5))


@computes("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")
def _layer_norm(node: Application) -> Tensor:
    axes = tuple(range(node.axis(-1), node.x.ndim))
    centred = node.x - node.x.mean(axes, keepdim=True) if node.operator == "LayerNormalization" else node.x
    normed = centred / (centred.square().mean(axes, keepdim=True) + node.settings.get("epsilon", 1e-5)).sqrt() * node.at(1)
    bias = node.get(2)
    return normed if bias is None else normed + bias


@computes("GroupNormalization")
def _group_norm(node: Application) -> Tensor:
    groups, weight, bias = int(node.settings["num_groups"]), node.at(1), node.at(2)
    if node.opset < 21:  # one number per group
        weight, bias = (one.repeat_interleave(node.x.shape[1] // groups) for one in (weight, bias))
    return F.group_norm(node.x, groups, weight, bias, node.settings.get("epsilon", 1e-5))


@computes("LpNormalization")
def _lp_norm(node: Application) -> Tensor:
    return node.x / node.x.norm(p=node.settings.get("p", 2), dim=node.axis(-1), keepdim=True).clamp_min(torch.finfo(node.x.dtype).tiny)


@computes("MeanVarianceNormalization")
def _mean_variance(node: Application) -> Tensor:
    axes = list(node.settings.get("axes", [0, 2, 3]))
    if 0 in axes:
        raise Unsupported("it uses statistics of the batch, so the output depends on the other samples")
    centred = node.x - node.x.mean(axes, keepdim=True)
    return centred / (centred.square().mean(axes, keepdim=True).sqrt() + 1e-9)


@computes("LRN")
def _lrn(node: Application) -> Tensor:
    size = int(node.settings["size"])
    squares = F.pad(node.x.square().movedim(1, -1), ((size - 1) // 2, size // 2)).unfold(-1, size, 1).sum(-1).movedim(-1, 1)
    return node.x / (node.settings.get("bias", 1.0) + node.settings.get("alpha", 1e-4) / size * squares) ** node.settings.get("beta", 0.75)


# pools


@computes("MaxPool", "AveragePool", "LpPool")
def _pool(node: Application) -> Tensor:
    kernel = list(node.settings["kernel_shape"])
    axes = len(kernel)
    stride, dilation = (list(node.settings.get(key) or [1] * axes) for key in ("strides", "dilations"))
    before, after = margins(node, kernel, stride, dilation)
    if node.settings.get("ceil_mode", 0):
        for axis, (k, s, d) in enumerate(zip(kernel, stride, dilation, strict=True)):
            whole = node.x.shape[2 + axis] + before[axis] + after[axis] - d * (k - 1) - 1
            steps = -(-whole // s)
            if steps * s < node.x.shape[2 + axis] + before[axis]:  # the last window begins inside
                after[axis] += steps * s - whole
    pads = [side for pair in zip(before[::-1], after[::-1], strict=True) for side in pair]
    if node.operator == "MaxPool":
        if node.outputs > 1:
            raise Unsupported("the places of the largest numbers are not supported")
        padded = F.pad(node.x, pads, value=-math.inf)
        return _of_axes(axes, F.max_pool1d, F.max_pool2d, F.max_pool3d)(padded, kernel, stride, 0, dilation)
    if any(one != 1 for one in dilation):
        raise Unsupported("dilation is not supported")
    power = node.settings.get("p", 2)
    x = node.x.abs().pow(power) if node.operator == "LpPool" else node.x
    mean = _of_axes(axes, F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)
    total = mean(F.pad(x, pads), kernel, stride) * math.prod(kernel)
    if node.operator == "LpPool":
        return total.pow(1 / power)
    if node.settings.get("count_include_pad", 0):
        if node.settings.get("ceil_mode", 0):
            raise Unsupported("count_include_pad with ceil_mode is not supported")
        return total / math.prod(kernel)
    counted = mean(F.pad(torch.ones_like(x[:1, :1]), pads), kernel, stride) * math.prod(kernel)
    return total / counted


@computes("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def _global_pool(node: Application) -> Tensor:
    axes = list(range(2, node.x.ndim))
    if node.operator == "GlobalLpPool":
        power = node.settings.get("p", 2)
        return node.x.abs().pow(power).sum(axes, keepdim=True).pow(1 / power)
    return node.x.mean(axes, keepdim=True) if node.operator == "GlobalAveragePool" else node.x.amax(axes, keepdim=True)
