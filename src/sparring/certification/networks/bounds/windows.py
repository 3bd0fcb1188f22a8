"""Backward propagation for neurons of convolutions, restricted to their receptive fields.

The cost of a row is that of its receptive field, not of the whole map. Bounds: Zhang et al. 2018, arXiv:1811.00866; sizes and places of
windows: the arithmetic of convolutions, Dumoulin and Visin 2016, arXiv:1603.07285.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sparring.certification.networks.bounds.backward import Relaxations, resume, through_nonlinear
from sparring.certification.networks.bounds.inputs import InputSet
from sparring.certification.networks.bounds.interval import Rounding
from sparring.certification.networks.bounds.relax import Lines, Planes
from sparring.graph.network import Network
from sparring.graph.operators import Activation, Add, Affine, Concat, Conv, Product, Scale, Shape

TABLE = 1 << 17
"""Largest matrix of a convolution on a window, in numbers, for which a matrix product is faster than convolving."""


class Frame(NamedTuple):
    """Describe where windows lie in a map.

    Where windows lie in a map: along each axis the window of the neuron at p covers p * stride + offset and the size - 1 places after it.
    What lies outside the map counts nothing.
    """

    stride: tuple[int, ...]
    offset: tuple[int, ...]
    size: tuple[int, ...]

    def through(self, conv: Conv) -> "Frame":
        """Return the frame in the input of a convolution."""
        stride = tuple(mine * its for mine, its in zip(self.stride, conv.stride, strict=True))
        offset = tuple(mine * its - padding for mine, its, padding in zip(self.offset, conv.stride, conv.padding, strict=True))
        reach = zip(self.size, conv.stride, conv.dilation, conv.weight.shape[2:], strict=True)
        return Frame(stride, offset, tuple((size - 1) * step + wide * (kernel - 1) + 1 for size, step, wide, kernel in reach))

    def union(self, other: "Frame") -> "Frame":
        """Return the smallest frame around both, of one stride."""
        offset = tuple(map(min, self.offset, other.offset))
        ends = (max(a + b, c + d) for a, b, c, d in zip(self.offset, self.size, other.offset, other.size, strict=True))
        return Frame(self.stride, offset, tuple(end - begin for end, begin in zip(ends, offset, strict=True)))

    def pads(self, inner: "Frame") -> list[int]:
        """Return the argument of `F.pad` that enlarges windows of a frame within this one."""
        pads: list[int] = []
        for mine, its, size, within in zip(self.offset, inner.offset, self.size, inner.size, strict=True):
            pads = [its - mine, mine + size - its - within, *pads]
        return pads


class Window(NamedTuple):
    """Hold slopes [k, r, channels, *size] on windows of k neurons.

    clean: whether everything outside the map is zero.
    """

    slope: Tensor
    frame: Frame
    clean: bool


WaitingWindows = dict[int, Window]
"""By node: windows at the output of a node, not yet propagated through it."""


class Plan(NamedTuple):
    """Describe how the rows of a start travel.

    How the rows of a start travel: as windows down to the node `stop`, whole from there; the widest of them has `width` numbers.
    """

    stop: int
    width: int


class Neurons(NamedTuple):
    """Hold the places of neurons of a map.

    Neurons of a map: of which sample, at which place along each axis, in which channel; int64 [k] each, in the order of sample and place.
    """

    sample: Tensor
    position: tuple[Tensor, ...]
    channel: Tensor

    def cut(self, begin: int, end: int) -> "Neurons":
        """Return a slice of the neurons."""
        return Neurons(self.sample[begin:end], tuple(one[begin:end] for one in self.position), self.channel[begin:end])


def plan(network: Network, start: int) -> Plan | None:
    """Return the plan of a start; None where windows are of no use.

    They are of no use where the start is no map, or depends on all of another before the first activation.
    """
    shape = network.shapes[start]
    if len(shape) not in (2, 3) or math.prod(shape[1:]) == 1:
        return None
    axes, width, activations = len(shape) - 1, 1, 0
    frames = {start: Frame((1,) * axes, (0,) * axes, (1,) * axes)}
    for index in range(start, 0, -1):
        frame = frames.pop(index, None)
        if frame is None:
            continue
        node = network.nodes[index]
        if not _passes(network, index, frame):
            return Plan(index, max(width, *(math.prod(one) for one in network.shapes[: index + 1]))) if activations else None
        activations += isinstance(node.operator, Activation | Product)
        further = frame.through(node.operator) if isinstance(node.operator, Conv) else frame
        for before in node.inputs:
            if before in frames and frames[before].stride != further.stride:
                return None
            frames[before] = frames[before].union(further) if before in frames else further
            width = max(width, network.shapes[before][0] * math.prod(frames[before].size))
    return Plan(0, width)


def _passes(network: Network, node: int, frame: Frame) -> bool:
    """Return whether windows can be propagated through this node and are smaller than the map."""
    operator, shape = network.nodes[node].operator, network.shapes[node]
    known = isinstance(operator, Conv | Scale | Add | Activation | Product) or (isinstance(operator, Concat) and operator.axis == 0)
    return known and len(shape) == len(frame.size) + 1 and math.prod(frame.size) < math.prod(shape[1:])


@dataclass(frozen=True, eq=False)
class Views:
    """Hold what the blocks of one start share.

    These are maps of all samples padded and cut into windows, and matrices of convolutions.
    """

    positions: Shape  # of the start
    found: dict[object, Tensor] = field(default_factory=dict)

    def windows(self, key: object, values: Tensor, frame: Frame) -> Tensor:
        """Return [n, *positions, channels, *size], a view; values [n, channels, *map].

        The key stands for values and frame.
        """
        return self.once(key, lambda: _windows(values, frame, self.positions))

    def once(self, key: object, make: Callable[[], Tensor]) -> Tensor:
        """Return the value under a key, made at its first use."""
        if key not in self.found:
            self.found[key] = make()
        return self.found[key]


def _windows(values: Tensor, frame: Frame, positions: Shape) -> Tensor:
    axes, pads = len(positions), []
    for count, side, stride, offset, size in zip(positions, values.shape[2:], *frame, strict=True):
        pads = [max(0, -offset), max(0, (count - 1) * stride + offset + size - side), *pads]
    values = F.pad(values, pads)
    for axis, (count, stride, offset, size) in enumerate(zip(positions, *frame, strict=True)):
        values = values.narrow(axis + 2, max(0, offset), (count - 1) * stride + size).unfold(axis + 2, size, stride)
    return values.permute(0, *range(2, 2 + axes), 1, *range(2 + axes, 2 + 2 * axes))


@dataclass(frozen=True, eq=False)
class Block:
    """Hold the samples and places of neurons whose rows are propagated together."""

    sample: Tensor  # int64 [k]
    position: tuple[Tensor, ...]
    cell: Tensor  # int64 [k]: the position counted through
    begin: int  # the first sample
    end: int  # after the last

    @classmethod
    def of(cls, neurons: Neurons, positions: Shape) -> "Block":
        """Return the block of these neurons."""
        cell = torch.zeros_like(neurons.sample)
        for side, one in zip(positions, neurons.position, strict=True):
            cell = cell * side + one
        return cls(neurons.sample, neurons.position, cell, int(neurons.sample[0]), int(neurons.sample[-1]) + 1)

    def read(self, windows: Tensor) -> Tensor:
        """Return [k, channels, *size] of `Views.windows`.

        Where they have one sample it stands for all.
        """
        axes = len(self.position)
        cells = math.prod(windows.shape[1 : 1 + axes])
        single = len(windows) == 1
        begin, end = (0, 1) if single else (self.begin, self.end)
        if (end - begin) * cells > 2 * len(self.cell):  # few neurons of many samples
            return windows[(torch.zeros_like(self.sample) if single else self.sample, *self.position)]
        table = windows[begin:end].reshape((end - begin) * cells, *windows.shape[1 + axes :])
        return table.index_select(0, self.cell if end - begin == 1 else self.cell + (self.sample - begin) * cells)


class Opening(NamedTuple):
    """Hold the common beginning of the propagation of all rows of a start.

    Rows of the channels of a start propagated back as far as they are the same everywhere: windows [channels, 1, ...], constant [channels, 1].
    """

    waiting: WaitingWindows
    constant: Tensor


def opening(network: Network, start: int, route: Plan, views: Views, like: Tensor, rounding: Rounding | None = None) -> Opening:
    """Propagate the rows of a start as far back as they are the same everywhere.

    like: a tensor of the type and device to compute in.
    """
    channels, axes = network.shapes[start][0], len(network.shapes[start]) - 1
    rows = torch.eye(channels, dtype=like.dtype, device=like.device).reshape(channels, 1, channels, *[1] * axes)
    waiting: WaitingWindows = {start: Window(rows, Frame((1,) * axes, (0,) * axes, (1,) * axes), True)}
    constant = rows.new_zeros(channels, 1)
    for node in range(start, route.stop, -1):
        if node not in waiting:
            continue
        window, operator = waiting[node], network.nodes[node].operator
        affine = isinstance(operator, Affine)
        uniform = not isinstance(operator, Scale) or all(_uniform(part, network.shapes[node]) for part in (operator.factor, operator.shift))
        if node in network.nonlinearities or (rounding and node in rounding) or (affine and not (window.clean and uniform)):
            break
        del waiting[node]
        constant = _through_linear(network, node, window, waiting, constant, views, None)
    return Opening(waiting, constant)


def least(
    network: Network, inputs: InputSet, route: Plan, opened: Opening, neurons: Neurons, lines: Relaxations, views: Views, rounding: Rounding | None
) -> Tensor:
    """Return lower bounds of neurons and of their negatives, [k, 2]."""
    block = Block.of(neurons, views.positions)
    waiting = {index: window._replace(slope=window.slope.index_select(0, neurons.channel)) for index, window in opened.waiting.items()}
    constant = opened.constant.index_select(0, neurons.channel)
    rounding = rounding or {}
    for index in range(max(waiting), route.stop, -1):
        window = waiting.pop(index, None)
        if window is None:
            continue
        node = network.nodes[index]
        if (index in rounding or index in network.nonlinearities) and constant.shape[1] == 1:  # from here on a row and its negative differ
            waiting = {other: _mirrored(one) for other, one in waiting.items()}
            window, constant = _mirrored(window), torch.cat([constant, -constant], 1)
        if index in rounding:
            error = rounding[index] if rounding[index].ndim > len(network.shapes[index]) else rounding[index][None]
            around = block.read(views.windows((index, "error"), error, window.frame))
            constant = constant - (window.slope.abs() * around[:, None]).flatten(2).sum(2)
        if index in network.nonlinearities:
            here = lines[index]
            parts = ((name, part) for name, part in here._asdict().items())
            own = [None if part is None else block.read(views.windows((index, name), part[:, 0], window.frame))[:, None] for name, part in parts]
            slopes, shift = through_nonlinear(type(here)(*own), window.slope)  # pyright: ignore[reportArgumentType]
            constant = constant if shift is None else constant + shift
            for before, slope in zip(node.inputs, slopes, strict=True):
                _add_window(waiting, before, Window(slope, window.frame, True))
        else:
            constant = _through_linear(network, index, window, waiting, constant, views, block)
    if constant.shape[1] == 1:
        waiting, constant = {other: _mirrored(one) for other, one in waiting.items()}, torch.cat([constant, -constant], 1)
    if route.stop:
        whole = {index: _whole(window, neurons, network.shapes[index]) for index, window in waiting.items()}
        rest = {index: rows_of(line, neurons.sample) for index, line in lines.items() if index <= route.stop}
        own_rounding = {index: rounding_rows(network, index, error, neurons.sample) for index, error in rounding.items() if index <= route.stop}
        return inputs.take(neurons.sample).minimum(*resume(network, whole, constant, rest, None, own_rounding))
    end = waiting[0]
    edges = {name: getattr(inputs, name) for name in ("low", "high", "center") if getattr(inputs, name) is not None}
    seen = {name: block.read(views.windows((0, name), edge, end.frame)) for name, edge in edges.items()}
    radius = None if inputs.radius is None else inputs.radius[neurons.sample]
    return InputSet(**seen, radius=radius, order=inputs.order).minimum(end.slope, constant)


def rows_of(line: Lines | Planes, samples: Tensor) -> Lines | Planes:
    """Return the lines of these samples; those of one sample serve all."""
    return type(line)(*(None if part is None else part if len(part) == 1 else part[samples] for part in line))  # type: ignore[arg-type]


def rounding_rows(network: Network, node: int, error: Tensor, samples: Tensor) -> Tensor:
    """Return the error of these samples where it has any."""
    return error[samples] if error.ndim > len(network.shapes[node]) else error


def _mirrored(window: Window) -> Window:
    """Return each row and its negative."""
    return window._replace(slope=torch.cat([window.slope, -window.slope], 1))


def _add_window(waiting: WaitingWindows, node: int, window: Window) -> None:
    if node in waiting:
        other = waiting[node]
        frame = window.frame.union(other.frame)
        total = F.pad(window.slope, frame.pads(window.frame)) + F.pad(other.slope, frame.pads(other.frame))
        window = Window(total, frame, window.clean and other.clean)
    waiting[node] = window


def _through_linear(network: Network, index: int, window: Window, waiting: WaitingWindows, constant: Tensor, views: Views, block: Block | None) -> Tensor:
    """Propagate through a node that is affine, a sum or a concatenation; windows are handed on, the constant comes back with its share.

    block: None while all places are alike."""
    node, shape = network.nodes[index], network.shapes[index]
    operator, slope, frame = node.operator, window.slope, window.frame
    if isinstance(operator, Concat):
        sizes = [network.shapes[before][0] for before in node.inputs]
        for before, part in zip(node.inputs, slope.split(sizes, 2), strict=True):
            _add_window(waiting, before, Window(part, frame, window.clean))
        return constant
    if isinstance(operator, Add):
        for before in node.inputs:
            _add_window(waiting, before, window)
        return constant
    if not window.clean and block is not None:
        slope = slope * block.read(views.windows((index, "inside"), slope.new_ones(1, 1, *shape[1:]), frame))[:, None]
    if isinstance(operator, Conv):
        if operator.bias is not None:
            constant = constant + slope.flatten(3).sum(3) @ operator.bias
        further = frame.through(operator)
        _add_window(waiting, node.inputs[0], Window(_convolved(operator, slope, index, further, views), further, not any(operator.padding)))
        return constant
    if not isinstance(operator, Scale):
        raise TypeError(f"windows do not pass through {type(operator).__name__}")
    if operator.shift is not None:
        constant = constant + (slope * _spread(operator.shift, shape, (index, "shift"), frame, views, block)).flatten(2).sum(2)
    _add_window(waiting, node.inputs[0], Window(slope * _spread(operator.factor, shape, (index, "factor"), frame, views, block), frame, True))
    return constant


def _convolved(conv: Conv, slope: Tensor, node: int, further: Frame, views: Views) -> Tensor:
    """Windows [k, r, channels, *size] before a convolution from those after it."""
    flat = slope.flatten(0, 1)
    size = slope[0, 0].numel() * conv.weight.shape[1] * conv.groups * math.prod(further.size)
    if size <= TABLE and len(flat) > conv.weight.shape[0]:
        unit = views.once(
            (node, "matrix"),
            lambda: _transposed(conv, torch.eye(flat[0].numel(), dtype=slope.dtype, device=slope.device).reshape(-1, *flat.shape[1:])).flatten(1),
        )
        return (flat.flatten(1) @ unit).reshape(*slope.shape[:2], -1, *further.size)
    return _transposed(conv, flat).unflatten(0, slope.shape[:2])


def _transposed(conv: Conv, g: Tensor) -> Tensor:
    transposed = F.conv_transpose1d if g.ndim == 3 else F.conv_transpose2d
    return transposed(g, conv.weight, None, conv.stride, 0, 0, conv.groups, conv.dilation)  # pyright: ignore[reportArgumentType]


def _uniform(part: Tensor | None, shape: Shape) -> bool:
    return part is None or all(side == 1 for side in part.shape[max(0, part.ndim - len(shape) + 1) :])


def _spread(part: Tensor, shape: Shape, key: object, frame: Frame, views: Views, block: Block | None) -> Tensor:
    """A factor or shift of a `Scale`, with a shape that broadcasts against windows [k, r, channels, *size]."""
    if block is None or _uniform(part, shape):
        return part.reshape(-1, *[1] * (len(shape) - 1))
    return block.read(views.windows(key, part.expand(shape)[None], frame))[:, None]


def _whole(window: Window, neurons: Neurons, shape: Shape) -> Tensor:
    """Return the windows written into whole maps, [k, r, *shape]."""
    slope, frame = window.slope, window.frame
    count = len(slope)
    where = torch.zeros(count, dtype=torch.int64, device=slope.device)
    inside = torch.ones_like(where, dtype=torch.bool)
    for side, position, stride, offset, size in zip(shape[1:], neurons.position, *frame, strict=True):
        places = ((position * stride + offset)[:, None] + torch.arange(size, device=slope.device)).reshape(count, *[1] * (where.ndim - 1), size)
        where = where[..., None] * side + places.clamp(0, side - 1)
        inside = inside[..., None] & (places >= 0) & (places < side)
    where, inside = where.flatten(1), inside.flatten(1)
    flat = slope.flatten(3) * inside[:, None, None]
    index = where[:, None, None].expand(flat.shape)
    return slope.new_zeros(*flat.shape[:3], math.prod(shape[1:])).scatter_add(3, index, flat).reshape(*slope.shape[:2], *shape)
