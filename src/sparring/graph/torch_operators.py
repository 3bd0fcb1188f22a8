"""How each aten operator is built."""

import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from sparring.graph.builder import Builder, Edge, Unsupported, Value
from sparring.graph.pools import adaptive_avg_pool, adaptive_max_pool, avg_pool, max_over, max_pool

TorchReader = Callable[..., Any]

READERS: dict[str, TorchReader] = {}
"""By the operator's name without its overload, "relu"; each takes the builder and what the operator takes."""

MOVERS = frozenset(
    "permute,transpose,t,numpy_T,swapaxes,movedim,slice,narrow,select,index_select,gather,take,flip,roll,unfold,expand_as,repeat,tile,"  # noqa: SIM905
    "repeat_interleave,chunk,split,split_with_sizes,tensor_split,unbind,hsplit,vsplit,diagonal,index,pixel_shuffle,pixel_unshuffle,"
    "channel_shuffle,upsample_nearest1d,upsample_nearest2d".split(",")
)
"""What moves numbers about without changing them: run on the places of the numbers."""

VIEWS = frozenset(("flatten", "unflatten", "squeeze", "unsqueeze", "ravel", "squeeze_copy", "unsqueeze_copy"))

SAME = frozenset(("clone", "contiguous", "detach", "alias", "lift_fresh_copy", "lift_fresh", "alias_copy"))

CHANCE = frozenset(
    "dropout,native_dropout,feature_dropout,alpha_dropout,feature_alpha_dropout,rrelu,rrelu_with_noise,bernoulli,multinomial,rand,randn,"  # noqa: SIM905
    "rand_like,randn_like,randint,randint_like,randperm,uniform,exponential,normal".split(",")
)
"""What draws at random, dropout and randomised ReLUs only where they are switched on."""


def read_operator(builder: Builder, node: fx.Node, arguments: Sequence[Any], settings: dict[str, Any], where: str) -> Any:
    """Return the value of a call, added to the network where it depends on the input.

    A call that does not depend on the input is computed.
    """
    name = operator_name(node)
    if name in CHANCE and not _switched_off(name, arguments):
        raise Unsupported(f"operator {name} (node {node.name}, {where}) is random even in evaluation mode: remove it")
    if name.startswith("_assert") or name == "sym_constrain_range_for_size":  # about the batch size
        return None
    if not any(isinstance(value, Edge) for value in _leaves([arguments, settings])):
        return _computed(builder, node, arguments, settings)
    try:
        if name in READERS:
            return READERS[name](builder, *arguments, **settings)
        if name in SAME:
            return arguments[0]
        if name in VIEWS:
            assert callable(node.target)
            like = torch.empty(_edge(arguments[0]).shape, device="meta")  # the shape it gets is asked of something without numbers
            return builder.view(arguments[0], tuple(node.target(like, *arguments[1:], **settings).shape))
        if name in MOVERS:
            return _moved(builder, node, arguments, settings)
    except Unsupported as error:
        raise Unsupported(f"operator {name} (node {node.name}, {where}) has no bound: {error}") from None
    except (RuntimeError, TypeError, IndexError, ValueError) as error:
        raise Unsupported(f"operator {name} (node {node.name}, {where}) cannot be read: {str(error).splitlines()[0]}") from error
    raise Unsupported(f"operator {name} (node {node.name}, {where}) has no bound: supported are {', '.join(supported())}")


def _switched_off(name: str, arguments: Sequence[Any]) -> bool:
    return ("dropout" in name and len(arguments) > 2 and arguments[2] is False) or (name == "rrelu" and not any(arguments[3:4]))


def operator_name(node: fx.Node) -> str:
    """Return the name of an operator, such as "relu" of `aten.relu_.default`."""
    target = node.target
    name = target._schema.name.split("::")[-1] if isinstance(target, torch._ops.OpOverload) else getattr(target, "__name__", str(target))
    return name[:-1] if name.endswith("_") and not name.startswith("__") and name[:-1] in READERS else name


def supported() -> list[str]:
    """Return names of aten operators, in order."""
    return sorted(name for name in {*READERS, *VIEWS, *MOVERS} if not name.startswith("_"))


def _leaves(tree: Any) -> list[Any]:
    if isinstance(tree, Edge | Tensor):
        return [tree]
    if isinstance(tree, dict):
        return [leaf for branch in tree.values() for leaf in _leaves(branch)]
    if isinstance(tree, list | tuple):
        return [leaf for branch in tree for leaf in _leaves(branch)]
    return [tree]


def _computed(builder: Builder, node: fx.Node, arguments: Sequence[Any], settings: dict[str, Any]) -> Any:
    """Constants folded in the builder's type."""
    if isinstance(node.target, torch._ops.HigherOrderOperator):
        raise Unsupported(f"operator {operator_name(node)} (node {node.name}) has no bound: control flow inside a network is not supported")
    settings = {
        key: builder.dtype if key == "dtype" and isinstance(value, torch.dtype) and value.is_floating_point else value for key, value in settings.items()
    }
    assert callable(node.target)
    value = node.target(*arguments, **settings)
    return value.to(builder.dtype) if isinstance(value, Tensor) and value.is_floating_point() else value


def _moved(builder: Builder, node: fx.Node, arguments: Sequence[Any], settings: dict[str, Any]) -> Any:
    edge, rest = arguments[0], [_on_processor(each) for each in arguments[1:]]
    if not isinstance(edge, Edge) or any(isinstance(value, Edge) for value in _leaves(rest)):
        raise Unsupported("its indices depend on the input")
    assert callable(node.target)
    move = node.target

    def asked(places: Tensor) -> Any:
        if operator_name(node).startswith("upsample"):  # has no integer version; places are exact in float64
            return move(places.double(), *rest, **settings).long()
        return move(places, *rest, **settings)

    found = asked(torch.arange(math.prod(edge.shape)).reshape(edge.shape))
    if isinstance(found, Tensor):
        return builder.pick(edge, lambda _: found)
    return [builder.pick(edge, lambda _, part=part: part) for part in found]


def _on_processor(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.cpu()
    return [_on_processor(each) for each in value] if isinstance(value, list | tuple) else value


def reads(*names: str) -> Callable[[TorchReader], TorchReader]:
    """Return the function reads the aten operators of these names."""

    def enter(reader: TorchReader) -> TorchReader:
        READERS.update(dict.fromkeys(names, reader))
        return reader

    return enter


def _edge(value: Value | float) -> Edge:
    if not isinstance(value, Edge):
        raise Unsupported("its argument is constant while its settings depend on the input")
    return value


def _constant(value: Any, what: str) -> Any:
    if isinstance(value, Edge):
        raise Unsupported(f"its {what} depends on the input")
    return value


def _value(builder: Builder, value: Value | float) -> Value:
    return value if isinstance(value, Edge | Tensor) else builder.real(value)


def _sides(value: int | Sequence[int], axes: int, missing: Sequence[int] | None = None) -> list[int]:
    """One number for each axis."""
    sides = [value] if isinstance(value, int) else list(value)
    if not sides and missing is not None:
        return list(missing)
    return sides * axes if len(sides) == 1 else sides


def _margins(value: int | Sequence[int], axes: int) -> list[tuple[int, int]]:
    return [(side, side) for side in _sides(value, axes)]


@reads("view", "reshape", "_unsafe_view", "view_copy")
def _view(builder: Builder, x: Value, shape: Sequence[int]) -> Value:
    return builder.view(_edge(x), shape)


@reads("expand")
def _expand(builder: Builder, x: Value, shape: Sequence[int], **_: Any) -> Value:
    edge = _edge(x)
    sides = builder.for_one(shape)
    return builder.pick(edge, lambda places: places.expand(sides))


@reads("sym_size")
def _size(builder: Builder, x: Value, axis: int) -> int:
    return _edge(x).shape[axis]


for _name, _number in (("ones_like", 1.0), ("zeros_like", 0.0), ("new_ones", 1.0), ("new_zeros", 0.0)):

    def _filled(builder: Builder, x: Value, size: Sequence[int] | None = None, *, _number: float = _number, **_: Any) -> Value:
        shape = _edge(x).shape if size is None else builder.for_one(size)
        return torch.full(tuple(shape), _number, dtype=builder.dtype, device=builder.device)

    READERS[_name] = _filled


# elementwise

for _name in ("relu", "abs", "sigmoid", "tanh"):
    READERS[_name] = lambda builder, x, _method=_name: getattr(builder, _method)(_edge(x))


@reads("leaky_relu")
def _leaky_relu(builder: Builder, x: Value, slope: float = 0.01) -> Value:
    return builder.leaky_relu(_edge(x), slope)


@reads("prelu", "_prelu_kernel")
def _prelu(builder: Builder, x: Value, slope: Tensor) -> Value:
    edge, slope = _edge(x), _constant(slope, "slope")
    return builder.leaky_relu(edge, slope.reshape(-1, *[1] * (len(edge.shape) - 2)) if slope.numel() > 1 and slope.ndim == 1 else slope)


@reads("clamp", "clip")
def _clamp(builder: Builder, x: Value, low: Any = None, high: Any = None, *, min: Any = None, max: Any = None) -> Value:
    low, high = (_constant(edge, "limit") for edge in (min if low is None else low, max if high is None else high))
    return builder.clip(_edge(x), low, high)


@reads("clamp_min")
def _clamp_min(builder: Builder, x: Value, low: Any) -> Value:
    return builder.clip(_edge(x), _constant(low, "limit"), None)


@reads("clamp_max")
def _clamp_max(builder: Builder, x: Value, high: Any) -> Value:
    return builder.clip(_edge(x), None, _constant(high, "limit"))


@reads("hardtanh")
def _hardtanh(builder: Builder, x: Value, low: float = -1.0, high: float = 1.0) -> Value:
    return builder.clip(_edge(x), low, high)


@reads("relu6")
def _relu6(builder: Builder, x: Value) -> Value:
    return builder.clip(_edge(x), 0.0, 6.0)


@reads("hardsigmoid")
def _hardsigmoid(builder: Builder, x: Value) -> Edge:
    return builder.clip(builder.scale(_edge(x), 1 / 6, 0.5), 0.0, 1.0)


@reads("hardswish")
def _hardswish(builder: Builder, x: Value) -> Value:
    return builder.mul(x, _hardsigmoid(builder, x))


@reads("silu")
def _silu(builder: Builder, x: Value) -> Value:
    return builder.mul(x, builder.sigmoid(_edge(x)))


def _softmax(name: str) -> TorchReader:
    def read(builder: Builder, x: Value, axis: int, *_: Any, **__: Any) -> Value:
        return builder.softmax(_edge(x), axis, name)

    return read


READERS.update({f"{mark}{name}": _softmax(name) for name in ("softmax", "log_softmax") for mark in ("", "_")})


@reads("add")
def _add(builder: Builder, a: Value, b: Value | float, *, alpha: float = 1) -> Value:
    b = _value(builder, b)
    return builder.add(a, b if alpha == 1 else builder.mul(b, builder.real(alpha)))


@reads("sub", "subtract")
def _sub(builder: Builder, a: Value, b: Value | float, *, alpha: float = 1) -> Value:
    b = _value(builder, b)
    return builder.sub(a, b if alpha == 1 else builder.mul(b, builder.real(alpha)))


@reads("rsub")
def _rsub(builder: Builder, a: Value, b: Value | float, alpha: float = 1) -> Value:
    return builder.sub(_value(builder, b), a if alpha == 1 else builder.mul(a, builder.real(alpha)))


@reads("mul", "multiply")
def _mul(builder: Builder, a: Value, b: Value | float) -> Value:
    return builder.mul(_value(builder, a), _value(builder, b))


@reads("div", "divide", "true_divide")
def _div(builder: Builder, a: Value, b: Value | float, *, rounding_mode: str | None = None) -> Value:
    if rounding_mode:
        raise Unsupported(f"rounding ({rounding_mode}) is not continuous")
    return builder.div(_value(builder, a), _value(builder, b))


@reads("neg")
def _neg(builder: Builder, x: Value) -> Value:
    return builder.scale(_edge(x), -1.0)


@reads("pow")
def _pow(builder: Builder, x: Value, exponent: Any) -> Value:
    if exponent == 1:
        return x
    if exponent != 2:
        raise Unsupported(f"only squares are supported, not powers of {exponent}")
    return builder.mul(x, x)


@reads("square")
def _square(builder: Builder, x: Value) -> Value:
    return builder.mul(x, x)


@reads("maximum")
def _maximum(builder: Builder, a: Value, b: Value) -> Value:
    return builder.maximum(a, b)


@reads("minimum")
def _minimum(builder: Builder, a: Value, b: Value) -> Value:
    return builder.minimum(a, b)


@reads("batch_norm")
def _batch_norm(
    builder: Builder, x: Value, weight: Any, bias: Any, mean: Any, variance: Any, training: bool, momentum: float, epsilon: float, *_: Any
) -> Value:
    if training or mean is None:
        raise Unsupported("batch normalisation uses batch statistics, so the output depends on the other samples")
    return builder.batch_norm(_edge(x), mean, variance, weight, bias, epsilon)


@reads("_native_batch_norm_legit_no_training")
def _batch_norm_no_training(
    builder: Builder, x: Value, weight: Any, bias: Any, mean: Any, variance: Any, momentum: float, epsilon: float
) -> tuple[Value, None, None]:
    return builder.batch_norm(_edge(x), mean, variance, weight, bias, epsilon), None, None


@reads("_native_batch_norm_legit", "native_batch_norm", "_native_batch_norm_legit_functional")
def _batch_norm_training(builder: Builder, *_: Any, **__: Any) -> Value:
    raise Unsupported("batch normalisation uses batch statistics, so the output depends on the other samples")


@reads("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout")
def _dropout(builder: Builder, x: Value, rate: float, training: bool) -> Value:
    return x


@reads("rrelu")
def _rrelu(builder: Builder, x: Value, low: float = 1 / 8, high: float = 1 / 3, *_: Any) -> Value:
    return builder.leaky_relu(_edge(x), (low + high) / 2)


@reads("to", "_to_copy", "type_as", "to_dtype")
def _to(builder: Builder, x: Value, *rest: Any, **settings: Any) -> Value:
    kind = settings.get("dtype") or next((each for each in rest if isinstance(each, torch.dtype)), None)
    if kind is not None and not kind.is_floating_point:
        raise Unsupported(f"rounding to {kind} is not continuous")
    return x


READERS["getitem"] = lambda builder, values, place: operator.getitem(values, place)


# layers


@reads("linear")
def _linear(builder: Builder, x: Value, weight: Value, bias: Value | None = None) -> Value:
    return builder.linear(_edge(x), _constant(weight, "weight"), _constant(bias, "bias"))


@reads("addmm", "addmv")
def _addmm(builder: Builder, bias: Value, a: Value, b: Value, *, beta: float = 1, alpha: float = 1) -> Value:
    if isinstance(a, Edge) and isinstance(b, Tensor) and isinstance(bias, Tensor) and b.ndim == 2 and bias.ndim == 1:
        return builder.linear(a, b.mT * alpha, bias * beta)
    return builder.add(builder.mul(builder.matmul(a, b), builder.real(alpha)), builder.mul(bias, builder.real(beta)))


@reads("mm", "matmul", "bmm", "mv")
def _matmul(builder: Builder, a: Value, b: Value) -> Value:
    return builder.matmul(a, b)


@reads("conv1d", "conv2d", "conv3d")
def _conv(builder: Builder, x: Value, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1) -> Value:
    weight = _constant(weight, "weight")
    axes = weight.ndim - 2
    dilation = _sides(dilation, axes)
    if isinstance(padding, str):
        reach = [d * (k - 1) if padding == "same" else 0 for d, k in zip(dilation, weight.shape[2:], strict=True)]
        margins = [(side // 2, side - side // 2) for side in reach]
    else:
        margins = _margins(padding, axes)
    bias = _constant(bias, "bias")
    return builder.conv(_edge(x), weight, bias, stride=_sides(stride, axes), padding=margins, dilation=dilation, groups=groups)


@reads("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def _conv_transpose(
    builder: Builder, x: Value, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0, groups: int = 1, dilation: Any = 1
) -> Value:
    weight = _constant(weight, "weight")
    axes = weight.ndim - 2
    return builder.conv_transpose(
        _edge(x),
        weight,
        _constant(bias, "bias"),
        stride=_sides(stride, axes),
        padding=_margins(padding, axes),
        dilation=_sides(dilation, axes),
        groups=groups,
        output_padding=_sides(output_padding, axes),
    )


@reads("convolution")
def _convolution(
    builder: Builder, x: Value, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool, output_padding: Any, groups: int
) -> Value:
    if transposed:
        return _conv_transpose(builder, x, weight, bias, stride, padding, output_padding, groups, dilation)
    return _conv(builder, x, weight, bias, stride, padding, dilation, groups)


def _avg_pool(axes: int) -> TorchReader:
    def read(
        builder: Builder, x: Value, kernel: Any, stride: Any = (), padding: Any = 0, ceil: bool = False, count_padding: bool = True, divisor: int | None = None
    ) -> Value:
        sides = _sides(kernel, axes)
        return avg_pool(
            builder,
            _edge(x),
            sides,
            stride=_sides(stride, axes, sides),
            padding=_margins(padding, axes),
            ceil=ceil,
            count_padding=count_padding,
            divisor=divisor,
        )

    return read


def _max_pool(axes: int, indices: bool) -> TorchReader:
    def read(builder: Builder, x: Value, kernel: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil: bool = False) -> Any:
        sides = _sides(kernel, axes)
        out = max_pool(
            builder, _edge(x), sides, stride=_sides(stride, axes, sides), padding=_margins(padding, axes), dilation=_sides(dilation, axes), ceil=ceil
        )
        return (out, None) if indices else out

    return read


for _axes in (1, 2, 3):
    READERS[f"avg_pool{_axes}d"] = _avg_pool(_axes)
    READERS[f"max_pool{_axes}d"] = _max_pool(_axes, False)
    READERS[f"max_pool{_axes}d_with_indices"] = _max_pool(_axes, True)
    READERS[f"adaptive_avg_pool{_axes}d"] = lambda builder, x, size, _axes=_axes: adaptive_avg_pool(builder, _edge(x), _sides(size, _axes))
    READERS[f"_adaptive_avg_pool{_axes}d"] = READERS[f"adaptive_avg_pool{_axes}d"]
    READERS[f"adaptive_max_pool{_axes}d"] = lambda builder, x, size, _axes=_axes: (adaptive_max_pool(builder, _edge(x), _sides(size, _axes)), None)


@reads("mean")
def _mean(builder: Builder, x: Value, axes: Any = None, keep: bool = False, *, dtype: Any = None) -> Value:
    return builder.sum(_edge(x), [axes] if isinstance(axes, int) else axes, keep=keep, mean=True)


@reads("sum")
def _sum(builder: Builder, x: Value, axes: Any = None, keep: bool = False, *, dtype: Any = None) -> Value:
    return builder.sum(_edge(x), [axes] if isinstance(axes, int) else axes, keep=keep)


@reads("amax")
def _amax(builder: Builder, x: Value, axes: Any = (), keep: bool = False) -> Value:
    return max_over(builder, _edge(x), [axes] if isinstance(axes, int) else axes, keep=keep)


@reads("max")
def _max(builder: Builder, x: Value, axis: Any = None, keep: bool = False) -> Any:
    if isinstance(axis, Edge | Tensor):
        return builder.maximum(x, axis)
    if axis is None:
        return max_over(builder, _edge(x), ())
    return max_over(builder, _edge(x), [axis], keep=keep), None


@reads("cat", "concat", "concatenate")
def _cat(builder: Builder, values: Sequence[Value], axis: int = 0) -> Value:
    return builder.concat(values, axis)


@reads("stack")
def _stack(builder: Builder, values: Sequence[Value], axis: int = 0) -> Value:
    rank = len(values[0].shape) + 1
    place = axis % rank
    return builder.concat([_lifted(builder, value, place) for value in values], place)


def _lifted(builder: Builder, value: Value, axis: int) -> Value:
    if isinstance(value, Tensor):
        return value.unsqueeze(axis)
    return builder.view(value, (*value.shape[:axis], 1, *value.shape[axis:]))


@reads("constant_pad_nd")
def _constant_pad(builder: Builder, x: Value, pads: Sequence[int], value: float = 0.0) -> Value:
    return builder.pad(_edge(x), _pairs(pads, len(_edge(x).shape)), value)


@reads("pad")
def _pad(builder: Builder, x: Value, pads: Sequence[int], mode: str = "constant", value: float | None = None) -> Value:
    if mode != "constant":
        return _around(builder, x, pads, mode=mode)
    return _constant_pad(builder, x, pads, value or 0.0)


def _around(builder: Builder, x: Value, pads: Sequence[int], *, mode: str) -> Value:
    """Padding with what is there; places are exact in float64."""
    return builder.pick(_edge(x), lambda places: F.pad(places.double(), list(pads), mode).long())


for _name in ("reflection_pad1d", "reflection_pad2d", "replication_pad1d", "replication_pad2d"):
    READERS[_name] = functools.partial(_around, mode="reflect" if "reflection" in _name else "replicate")


def _pairs(pads: Sequence[int], rank: int) -> list[tuple[int, int]]:
    """torch's list, last axis first, as one pair for each axis."""
    pairs = [(pads[place], pads[place + 1]) for place in range(0, len(pads), 2)]
    return [(0, 0)] * (rank - len(pairs)) + pairs[::-1]
