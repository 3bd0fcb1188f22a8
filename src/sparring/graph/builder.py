"""Builds a network node by node for the importers: elementwise parts, views, selections, sums."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sparring.core.errors import LoadError
from sparring.graph.network import Network, Node
from sparring.graph.operators import (
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
from sparring.graph.places import padded
from sparring.graph.simplify import simplify

MOST_NUMBERS = 1 << 27
"""Numbers that a value may have per input; a map of a large segmentation network has a quarter."""


class Unsupported(LoadError):
    """Report a network with a part that cannot be bounded."""


class Edge(NamedTuple):
    """Hold the output of a node, in the shape that the file or module gives one sample.

    The shape includes the batch axis (1).

    Views cost nothing: they change `shape` only. head: "softmax" or "log_softmax" where one was left out after this node.
    """

    node: int
    shape: Shape
    head: str | None = None


Value = Edge | Tensor
"""What depends on the input, and what does not."""


class Built(NamedTuple):
    """Hold a network and what it omits at its end: "softmax", "log_softmax" or nothing."""

    network: Network
    head: str | None

    @property
    def input_shape(self) -> Shape:
        """Return the shape of one input."""
        return self.network.input_shape

    def answer(self, x: Tensor) -> Tensor:
        """Return the output [n, outputs] of the imported model on [n, *input], with the omitted end."""
        scores = self.network(x)
        return scores.softmax(1) if self.head == "softmax" else scores.log_softmax(1) if self.head == "log_softmax" else scores


class Builder:
    """Collect the nodes of a network.

    Constants given to its methods may be of any floating type; they become `dtype`.

    shape: of one input without the batch. batched: whether the model sees it as [1, *shape]. rows: the batch size for which the
    shapes in the file were written, where it is fixed.
    """

    def __init__(self, shape: Shape, *, batched: bool = True, rows: int = 1, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"):
        self.dtype, self.device, self.rows = dtype, torch.device(device), rows
        self.nodes = [Node(Input(tuple(shape)))]
        self.shapes: list[Shape] = [tuple(shape)]
        self.input = Edge(0, (1, *shape) if batched else tuple(shape))
        self._views: dict[tuple[int, Shape], int] = {}

    def finish(self, output: Value, maps: bool = False) -> Built:
        """Return the network up to this value, its numbers flattened; simplified."""
        if isinstance(output, Tensor):
            raise Unsupported("the output of the network does not depend on its input")
        width = math.prod(output.shape)
        if width != max(output.shape, default=1) and not maps:  # maps: scores pixel by pixel, which attacks can use and certifiers cannot
            raise Unsupported(f"the output for one input has shape {written(output.shape)}: one row of scores [n, k] is supported")
        last = self._at(output._replace(head=None), (width,))
        notes = (f"{output.head} omitted at the end: it does not change the order of the classes",) if output.head else ()
        return Built(Network(simplify(self.nodes, last), notes), output.head)

    def real(self, value: Tensor | float) -> Tensor:
        """Return a constant in the type and place of this network.

        Live tensors keep their connection.
        """
        kept = value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)
        return kept.to(self.device, self.dtype)

    def _add(self, operator: Operator, *places: int) -> int:
        self.nodes.append(Node(operator, places))
        self.shapes.append(operator.shape(*(self.shapes[node] for node in places)))
        return len(self.nodes) - 1

    def _at(self, edge: Edge, shape: Shape) -> int:
        """The place of a node that gives the edge's numbers in this shape."""
        if edge.head:
            raise Unsupported(f"{edge.head} is supported only at the end of a network")
        if self.shapes[edge.node] == shape:
            return edge.node
        key = (edge.node, shape)
        if key not in self._views:
            self._views[key] = self._add(Reshape(shape), edge.node)
        return self._views[key]

    def _plain(self, edge: Edge) -> int:
        return self._at(edge, natural(edge.shape))

    def _each(self, operator: Operator, edge: Edge) -> Edge:
        return Edge(self._add(operator, self._at(edge, self.shapes[edge.node])), edge.shape)

    # number by number

    def relu(self, edge: Edge) -> Edge:
        """Return relu(x)."""
        return self._each(Relu(), edge)

    def sigmoid(self, edge: Edge) -> Edge:
        """Return sigmoid(x)."""
        return self._each(Sigmoid(), edge)

    def tanh(self, edge: Edge) -> Edge:
        """Return tanh(x)."""
        return self._each(Tanh(), edge)

    def scale(self, edge: Edge, factor: Tensor | float, shift: Tensor | float | None = None) -> Edge:
        """Return factor * x + shift; both broadcast against the edge, which grows where needed."""
        parts = [self.real(factor)] + ([] if shift is None else [self.real(shift)])
        shape = tuple(np.broadcast_shapes(edge.shape, *(part.shape for part in parts)))
        if all(part.numel() == 1 for part in parts) and math.prod(shape) == math.prod(edge.shape):
            scalars = [part.reshape(()) for part in parts]
            return Edge(self._each(Scale(*scalars), edge).node, shape)
        edge = self.expand(edge, shape)
        rank = len(natural(shape))
        parts = [part.reshape(part.shape[-rank:] if part.ndim > rank else part.shape) for part in parts]
        return Edge(self._add(Scale(*parts), self._plain(edge)), shape)

    def add(self, first: Value, second: Value) -> Value:
        """Return the sum of two values."""
        if isinstance(first, Tensor):
            first, second = second, first
        if isinstance(first, Tensor):
            return first + second  # type: ignore[operator]
        if isinstance(second, Tensor):
            return self.scale(first, 1.0, second)
        a, b = self._alike(first, second)
        return Edge(self._add(Add(), self._plain(a), self._plain(b)), a.shape)

    def sub(self, first: Value, second: Value) -> Value:
        """Return the difference of two values."""
        return self.add(first, self.mul(second, torch.tensor(-1.0)))

    def mul(self, first: Value, second: Value) -> Value:
        """Return the product of two values."""
        if isinstance(first, Tensor):
            first, second = second, first
        if isinstance(first, Tensor):
            return first * second  # type: ignore[operator]
        if isinstance(second, Tensor):
            return self.scale(first, second)
        a, b = self._alike(first, second)
        return Edge(self._add(Product(), self._plain(a), self._plain(b)), a.shape)

    def div(self, first: Value, second: Value) -> Value:
        """Return the quotient of a value and a constant."""
        if isinstance(second, Edge):
            raise Unsupported("division by a value that depends on the input is not supported")
        return self.mul(first, 1 / self.real(second))

    def leaky_relu(self, edge: Edge, slope: Tensor | float) -> Edge:
        """Return slope * x + (1 - slope) * relu(x)."""
        slope = self.real(slope)
        return self.edge(self.add(self.scale(edge, slope), self.scale(self.relu(edge), 1 - slope)))

    def abs(self, edge: Edge) -> Edge:
        """Return 2 relu(x) - x."""
        return self.edge(self.add(self.scale(self.relu(edge), 2.0), self.scale(edge, -1.0)))

    def clip(self, edge: Edge, low: Tensor | float | None, high: Tensor | float | None) -> Edge:
        """Return min(max(x, low), high), each as one ReLU, so that intervals stay within the limits."""
        if low is not None and bool((self.real(low) > -math.inf).all()):
            low = self.real(low)
            edge = self.scale(self.relu(self.scale(edge, 1.0, -low)), 1.0, low)
        if high is not None and bool((self.real(high) < math.inf).all()):
            high = self.real(high)
            edge = self.scale(self.relu(self.scale(edge, -1.0, high)), -1.0, high)
        return edge

    def maximum(self, first: Value, second: Value) -> Value:
        """Return b + relu(a - b)."""
        if isinstance(first, Tensor) and isinstance(second, Tensor):
            return torch.maximum(first, second)
        return self.add(second, self.relu(self.edge(self.sub(first, second))))

    def minimum(self, first: Value, second: Value) -> Value:
        """Return b - relu(b - a)."""
        if isinstance(first, Tensor) and isinstance(second, Tensor):
            return torch.minimum(first, second)
        return self.sub(second, self.relu(self.edge(self.sub(second, first))))

    def softmax(self, edge: Edge, axis: int, name: str = "softmax") -> Edge:
        """Omit a softmax, which may occur at the end only."""
        if edge.head or edge.shape[axis] != math.prod(edge.shape):
            raise Unsupported(f"{name} over axis {axis} of {written(edge.shape)}: it is supported only at the end, over the classes")
        return edge._replace(head=name)

    # numbers moved about

    def view(self, edge: Edge, shape: Sequence[int]) -> Edge:
        """Return the same numbers in another shape, which may hold one -1."""
        sides = self.for_one(shape, -1 in shape or math.prod(shape) == self.rows * math.prod(edge.shape))
        if -1 in sides:
            known = -math.prod(sides)
            sides[sides.index(-1)] = math.prod(edge.shape) // known if known > 0 else 0
        if math.prod(sides) != math.prod(edge.shape):
            raise Unsupported(f"{written(edge.shape)} cannot be reshaped to {written(shape)} for one sample")
        return edge._replace(shape=tuple(sides))

    def for_one(self, shape: Sequence[int], fits: bool = True) -> list[int]:
        """Return a shape written for all rows of a fixed batch, for one."""
        if self.rows == 1 or not fits or not shape or shape[0] <= 0 or shape[0] % self.rows:
            return list(shape)
        return [shape[0] // self.rows, *shape[1:]]

    @staticmethod
    def check_room(shape: Sequence[int]) -> None:
        """Raise Unsupported for a value of more numbers per input than fit."""
        if math.prod(shape) > MOST_NUMBERS:
            raise Unsupported(f"{written(shape)} are more numbers per input than {MOST_NUMBERS:,}")

    def pick(self, edge: Edge, how: Callable[[Tensor], Tensor]) -> Edge:
        """Return the edge with its numbers moved, repeated or left out as `how` does with places.

        `how` maps a tensor of places (int64, of the edge's shape); -1 gives 0.
        """
        count = math.prod(edge.shape)
        places = how(torch.arange(count).reshape(edge.shape))
        if places.numel() == count and torch.equal(places.flatten(), torch.arange(count)):
            return edge._replace(shape=tuple(places.shape))
        start = self._at(edge, self.shapes[edge.node])
        index = places.reshape(natural(tuple(places.shape))).contiguous().to(self.device)
        return Edge(self._add(Select(index), start), tuple(places.shape))

    def expand(self, edge: Edge, shape: Shape) -> Edge:
        """Return the edge repeated to this shape."""
        if edge.shape == shape:
            return edge
        self.check_room(shape)
        return self.pick(edge, lambda places: places.expand(shape))

    def pad(self, edge: Edge, margins: Sequence[tuple[int, int]], value: float = 0.0) -> Edge:
        """Return the edge padded by (before, after) of each axis; negative margins cut."""
        if len(margins) != len(edge.shape):
            raise Unsupported(f"{len(margins)} margins for {written(edge.shape)}")
        if not any(map(any, margins)):
            return edge
        self.check_room([side + max(0, before) + max(0, after) for side, (before, after) in zip(edge.shape, margins, strict=True)])
        out = self.pick(edge, lambda places: padded(places, margins))
        if value:
            filled = padded(torch.zeros(edge.shape, dtype=torch.int64), margins) < 0
            out = self.scale(out, 1.0, filled * value)
        return out

    def concat(self, values: Sequence[Value], axis: int) -> Value:
        """Return the values side by side along an axis."""
        edges = [self.edge(value) for value in values if isinstance(value, Edge) or value.numel()]
        if len(edges) == 1:
            return edges[0]
        axis %= len(edges[0].shape)
        shape = list(edges[0].shape)
        shape[axis] = sum(edge.shape[axis] for edge in edges)
        self.check_room(shape)
        if any(edge.shape[:axis] + edge.shape[axis + 1 :] != edges[0].shape[:axis] + edges[0].shape[axis + 1 :] for edge in edges):
            raise Unsupported(f"{', '.join(written(edge.shape) for edge in edges)} cannot be concatenated along axis {axis}")
        dropped = len(edges[0].shape) - len(natural(tuple(shape))) if axis else 0
        return Edge(self._add(Concat(axis - dropped), *(self._at(edge, edge.shape[dropped:]) for edge in edges)), tuple(shape))

    def edge(self, value: Value) -> Edge:
        """Return a constant as a node that ignores the input."""
        if isinstance(value, Edge):
            return value
        nothing = self.pick(self.input, lambda places: torch.full(value.shape, -1))
        return self.scale(nothing, 1.0, value)

    def _alike(self, first: Edge, second: Edge) -> tuple[Edge, Edge]:
        try:
            shape = tuple(np.broadcast_shapes(first.shape, second.shape))
        except RuntimeError:
            raise Unsupported(f"values of shape {written(first.shape)} and {written(second.shape)} cannot be combined") from None
        return self.expand(first, shape), self.expand(second, shape)

    # sums

    def linear(self, edge: Edge, weight: Tensor, bias: Tensor | None = None) -> Edge:
        """Return x W' + b along the last axis; weight [out, in]."""
        weight = self.real(weight)
        if weight.ndim != 2 or edge.shape[-1] != weight.shape[1]:
            raise Unsupported(f"a weight {written(weight.shape)} does not fit the last axis of {written(edge.shape)}")
        shape = (*edge.shape[:-1], weight.shape[0])
        start = self._at(edge, natural(edge.shape) if len(edge.shape) > 1 else edge.shape)
        if bias is not None and bias.ndim and bias.numel() == weight.shape[0] == bias.shape[-1]:
            return Edge(self._add(Linear(weight, self.real(bias).reshape(-1)), start), shape)
        out = Edge(self._add(Linear(weight), start), shape)
        return out if bias is None else self.scale(out, 1.0, bias)

    def matmul(self, first: Value, second: Value) -> Value:
        """Return a product of matrices of which one is constant.

        Batches of different constant matrices are not supported.
        """
        if isinstance(first, Tensor) and isinstance(second, Tensor):
            return first @ second
        if isinstance(first, Edge) and isinstance(second, Edge):
            raise Unsupported("a product of two matrices that both depend on the input is not supported")
        if isinstance(first, Edge) and isinstance(second, Tensor):
            if second.ndim == 1:
                out = self.linear(first, second[None])
                return self.view(out, out.shape[:-1])
            return self.linear(first, _matrix(second).mT)
        assert isinstance(first, Tensor)
        assert isinstance(second, Edge)  # nothing else is left, which the type checker does not see
        if len(second.shape) == 1:
            return self.linear(second, _matrix(first))
        turned = self.linear(self.pick(second, lambda places: places.mT), _matrix(first) if first.ndim > 1 else first[None])
        out = self.pick(turned, lambda places: places.mT)
        return out if first.ndim > 1 else self.view(out, (*out.shape[:-2], out.shape[-1]))

    def conv(
        self,
        edge: Edge,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        stride: Sequence[int] = (1, 1),
        padding: Sequence[tuple[int, int]] = ((0, 0), (0, 0)),
        dilation: Sequence[int] = (1, 1),
        groups: int = 1,
    ) -> Edge:
        """Return the convolution with a weight [out, in / groups, *kernel].

        padding: (before, after) of each axis; where they differ, the output is selected.
        """
        sample, lead = self.image(edge, weight.ndim - 2, "a convolution")
        if sample.shape[0] != weight.shape[1] * groups:
            raise Unsupported(f"a weight {written(weight.shape)} with {groups} groups does not fit {written(edge.shape)}")
        both = tuple(max(0, min(margin)) for margin in padding)
        sample = self.pad(sample, [(0, 0), *((before - p, after - p) for (before, after), p in zip(padding, both, strict=True))])
        bias = None if bias is None else self.real(bias)
        operator = Conv(self.real(weight), bias, tuple(stride), both, tuple(dilation), groups)
        node = self._add(operator, self._at(sample, sample.shape))
        return Edge(node, lead + self.shapes[node])

    def conv_transpose(
        self,
        edge: Edge,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        stride: Sequence[int] = (1, 1),
        padding: Sequence[tuple[int, int]] = ((0, 0), (0, 0)),
        dilation: Sequence[int] = (1, 1),
        groups: int = 1,
        output_padding: Sequence[int] = (0, 0),
    ) -> Edge:
        """Return the transposed convolution with a weight [in, out / groups, *kernel].

        Where the two sides of the padding differ, the output is cut.
        """
        sample, lead = self.image(edge, weight.ndim - 2, "a transposed convolution")
        both = tuple(max(0, min(margin)) for margin in padding)
        bias = None if bias is None else self.real(bias)
        operator = ConvTranspose(self.real(weight), bias, tuple(stride), both, tuple(dilation), groups, tuple(output_padding))
        node = self._add(operator, self._at(sample, sample.shape))
        out = Edge(node, self.shapes[node])
        out = self.pad(out, [(0, 0), *((p - before, p - after) for (before, after), p in zip(padding, both, strict=True))])
        return self.view(out, lead + out.shape)

    def batch_norm(self, edge: Edge, mean: Tensor, variance: Tensor, weight: Tensor | None, bias: Tensor | None, epsilon: float) -> Edge:
        """Return the edge normalised by the running statistics, along axis 1."""
        factor = (self.real(variance) + epsilon).rsqrt()
        if weight is not None:
            factor = factor * self.real(weight)
        shift = -self.real(mean) * factor
        if bias is not None:
            shift = shift + self.real(bias)
        sides = (-1, *[1] * (len(edge.shape) - 2))
        return self.scale(edge, factor.reshape(sides), shift.reshape(sides))

    def sum(self, edge: Edge, axes: Sequence[int] | None, *, keep: bool = False, mean: bool = False) -> Edge:
        """Return the sum (or mean) over the given axes, or over all."""
        rank = len(edge.shape)
        gone = sorted({axis % rank for axis in axes}) if axes else list(range(rank))
        rest = [axis for axis in range(rank) if axis not in gone]
        count = math.prod(edge.shape[axis] for axis in gone)
        shape = tuple(edge.shape[axis] for axis in range(rank) if axis not in gone or keep)
        shape = tuple(1 if keep and axis in gone else side for axis, side in enumerate(shape)) if keep else shape
        if count == 1:
            return self.view(edge, shape)
        last = self.pick(edge, lambda places: places.permute(*rest, *gone))
        flat = self.view(last, (*(edge.shape[axis] for axis in rest), count))
        return self.view(self.linear(flat, torch.full((1, count), 1 / count if mean else 1.0, dtype=self.dtype)), shape)

    def image(self, edge: Edge, axes: int, what: str) -> tuple[Edge, Shape]:
        """Return the edge as [channels, *axes], and the axes of length 1 before it."""
        extra = len(edge.shape) - axes - 1
        if axes not in (1, 2):
            raise Unsupported(f"{what} over {axes} axes: one or two are supported")
        if extra < 0 or math.prod(edge.shape[:extra]) != 1:
            raise Unsupported(f"{what} over {axes} axes of {written(edge.shape)}, where one sample [1, channels, ...] is expected")
        return self.view(edge, edge.shape[extra:]), edge.shape[:extra]


def natural(shape: Shape) -> Shape:
    """Return the shape without the batch axis."""
    return shape[1:] if len(shape) > 1 and shape[0] == 1 else shape


def _matrix(constant: Tensor) -> Tensor:
    if math.prod(constant.shape[:-2]) != 1:
        raise Unsupported(f"a product with a stack of matrices {written(constant.shape)} is not supported")
    return constant.reshape(constant.shape[-2:])


def written(shape: Sequence[int]) -> str:
    """Return a shape in words."""
    return "[" + ", ".join(map(str, shape)) + "]"
