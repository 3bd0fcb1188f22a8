"""The few operators that networks are made of, each batch first: affine ones, activations, and a few of several values.

Max pooling, leaky ReLU, absolute values and clipping are not here: importers write them exactly as ReLUs of differences, so
whatever works on ReLUs works on them.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

Shape = tuple[int, ...]
"""Of one sample, without the batch."""


class Operator(ABC):
    """Represent a function of one or more values of the network.

    Frozen; tensors inside are constants (or live parameters in training).
    """

    arity: ClassVar[int | None] = 1
    """How many values it takes; None: any number."""

    @abstractmethod
    def __call__(self, *values: Tensor) -> Tensor:
        """[n, *in], ... to [n, *out]."""

    @abstractmethod
    def shape(self, *shapes: Shape) -> Shape:
        """Return the output shape for these input shapes."""


class Affine(Operator):
    """Map x to A x + b; A acts through `linear`, `absolute` and `adjoint`, never written out."""

    @abstractmethod
    def linear(self, x: Tensor) -> Tensor:
        """Return a x: [n, *in] to [n, *out]."""

    def absolute(self, x: Tensor) -> Tensor:
        """Return |A| x, entry by entry. An operator that only moves numbers has no signs."""
        return self.linear(x)

    @abstractmethod
    def adjoint(self, g: Tensor, shape: Shape) -> Tensor:
        """Return g A: [n, *out] to [n, *in], `shape` being *in."""

    @property
    def constant(self) -> Tensor | None:
        """Return b, with a shape that broadcasts against [n, *out], or None if it is 0."""
        return None

    @property
    def terms(self) -> int:
        """Return at most how many products are summed for one number of the answer, b included."""
        return 1

    def __call__(self, *values: Tensor) -> Tensor:
        (x,) = values
        constant = self.constant
        return self.linear(x) if constant is None else self.linear(x) + constant


@dataclass(frozen=True, eq=False)
class Input(Operator):
    """Represent the input of the network."""

    size: Shape
    arity: ClassVar[int | None] = 0

    def __call__(self, *values: Tensor) -> Tensor:
        raise TypeError("the input node cannot be computed: give its value")

    def shape(self, *shapes: Shape) -> Shape:
        return self.size


@dataclass(frozen=True, eq=False)
class Linear(Affine):
    """Apply a linear map on the last axis. weight [out, in], bias [out] or None."""

    weight: Tensor
    bias: Tensor | None = None

    def linear(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight)

    def absolute(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.abs())

    def adjoint(self, g: Tensor, shape: Shape) -> Tensor:
        return g @ self.weight

    @property
    def constant(self) -> Tensor | None:
        return self.bias

    @property
    def terms(self) -> int:
        return self.weight.shape[1] + 1

    def shape(self, *shapes: Shape) -> Shape:
        return (*shapes[0][:-1], self.weight.shape[0])

    def __call__(self, *values: Tensor) -> Tensor:
        return F.linear(values[0], self.weight, self.bias)


@dataclass(frozen=True, eq=False)
class Kernel(Affine):
    """Represent a kernel over one or two axes, shared by both kinds of convolution.

    The padding is the same on both sides.
    """

    weight: Tensor
    bias: Tensor | None = None
    stride: tuple[int, ...] = (1, 1)
    padding: tuple[int, ...] = (0, 0)
    dilation: tuple[int, ...] = (1, 1)
    groups: int = 1

    @property
    def constant(self) -> Tensor | None:
        return None if self.bias is None else self.bias.reshape(-1, *[1] * (self.weight.ndim - 2))


@dataclass(frozen=True, eq=False)
class Conv(Kernel):
    """Convolve over one or two axes with the same padding on both sides.

    weight [out, in / groups, *kernel], bias [out] or None.
    """

    def _convolved(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        convolution = F.conv1d if self.weight.ndim == 3 else F.conv2d
        return convolution(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)  # pyright: ignore[reportArgumentType]

    def linear(self, x: Tensor) -> Tensor:
        return self._convolved(x, self.weight)

    def absolute(self, x: Tensor) -> Tensor:
        return self._convolved(x, self.weight.abs())

    def adjoint(self, g: Tensor, shape: Shape) -> Tensor:
        reach = (d * (k - 1) - 2 * p for d, k, p in zip(self.dilation, self.weight.shape[2:], self.padding, strict=True))
        rest = [size - (out - 1) * s - 1 - r for size, out, s, r in zip(shape[1:], g.shape[2:], self.stride, reach, strict=True)]
        transposed = F.conv_transpose1d if self.weight.ndim == 3 else F.conv_transpose2d
        return transposed(g, self.weight, None, self.stride, self.padding, rest, self.groups, self.dilation)  # pyright: ignore[reportArgumentType]

    @property
    def terms(self) -> int:
        return math.prod(self.weight.shape[1:]) + 1

    def shape(self, *shapes: Shape) -> Shape:
        sides = zip(shapes[0][1:], self.weight.shape[2:], self.stride, self.padding, self.dilation, strict=True)
        return (self.weight.shape[0], *((size + 2 * p - d * (k - 1) - 1) // s + 1 for size, k, s, p, d in sides))

    def __call__(self, *values: Tensor) -> Tensor:
        return self._convolved(values[0], self.weight, self.bias)


@dataclass(frozen=True, eq=False)
class ConvTranspose(Kernel):
    """Apply the adjoint of a convolution, as torch defines it.

    weight [in, out / groups, *kernel], bias [out] or None.
    """

    output_padding: tuple[int, ...] = (0, 0)

    def _transposed(self, x: Tensor, weight: Tensor) -> Tensor:
        transposed = F.conv_transpose1d if self.weight.ndim == 3 else F.conv_transpose2d
        return transposed(x, weight, None, self.stride, self.padding, self.output_padding, self.groups, self.dilation)  # pyright: ignore[reportArgumentType]

    def linear(self, x: Tensor) -> Tensor:
        return self._transposed(x, self.weight)

    def absolute(self, x: Tensor) -> Tensor:
        return self._transposed(x, self.weight.abs())

    def adjoint(self, g: Tensor, shape: Shape) -> Tensor:
        convolution = F.conv1d if self.weight.ndim == 3 else F.conv2d
        back = convolution(g, self.weight, None, self.stride, self.padding, self.dilation, self.groups)  # pyright: ignore[reportArgumentType]
        return back[(..., *(slice(side) for side in shape[1:]))]  # an output padding of a stride or more would give further places

    @property
    def terms(self) -> int:
        return math.prod(self.weight.shape[2:]) * self.weight.shape[0] // self.groups + 1

    def shape(self, *shapes: Shape) -> Shape:
        sides = zip(shapes[0][1:], self.weight.shape[2:], self.stride, self.padding, self.dilation, self.output_padding, strict=True)
        return (self.weight.shape[1] * self.groups, *((size - 1) * s - 2 * p + d * (k - 1) + o + 1 for size, k, s, p, d, o in sides))


@dataclass(frozen=True, eq=False)
class Scale(Affine):
    """Multiply by a constant and add a constant, entry by entry.

    Both broadcast against [*in] without enlarging it.
    """

    factor: Tensor
    shift: Tensor | None = None

    def linear(self, x: Tensor) -> Tensor:
        return x * self.factor

    def absolute(self, x: Tensor) -> Tensor:
        return x * self.factor.abs()

    def adjoint(self, g: Tensor, shape: Shape) -> Tensor:
        return g * self.factor

    @property
    def constant(self) -> Tensor | None:
        return self.shift

    @property
    def terms(self) -> int:
        return 2

    def shape(self, *shapes: Shape) -> Shape:
        return shapes[0]


@dataclass(frozen=True, eq=False)
class Reshape(Affine):
    """Represent the same numbers in another shape."""

    size: Shape

    def linear(self, x: Tensor) -> Tensor:
        return x.reshape(len(x), *self.size)

    def adjoint(self, g: Tensor, shape: Shape) -> Tensor:
        return g.reshape(len(g), *shape)

    def shape(self, *shapes: Shape) -> Shape:
        return self.size


@dataclass(frozen=True, eq=False)
class Select(Affine):
    """Pick numbers by place: transposing, slicing, padding and gathering.

    index int64 [*out], places in the flattened input; -1 gives 0.
    """

    index: Tensor

    def linear(self, x: Tensor) -> Tensor:
        picked = x.flatten(1)[:, self.index.clamp_min(0).flatten()].reshape(len(x), *self.index.shape)
        return torch.where(self.index >= 0, picked, 0.0) if bool((self.index < 0).any()) else picked

    def adjoint(self, g: Tensor, shape: Shape) -> Tensor:
        places = self.index.flatten()
        inside = places >= 0
        flat = g.flatten(1)
        if not bool(inside.all()):
            places, flat = places[inside], flat[:, inside]
        return flat.new_zeros(len(g), math.prod(shape)).index_add(1, places, flat).reshape(len(g), *shape)

    def shape(self, *shapes: Shape) -> Shape:
        return tuple(self.index.shape)


@dataclass(frozen=True, eq=False)
class Add(Operator):
    """Represent the sum of values of one shape."""

    arity: ClassVar[int | None] = None

    def __call__(self, *values: Tensor) -> Tensor:
        total = values[0]
        for value in values[1:]:
            total = total + value
        return total

    def shape(self, *shapes: Shape) -> Shape:
        return shapes[0]


@dataclass(frozen=True, eq=False)
class Concat(Operator):
    """Put values side by side. axis counts from 0 without the batch."""

    axis: int
    arity: ClassVar[int | None] = None

    def __call__(self, *values: Tensor) -> Tensor:
        return torch.cat(values, self.axis + 1)

    def shape(self, *shapes: Shape) -> Shape:
        first = list(shapes[0])
        first[self.axis] = sum(shape[self.axis] for shape in shapes)
        return tuple(first)


class Activation(Operator):
    """Represent a function of each number by itself, increasing and not affine."""

    def shape(self, *shapes: Shape) -> Shape:
        return shapes[0]


@dataclass(frozen=True, eq=False)
class Relu(Activation):
    """Apply the rectifier max(x, 0)."""

    def __call__(self, *values: Tensor) -> Tensor:
        return values[0].relu()


@dataclass(frozen=True, eq=False)
class Sigmoid(Activation):
    """Apply the logistic function."""

    def __call__(self, *values: Tensor) -> Tensor:
        return values[0].sigmoid()


@dataclass(frozen=True, eq=False)
class Tanh(Activation):
    """Apply the hyperbolic tangent."""

    def __call__(self, *values: Tensor) -> Tensor:
        return values[0].tanh()


@dataclass(frozen=True, eq=False)
class Product(Operator):
    """Multiply two values of one shape, entry by entry."""

    arity: ClassVar[int | None] = 2

    def __call__(self, *values: Tensor) -> Tensor:
        return values[0] * values[1]

    def shape(self, *shapes: Shape) -> Shape:
        return shapes[0]
