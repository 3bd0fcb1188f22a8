"""Fewer nodes for the same function: views and selections merged, factors folded into the layer before them."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from sparring.graph.network import Network, Node
from sparring.graph.operators import Conv, ConvTranspose, Linear, Operator, Relu, Reshape, Scale, Select, Shape


def simplify(nodes: Sequence[Node], last: int) -> tuple[Node, ...]:
    """Return nodes up to `last`, without those that nothing needs.

    Only rounding changes, and only where a factor is folded.
    """
    nodes = _needed(nodes, last)
    sizes = Network(nodes).shapes
    users = Counter(index for node in nodes for index in node.inputs)
    kept: list[Node] = [nodes[0]]
    shapes = [sizes[0]]
    moved = {0: 0}  # from places in `nodes` to places in `kept`
    only = {0: users[0] <= 1}  # of places in `kept`: does a single node take it?
    for index, node in enumerate(nodes[1:], 1):
        operator, inputs = node.operator, tuple(moved[each] for each in node.inputs)
        while len(inputs) == 1 and inputs[0] > 0:
            before = kept[inputs[0]]
            together = _merged(before.operator, operator, shapes[inputs[0]], only[inputs[0]])
            if together is None:
                break
            operator, inputs = together, before.inputs
        given = shapes[inputs[0]] if inputs else ()
        in_order = isinstance(operator, Reshape) or (isinstance(operator, Select) and _in_order(operator.index, given))
        if in_order and sizes[index] == given:
            moved[index] = inputs[0]
            only[inputs[0]] = only[inputs[0]] and users[index] <= 1
            continue
        if in_order:
            operator = Reshape(sizes[index])
        kept.append(Node(operator, inputs))
        shapes.append(sizes[index])
        moved[index] = len(kept) - 1
        only[len(kept) - 1] = users[index] <= 1
    return _needed(kept, moved[len(nodes) - 1])


def _needed(nodes: Sequence[Node], last: int) -> tuple[Node, ...]:
    needed = {0, last}
    for node in range(last, -1, -1):
        if node in needed:
            needed.update(nodes[node].inputs)
    order = sorted(needed)
    new = {old: node for node, old in enumerate(order)}
    return tuple(Node(nodes[old].operator, tuple(new[each] for each in nodes[old].inputs)) for old in order)


def _merged(first: Operator, second: Operator, between: Shape, only: bool) -> Operator | None:
    """One operator for both, `between` being the shape of what passes between them; None where there is none.

    Selections and views merge also where others use the first; layers are changed only if nobody else does.
    """
    if isinstance(second, Reshape):
        if isinstance(first, Reshape):
            return second
        return Select(first.index.reshape(second.size)) if isinstance(first, Select) else None
    if isinstance(second, Select):
        if isinstance(first, Reshape):
            return second
        if isinstance(first, Select):
            taken = first.index.flatten()[second.index.clamp_min(0)]
            return Select(torch.where(second.index >= 0, taken, -1))
        return None
    if isinstance(second, Relu) and isinstance(first, Relu):
        return second
    if isinstance(second, Scale) and only:
        return _scaled(first, second, between)
    return None


def _scaled(first: Operator, scale: Scale, shape: Shape) -> Operator | None:
    """The factor inside the operator before it."""
    if isinstance(first, Scale):
        factor = first.factor * scale.factor
        shift = scale.shift if first.shift is None else _sum(first.shift * scale.factor, scale.shift)
        return Scale(factor, shift)
    if isinstance(first, Linear):
        parts = _along(scale, shape, len(shape) - 1)
        return None if parts is None else replace(first, weight=first.weight * parts[0][:, None], bias=_bias(first.bias, *parts))
    if isinstance(first, Conv):
        parts = _along(scale, shape, 0)
        if parts is not None:
            return replace(first, weight=first.weight * parts[0].reshape(-1, *[1] * (first.weight.ndim - 1)), bias=_bias(first.bias, *parts))
    if isinstance(first, ConvTranspose):
        parts = _along(scale, shape, 0)
        if parts is not None and first.groups == 1:
            return replace(first, weight=first.weight * parts[0].reshape(-1, *[1] * (first.weight.ndim - 2)), bias=_bias(first.bias, *parts))
    return None


def _along(scale: Scale, shape: Shape, axis: int) -> tuple[Tensor, Tensor | None] | None:
    """Factor and shift as vectors along one axis [shape[axis]]; None where they vary along another."""
    sides = [side if own == axis else 1 for own, side in enumerate(shape)]
    found = []
    for part in (scale.factor, scale.shift):
        if part is None:
            found.append(None)
            continue
        lifted = part.reshape([1] * (len(shape) - part.ndim) + list(part.shape))
        if any(side != 1 for own, side in enumerate(lifted.shape) if own != axis):
            return None
        found.append(lifted.expand(sides).reshape(-1))
    return found[0], found[1]


def _bias(bias: Tensor | None, factor: Tensor, shift: Tensor | None) -> Tensor | None:
    return shift if bias is None else _sum(bias * factor, shift)


def _sum(first: Tensor, second: Tensor | None) -> Tensor:
    return first if second is None else first + second


def _in_order(index: Tensor, shape: Shape) -> bool:
    count = math.prod(shape)
    return index.numel() == count and torch.equal(index.flatten().cpu(), torch.arange(count))
