"""ONNX operators that move, pick, resize or make numbers, as torch functions of whole batches."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sparring.graph.builder import Unsupported
from sparring.graph.onnx_functions import Application, computes


@computes("Shape")
def _shape(node: Application) -> Tensor:
    return torch.tensor(node.x.shape)[slice(node.settings.get("start", 0), node.settings.get("end"))]


@computes("Size")
def _size(node: Application) -> Tensor:
    return torch.tensor(node.x.numel())


@computes("Reshape")
def _reshape(node: Application) -> Tensor:
    sides = node.numbers(1, "shape") or []
    if not node.settings.get("allowzero", 0):
        sides = [node.x.shape[place] if side == 0 else side for place, side in enumerate(sides)]
    return node.x.reshape(sides)


@computes("Flatten")
def _flatten(node: Application) -> Tensor:
    return node.x.reshape(math.prod(node.x.shape[: node.axis(1)]), -1)


@computes("Squeeze")
def _squeeze(node: Application) -> Tensor:
    axes = node.numbers(1, "axes")
    return node.x.squeeze(tuple(axes)) if axes is not None else node.x.squeeze()


@computes("Unsqueeze")
def _unsqueeze(node: Application) -> Tensor:
    axes = node.numbers(1, "axes") or []
    x, rank = node.x, node.x.ndim + len(axes)
    for axis in sorted(one % rank for one in axes):
        x = x.unsqueeze(axis)
    return x


@computes("Transpose")
def _transpose(node: Application) -> Tensor:
    return node.x.permute(*(node.settings.get("perm") or range(node.x.ndim)[::-1]))


@computes("Concat")
def _concat(node: Application) -> Tensor:
    return torch.cat([node.at(place) for place in range(len(node.inputs))], int(node.settings["axis"]))


@computes("Split")
def _split(node: Application) -> list[Tensor]:
    axis, parts = node.axis(0), node.numbers(1, "split")
    if parts is None:
        size = -(-node.x.shape[axis] // int(node.settings.get("num_outputs", node.outputs)))
        return list(node.x.split(size, axis))
    return list(node.x.split(parts, axis))


@computes("Slice")
def _slice(node: Application) -> Tensor:
    starts, ends, axes, steps = (node.numbers(place, name) for place, name in enumerate(("starts", "ends", "axes", "steps"), 1))
    x = node.x
    for axis, start, end, step in zip(axes or range(len(starts or [])), starts or [], ends or [], steps or [1] * len(starts or []), strict=True):
        side = x.shape[axis]
        along = range(*slice(start, None if step < 0 and end < -side else end, step).indices(side))
        if step > 0:
            x = x[(slice(None),) * (axis % x.ndim) + (slice(along.start, along.stop, step),)]
        else:
            x = x.index_select(axis, torch.tensor(list(along), dtype=torch.int64))
    return x


@computes("Gather")
def _gather(node: Application) -> Tensor:
    axis, index = node.axis(0), node.at(1).long()
    where = torch.where(index < 0, index + node.x.shape[axis], index)
    return node.x.index_select(axis, where.flatten()).reshape((*node.x.shape[:axis], *where.shape, *node.x.shape[axis + 1 :]))


@computes("GatherElements")
def _gather_elements(node: Application) -> Tensor:
    axis, index = node.axis(0), node.at(1).long()
    return node.x.gather(axis, torch.where(index < 0, index + node.x.shape[axis], index))


@computes("GatherND")
def _gather_nd(node: Application) -> Tensor:
    index, shared = node.at(1).long(), int(node.settings.get("batch_dims", 0))
    if shared:
        raise Unsupported("batch_dims is not supported")
    return node.x[tuple(index.movedim(-1, 0))]


@computes("ScatterElements", "Scatter")
def _scatter_elements(node: Application) -> Tensor:
    axis, index = node.axis(0), node.at(1).long()
    where = torch.where(index < 0, index + node.x.shape[axis], index)
    match node.word("reduction", "none"):
        case "none":
            return node.x.scatter(axis, where, node.at(2))
        case "add":
            return node.x.scatter_add(axis, where, node.at(2))
        case other:
            raise Unsupported(f"reduction {other} is not supported")


@computes("ScatterND")
def _scatter_nd(node: Application) -> Tensor:
    places = tuple(node.at(1).long().movedim(-1, 0))
    reduction = node.word("reduction", "none")
    if reduction not in ("none", "add"):
        raise Unsupported(f"reduction {reduction} is not supported")
    return node.x.index_put(places, node.at(2), accumulate=reduction == "add")


@computes("Expand")
def _expand(node: Application) -> Tensor:
    sides = node.numbers(1, "shape") or []
    return node.x.expand(*np.broadcast_shapes(tuple(node.x.shape), tuple(sides)))


@computes("Tile")
def _tile(node: Application) -> Tensor:
    return node.x.repeat(*(node.numbers(1, "repeats") or []))


@computes("Pad")
def _pad(node: Application) -> Tensor:
    rank, mode = node.x.ndim, node.word("mode", "constant")
    pads = node.numbers(1, "pads") or [0] * 2 * rank
    axes = node.numbers(3, "axes") or list(range(rank))
    value = node.get(2)
    if mode == "constant":
        around = [(0, 0)] * rank
        for place, axis in enumerate(axes):
            around[axis] = (pads[place], pads[place + len(axes)])
        filled = float(node.settings.get("value", 0.0)) if value is None else float(value)
        return F.pad(node.x, [side for pair in reversed(around) for side in pair], value=filled)
    x = node.x
    for place, axis in enumerate(axes):
        side = x.shape[axis]
        along = torch.arange(-pads[place], side + pads[place + len(axes)])
        match mode:
            case "reflect":
                along = (side - 1) - ((side - 1) - along.abs()).abs()
            case "edge":
                along = along.clamp(0, side - 1)
            case "wrap":
                along = along % side
            case _:
                raise Unsupported(f"mode {mode} is not supported")
        x = x.index_select(axis, along)
    return x


@computes("SpaceToDepth", "DepthToSpace")
def _blocks(node: Application) -> Tensor:
    n, channels, height, width = node.x.shape
    block = int(node.settings["blocksize"])
    if node.operator == "SpaceToDepth":
        if node.word("mode", "DCR") == "CRD":
            return F.pixel_unshuffle(node.x, block)
        split = node.x.reshape(n, channels, height // block, block, width // block, block)
        return split.permute(0, 3, 5, 1, 2, 4).reshape(n, channels * block * block, height // block, width // block)
    if node.word("mode", "DCR") == "CRD":
        return F.pixel_shuffle(node.x, block)
    split = node.x.reshape(n, block, block, channels // block**2, height, width)
    return split.permute(0, 3, 4, 1, 5, 2).reshape(n, channels // block**2, height * block, width * block)


@computes("Trilu")
def _triangle(node: Application) -> Tensor:
    diagonal = 0 if node.get(1) is None else int(node.at(1))
    return node.x.triu(diagonal) if node.settings.get("upper", 1) else node.x.tril(diagonal)


@computes("Range")
def _range(node: Application) -> Tensor:
    return torch.arange(node.x.item(), node.at(1).item(), node.at(2).item(), dtype=node.x.dtype)


@computes("ConstantOfShape")
def _constant_of_shape(node: Application) -> Tensor:
    value = node.settings.get("value")
    filled = torch.zeros(1) if value is None else value
    return filled.reshape(()).expand(*(int(one) for one in node.x.tolist())).clone()


@computes("Constant")
def _constant(node: Application) -> Tensor:
    for name, kind in (("value", None), ("value_float", None), ("value_floats", None), ("value_int", torch.int64), ("value_ints", torch.int64)):
        if name in node.settings:
            value = node.settings[name]
            return value if isinstance(value, Tensor) else torch.tensor(value, dtype=kind)
    raise Unsupported("a constant of text is not supported")


@computes("OneHot")
def _one_hot(node: Application) -> Tensor:
    depth, (off, on) = int(node.at(1)), node.at(2).flatten()
    index = node.x.long()
    index = torch.where(index < 0, index + depth, index)
    axis = int(node.settings.get("axis", -1))
    return torch.where((index[..., None] == torch.arange(depth)).movedim(-1, axis), on, off)


@computes("NonZero")
def _non_zero(node: Application) -> Tensor:
    return node.x.nonzero().mT
