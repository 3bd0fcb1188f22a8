"""Pooling: averages as convolutions of each channel by itself, maxima as ReLUs of differences."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sparring.graph.builder import Builder, Edge, Unsupported, written
from sparring.graph.places import adaptive_weights, overlap, window_places


def avg_pool(
    builder: Builder,
    edge: Edge,
    kernel: Sequence[int],
    *,
    stride: Sequence[int],
    padding: Sequence[tuple[int, int]],
    ceil: bool = False,
    count_padding: bool = True,
    divisor: int | None = None,
    dilation: Sequence[int] | None = None,
) -> Edge:
    """Return a sum over each channel by itself, divided by how many places the window has."""
    sample, lead = builder.image(edge, len(kernel), "average pooling")
    dilation = dilation or [1] * len(kernel)
    spans = [overlap(*each, ceil=ceil) for each in zip(sample.shape[1:], kernel, stride, padding, dilation, strict=True)]
    counts = _outer([span.inside + span.padding if count_padding else span.inside for span in spans])
    if divisor is not None:
        counts = torch.full_like(counts, divisor)
    even = bool((counts == counts.flatten()[0]).all())
    weight = torch.full((sample.shape[0], 1, *kernel), 1 / float(counts.flatten()[0]) if even else 1.0, dtype=builder.dtype)
    margins = [(before, span.after) for (before, _), span in zip(padding, spans, strict=True)]
    out = builder.conv(sample, weight, stride=stride, padding=margins, dilation=dilation, groups=sample.shape[0])
    if not even:
        out = builder.scale(out, 1 / counts)
    return builder.view(out, lead + out.shape)


def adaptive_avg_pool(builder: Builder, edge: Edge, size: Sequence[int]) -> Edge:
    """Add adaptive average pooling.

    Windows that divide the input evenly are a convolution; others, and the mean of everything, a matrix.
    """
    sample, lead = builder.image(edge, len(size), "average pooling")
    sides = sample.shape[1:]
    if all(side % out == 0 for side, out in zip(sides, size, strict=True)) and math.prod(size) > 1:
        kernel = [side // out for side, out in zip(sides, size, strict=True)]
        return avg_pool(builder, edge, kernel, stride=kernel, padding=[(0, 0)] * len(kernel))
    flat = builder.view(sample, (sample.shape[0], math.prod(sides)))
    return builder.view(builder.linear(flat, adaptive_weights(sides, size)), (*lead, sample.shape[0], *size))


def max_pool(
    builder: Builder,
    edge: Edge,
    kernel: Sequence[int],
    *,
    stride: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int] | None = None,
    ceil: bool = False,
) -> Edge:
    """Return the largest in each window; padding never wins."""
    sample, lead = builder.image(edge, len(kernel), "max pooling")
    dilation = dilation or [1] * len(kernel)
    places = window_places(sample.shape, tuple(kernel), tuple(stride), tuple(padding), tuple(dilation), ceil)
    out = largest(builder, sample, places)
    return builder.view(out, lead + out.shape)


def adaptive_max_pool(builder: Builder, edge: Edge, size: Sequence[int]) -> Edge:
    """Add max pooling with windows that divide the input evenly."""
    sides = edge.shape[-len(size) :]
    if any(side % out for side, out in zip(sides, size, strict=True)):
        raise Unsupported(f"adaptive max pooling of {written(sides)} to {written(size)}: only sizes that divide the input size are supported")
    kernel = [side // out for side, out in zip(sides, size, strict=True)]
    return max_pool(builder, edge, kernel, stride=kernel, padding=[(0, 0)] * len(kernel))


def max_over(builder: Builder, edge: Edge, axes: Sequence[int], *, keep: bool = False) -> Edge:
    """Return the largest along some axes, all if none is named."""
    rank = len(edge.shape)
    gone = sorted({axis % rank for axis in axes}) or list(range(rank))
    rest = [axis for axis in range(rank) if axis not in gone]
    places = torch.arange(math.prod(edge.shape)).reshape(edge.shape).permute(*gone, *rest)
    out = largest(builder, edge, places.reshape(-1, *(edge.shape[axis] for axis in rest)))
    shape = (1 if axis in gone else edge.shape[axis] for axis in range(rank)) if keep else (edge.shape[axis] for axis in rest)
    return builder.view(out, tuple(shape))


def largest(builder: Builder, edge: Edge, places: Tensor) -> Edge:
    """Return the largest of the candidates.

    places: int64 [m, *out] in the edge's numbers, -1 where there is none.
    """

    def pick(chosen: Tensor) -> Edge:
        return builder.pick(edge, lambda _: chosen)

    while len(places) > 1:
        if len(places) % 2:
            places = torch.cat([places, torch.full_like(places[:1], -1)])
        left, right = places[0::2], places[1::2]
        both = (left >= 0) & (right >= 0)
        kept = torch.where(right >= 0, right, left)
        a, b = pick(torch.where(both, left, -1)), pick(torch.where(both, right, -1))
        rise = builder.relu(builder.edge(builder.sub(a, b)))
        edge = builder.edge(builder.add(b if bool(both.all()) else pick(kept), rise))
        found = torch.arange(kept.numel()).reshape(kept.shape)
        places = torch.where(kept >= 0, found, -1)
    return pick(places[0])


def _outer(sides: list[Tensor]) -> Tensor:
    """The product of numbers along each axis, [*sides]."""
    total = sides[0].double()
    for side in sides[1:]:
        total = total[..., None] * side.double()
    return total
