"""Building a network node by node from what importers read: elementwise parts, views, selections, sums."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sparring.core.errors import LoadError
from sparring.models.network.network import Network, Node
from sparring.models.network.operators import (
    Add,
    Concat,
    Conv,
    ConvTranspose,
    Input,
    Linear,
    Operator,
    Product,
    Relu,
    Reshape,
    Scale,
    Select,
    Shape,
    Sigmoid,
    Tanh,
)
from sparring.models.network.places import padded
from sparring.models.network.simplify import simplify


class Unsupported(LoadError):
    """A network with something in it that nothing here can bound."""


class Wire(NamedTuple):
    """What a node gives, seen in the shape that the file or module speaks of: for one sample, its batch axis (1) included.

    Views cost nothing: they change `shape` only. head: "softmax" or "log_softmax" where one was left out after this node.
    """

    place: int
    shape: Shape
    head: str | None = None


Value = Wire | Tensor
"""What depends on the input, and what does not."""


class Built(NamedTuple):
    """A network, and what it leaves out at its end: "softmax", "log_softmax" or nothing."""

    network: Network
    head: str | None

    def answer(self, x: Tensor) -> Tensor:
        """What the imported model gives on [n, *input], its end included: [n, outputs]."""
        scores = self.network(x)
        return scores.softmax(1) if self.head == "softmax" else scores.log_softmax(1) if self.head == "log_softmax" else scores


class Builder:
    """Collects nodes. Constants given to its methods may be of any floating type; they become `dtype`.

    shape: of one input without the batch. batched: whether the model sees it as [1, *shape]. rows: the batch size for which the
    shapes in the file were written, where it is fixed.
    """

    def __init__(self, shape: Shape, *, batched: bool = True, rows: int = 1, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"):
        self.dtype, self.device, self.rows = dtype, torch.device(device), rows
        self.nodes = [Node(Input(tuple(shape)))]
        self.shapes: list[Shape] = [tuple(shape)]
        self.input = Wire(0, (1, *shape) if batched else tuple(shape))
        self._views: dict[tuple[int, Shape], int] = {}

    def finish(self, output: Value) -> Built:
        """The network up to this value, its numbers flattened; simplified."""
        if isinstance(output, Tensor):
            raise Unsupported("the output of the network does not depend on its input")
        width = math.prod(output.shape)
        if width != max(output.shape, default=1):
            raise Unsupported(f"the output for one input has shape {say(output.shape)}: one row of scores [n, k] is supported")
        last = self._at(output._replace(head=None), (width,))
        notes = (f"{output.head} at the end left out: it does not change the order of the classes",) if output.head else ()
        return Built(Network(simplify(self.nodes, self.shapes, last), notes), output.head)

    def real(self, value: Tensor | float) -> Tensor:
        """A constant in the type and place of this network; live tensors keep their connection."""
        kept = value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)
        return kept.to(self.device, self.dtype)

    def _add(self, operator: Operator, *places: int) -> int:
        self.nodes.append(Node(operator, places))
        self.shapes.append(operator.shape(*(self.shapes[place] for place in places)))
        return len(self.nodes) - 1

    def _at(self, wire: Wire, shape: Shape) -> int:
        """The place of a node that gives the wire's numbers in this shape."""
        if wire.head:
            raise Unsupported(f"{wire.head} is supported at the end of a network only: what follows it cannot be bounded")
        if self.shapes[wire.place] == shape:
            return wire.place
        key = (wire.place, shape)
        if key not in self._views:
            self._views[key] = self._add(Reshape(shape), wire.place)
        return self._views[key]

    def _plain(self, wire: Wire) -> int:
        return self._at(wire, natural(wire.shape))

    def _each(self, operator: Operator, wire: Wire) -> Wire:
        return Wire(self._add(operator, self._at(wire, self.shapes[wire.place])), wire.shape)

    # number by number

    def relu(self, wire: Wire) -> Wire:
        return self._each(Relu(), wire)

    def sigmoid(self, wire: Wire) -> Wire:
        return self._each(Sigmoid(), wire)

    def tanh(self, wire: Wire) -> Wire:
        return self._each(Tanh(), wire)

    def scale(self, wire: Wire, factor: Tensor | float, shift: Tensor | float | None = None) -> Wire:
        """factor * x + shift; both broadcast against the wire, which grows where they are larger."""
        parts = [self.real(factor)] + ([] if shift is None else [self.real(shift)])
        shape = tuple(np.broadcast_shapes(wire.shape, *(part.shape for part in parts)))
        if all(part.numel() == 1 for part in parts) and math.prod(shape) == math.prod(wire.shape):
            scalars = [part.reshape(()) for part in parts]
            return Wire(self._each(Scale(*scalars), wire).place, shape)
        wire = self.expand(wire, shape)
        rank = len(natural(shape))
        parts = [part.reshape(part.shape[-rank:] if part.ndim > rank else part.shape) for part in parts]
        return Wire(self._add(Scale(*parts), self._plain(wire)), shape)

    def add(self, first: Value, second: Value) -> Value:
        if isinstance(first, Tensor):
            first, second = second, first
        if isinstance(first, Tensor):
            return first + second  # type: ignore[operator]
        if isinstance(second, Tensor):
            return self.scale(first, 1.0, second)
        a, b = self._alike(first, second)
        return Wire(self._add(Add(), self._plain(a), self._plain(b)), a.shape)

    def sub(self, first: Value, second: Value) -> Value:
        return self.add(first, self.mul(second, torch.tensor(-1.0)))

    def mul(self, first: Value, second: Value) -> Value:
        if isinstance(first, Tensor):
            first, second = second, first
        if isinstance(first, Tensor):
            return first * second  # type: ignore[operator]
        if isinstance(second, Tensor):
            return self.scale(first, second)
        a, b = self._alike(first, second)
        return Wire(self._add(Product(), self._plain(a), self._plain(b)), a.shape)

    def div(self, first: Value, second: Value) -> Value:
        if isinstance(second, Wire):
            raise Unsupported("division by something that depends on the input cannot be bounded here")
        return self.mul(first, 1 / self.real(second))

    def leaky_relu(self, wire: Wire, slope: Tensor | float) -> Wire:
        """slope * x + (1 - slope) * relu(x)."""
        slope = self.real(slope)
        return self.wire(self.add(self.scale(wire, slope), self.scale(self.relu(wire), 1 - slope)))

    def abs(self, wire: Wire) -> Wire:
        """2 relu(x) - x."""
        return self.wire(self.add(self.scale(self.relu(wire), 2.0), self.scale(wire, -1.0)))

    def clip(self, wire: Wire, low: Tensor | float | None, high: Tensor | float | None) -> Wire:
        """min(max(x, low), high), each as one ReLU, so that intervals stay within the limits."""
        if low is not None and bool((self.real(low) > -math.inf).all()):
            low = self.real(low)
            wire = self.scale(self.relu(self.scale(wire, 1.0, -low)), 1.0, low)
        if high is not None and bool((self.real(high) < math.inf).all()):
            high = self.real(high)
            wire = self.scale(self.relu(self.scale(wire, -1.0, high)), -1.0, high)
        return wire

    def maximum(self, first: Value, second: Value) -> Value:
        """b + relu(a - b)."""
        if isinstance(first, Tensor) and isinstance(second, Tensor):
            return torch.maximum(first, second)
        return self.add(second, self.relu(self.wire(self.sub(first, second))))

    def minimum(self, first: Value, second: Value) -> Value:
        """b - relu(b - a)."""
        if isinstance(first, Tensor) and isinstance(second, Tensor):
            return torch.minimum(first, second)
        return self.sub(second, self.relu(self.wire(self.sub(second, first))))

    def softmax(self, wire: Wire, axis: int, name: str = "softmax") -> Wire:
        """Left out, to be found at the end only."""
        if wire.head or wire.shape[axis] != math.prod(wire.shape):
            raise Unsupported(f"{name} over axis {axis} of {say(wire.shape)}: supported at the end only, over the classes")
        return wire._replace(head=name)

    # numbers moved about

    def view(self, wire: Wire, shape: Sequence[int]) -> Wire:
        """The same numbers in another shape, which may hold one -1."""
        sides = self.for_one(shape, -1 in shape or math.prod(shape) == self.rows * math.prod(wire.shape))
        if -1 in sides:
            known = -math.prod(sides)
            sides[sides.index(-1)] = math.prod(wire.shape) // known if known > 0 else 0
        if math.prod(sides) != math.prod(wire.shape):
            raise Unsupported(f"{say(wire.shape)} cannot be reshaped to {say(shape)} for one sample")
        return wire._replace(shape=tuple(sides))

    def for_one(self, shape: Sequence[int], fits: bool = True) -> list[int]:
        """A shape written for all rows of a fixed batch, for one."""
        if self.rows == 1 or not fits or not shape or shape[0] <= 0 or shape[0] % self.rows:
            return list(shape)
        return [shape[0] // self.rows, *shape[1:]]

    def pick(self, wire: Wire, how: Callable[[Tensor], Tensor]) -> Wire:
        """Whatever `how` does to a tensor of places (int64, of the wire's shape): moving, repeating and leaving out. -1 gives 0."""
        count = math.prod(wire.shape)
        places = how(torch.arange(count).reshape(wire.shape))
        if places.numel() == count and torch.equal(places.flatten(), torch.arange(count)):
            return wire._replace(shape=tuple(places.shape))
        start = self._at(wire, self.shapes[wire.place])
        index = places.reshape(natural(tuple(places.shape))).contiguous().to(self.device)
        return Wire(self._add(Select(index), start), tuple(places.shape))

    def expand(self, wire: Wire, shape: Shape) -> Wire:
        if wire.shape == shape:
            return wire
        return self.pick(wire, lambda places: places.expand(shape))

    def pad(self, wire: Wire, margins: Sequence[tuple[int, int]], value: float = 0.0) -> Wire:
        """margins: (before, after) of each axis; negative ones cut."""
        if len(margins) != len(wire.shape):
            raise Unsupported(f"{len(margins)} margins for {say(wire.shape)}")
        if not any(map(any, margins)):
            return wire
        out = self.pick(wire, lambda places: padded(places, margins))
        if value:
            filled = padded(torch.zeros(wire.shape, dtype=torch.int64), margins) < 0
            out = self.scale(out, 1.0, filled * value)
        return out

    def concat(self, values: Sequence[Value], axis: int) -> Value:
        wires = [self.wire(value) for value in values if isinstance(value, Wire) or value.numel()]
        if len(wires) == 1:
            return wires[0]
        axis %= len(wires[0].shape)
        shape = list(wires[0].shape)
        shape[axis] = sum(wire.shape[axis] for wire in wires)
        if any(wire.shape[:axis] + wire.shape[axis + 1 :] != wires[0].shape[:axis] + wires[0].shape[axis + 1 :] for wire in wires):
            raise Unsupported(f"{', '.join(say(wire.shape) for wire in wires)} cannot be put side by side along axis {axis}")
        dropped = len(wires[0].shape) - len(natural(tuple(shape))) if axis else 0
        return Wire(self._add(Concat(axis - dropped), *(self._at(wire, wire.shape[dropped:]) for wire in wires)), tuple(shape))

    def wire(self, value: Value) -> Wire:
        """A constant as a node that ignores the input."""
        if isinstance(value, Wire):
            return value
        nothing = self.pick(self.input, lambda places: torch.full(value.shape, -1))
        return self.scale(nothing, 1.0, value)

    def _alike(self, first: Wire, second: Wire) -> tuple[Wire, Wire]:
        try:
            shape = tuple(np.broadcast_shapes(first.shape, second.shape))
        except RuntimeError:
            raise Unsupported(f"values of shape {say(first.shape)} and {say(second.shape)} cannot be combined") from None
        return self.expand(first, shape), self.expand(second, shape)

    # sums

    def linear(self, wire: Wire, weight: Tensor, bias: Tensor | None = None) -> Wire:
        """x W' + b along the last axis; weight [out, in]."""
        weight = self.real(weight)
        if weight.ndim != 2 or wire.shape[-1] != weight.shape[1]:
            raise Unsupported(f"a weight {say(weight.shape)} does not fit the last axis of {say(wire.shape)}")
        shape = (*wire.shape[:-1], weight.shape[0])
        start = self._at(wire, natural(wire.shape) if len(wire.shape) > 1 else wire.shape)
        if bias is not None and bias.ndim and bias.numel() == weight.shape[0] == bias.shape[-1]:
            return Wire(self._add(Linear(weight, self.real(bias).reshape(-1)), start), shape)
        out = Wire(self._add(Linear(weight), start), shape)
        return out if bias is None else self.scale(out, 1.0, bias)

    def matmul(self, first: Value, second: Value) -> Value:
        """A product of matrices of which one is constant, without batches of different constant matrices."""
        if isinstance(first, Tensor) and isinstance(second, Tensor):
            return first @ second
        if isinstance(first, Wire) and isinstance(second, Wire):
            raise Unsupported("a product of two matrices that both depend on the input cannot be bounded here")
        if isinstance(first, Wire) and isinstance(second, Tensor):
            if second.ndim == 1:
                out = self.linear(first, second[None])
                return self.view(out, out.shape[:-1])
            return self.linear(first, _matrix(second).mT)
        assert isinstance(first, Tensor)
        assert isinstance(second, Wire)  # nothing else is left, which the type checker does not see
        if len(second.shape) == 1:
            return self.linear(second, _matrix(first))
        turned = self.linear(self.pick(second, lambda places: places.mT), _matrix(first) if first.ndim > 1 else first[None])
        out = self.pick(turned, lambda places: places.mT)
        return out if first.ndim > 1 else self.view(out, (*out.shape[:-2], out.shape[-1]))

    def conv(
        self,
        wire: Wire,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        stride: Sequence[int] = (1, 1),
        padding: Sequence[tuple[int, int]] = ((0, 0), (0, 0)),
        dilation: Sequence[int] = (1, 1),
        groups: int = 1,
    ) -> Wire:
        """weight [out, in / groups, *kernel]; padding (before, after) of each axis: what differs between them is selected."""
        sample, lead = self.image(wire, weight.ndim - 2, "a convolution")
        if sample.shape[0] != weight.shape[1] * groups:
            raise Unsupported(f"a weight {say(weight.shape)} with {groups} groups does not fit {say(wire.shape)}")
        both = tuple(max(0, min(margin)) for margin in padding)
        sample = self.pad(sample, [(0, 0), *((before - p, after - p) for (before, after), p in zip(padding, both, strict=True))])
        bias = None if bias is None else self.real(bias)
        operator = Conv(self.real(weight), bias, tuple(stride), both, tuple(dilation), groups)
        place = self._add(operator, self._at(sample, sample.shape))
        return Wire(place, lead + self.shapes[place])

    def conv_transpose(
        self,
        wire: Wire,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        stride: Sequence[int] = (1, 1),
        padding: Sequence[tuple[int, int]] = ((0, 0), (0, 0)),
        dilation: Sequence[int] = (1, 1),
        groups: int = 1,
        output_padding: Sequence[int] = (0, 0),
    ) -> Wire:
        """weight [in, out / groups, *kernel]; what the padding's two sides differ by is cut off."""
        sample, lead = self.image(wire, weight.ndim - 2, "a transposed convolution")
        both = tuple(max(0, min(margin)) for margin in padding)
        bias = None if bias is None else self.real(bias)
        operator = ConvTranspose(self.real(weight), bias, tuple(stride), both, tuple(dilation), groups, tuple(output_padding))
        place = self._add(operator, self._at(sample, sample.shape))
        out = Wire(place, self.shapes[place])
        out = self.pad(out, [(0, 0), *((p - before, p - after) for (before, after), p in zip(padding, both, strict=True))])
        return self.view(out, lead + out.shape)

    def batch_norm(self, wire: Wire, mean: Tensor, variance: Tensor, weight: Tensor | None, bias: Tensor | None, epsilon: float) -> Wire:
        """By the running statistics, along axis 1."""
        factor = (self.real(variance) + epsilon).rsqrt()
        if weight is not None:
            factor = factor * self.real(weight)
        shift = -self.real(mean) * factor
        if bias is not None:
            shift = shift + self.real(bias)
        sides = (-1, *[1] * (len(wire.shape) - 2))
        return self.scale(wire, factor.reshape(sides), shift.reshape(sides))

    def sum(self, wire: Wire, axes: Sequence[int] | None, *, keep: bool = False, mean: bool = False) -> Wire:
        rank = len(wire.shape)
        gone = sorted({axis % rank for axis in axes}) if axes else list(range(rank))
        rest = [axis for axis in range(rank) if axis not in gone]
        count = math.prod(wire.shape[axis] for axis in gone)
        shape = tuple(wire.shape[axis] for axis in range(rank) if axis not in gone or keep)
        shape = tuple(1 if keep and axis in gone else side for axis, side in enumerate(shape)) if keep else shape
        if count == 1:
            return self.view(wire, shape)
        last = self.pick(wire, lambda places: places.permute(*rest, *gone))
        flat = self.view(last, (*(wire.shape[axis] for axis in rest), count))
        return self.view(self.linear(flat, torch.full((1, count), 1 / count if mean else 1.0, dtype=self.dtype)), shape)

    def image(self, wire: Wire, axes: int, what: str) -> tuple[Wire, Shape]:
        """The wire as [channels, *axes], and the axes of length 1 before it."""
        extra = len(wire.shape) - axes - 1
        if axes not in (1, 2):
            raise Unsupported(f"{what} over {axes} axes: one or two are supported")
        if extra < 0 or math.prod(wire.shape[:extra]) != 1:
            raise Unsupported(f"{what} over {axes} axes of {say(wire.shape)}, where one sample [1, channels, ...] is expected")
        return self.view(wire, wire.shape[extra:]), wire.shape[:extra]


def natural(shape: Shape) -> Shape:
    """Without the batch axis."""
    return shape[1:] if len(shape) > 1 and shape[0] == 1 else shape


def _matrix(constant: Tensor) -> Tensor:
    if math.prod(constant.shape[:-2]) != 1:
        raise Unsupported(f"a product with a stack of matrices {say(constant.shape)} cannot be bounded here")
    return constant.reshape(constant.shape[-2:])


def say(shape: Sequence[int]) -> str:
    """A shape in words."""
    return "[" + ", ".join(map(str, shape)) + "]"
