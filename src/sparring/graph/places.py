"""Where the windows of pooling lie, and where numbers come from when a tensor is padded."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Overlap(NamedTuple):
    """Hold how windows cover one axis.

    Along one axis: the number of windows, their places inside the input and in the padding (int64 [windows]), and the
    padding behind it that the last window needs, at least what was asked for.
    """

    windows: int
    inside: Tensor
    padding: Tensor
    after: int


def overlap(side: int, kernel: int, stride: int, padding: tuple[int, int], dilation: int, *, ceil: bool) -> Overlap:
    """Return how windows cover one axis.

    With `ceil`, a last window that starts inside the input or the padding before it may hang over; what hangs over does not count.
    """
    before, after = padding
    reach = dilation * (kernel - 1) + 1
    room = side + before + after - reach
    windows = (-(-room // stride) if ceil else room // stride) + 1
    if ceil and (windows - 1) * stride >= side + before:
        windows -= 1
    places = torch.arange(windows)[:, None] * stride - before + torch.arange(kernel) * dilation
    inside = ((places >= 0) & (places < side)).sum(1)
    within = ((places >= -before) & (places < side + after)).sum(1)
    return Overlap(windows, inside, within - inside, max(after, (windows - 1) * stride + reach - side - before))


@lru_cache(maxsize=128)
def window_places(
    shape: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    dilation: tuple[int, ...],
    ceil: bool,
) -> Tensor:
    """Return the places of windows in the flattened input, -1 outside of it. Read only.

    For input [channels, *sides] they are [kernel numbers, channels, *windows].
    """
    total = torch.zeros(1, 1, dtype=torch.int64)  # [kernel so far, windows so far]
    outside = torch.zeros(1, 1, dtype=torch.bool)
    windows = []
    for side, k, s, p, d in zip(shape[1:], kernel, stride, padding, dilation, strict=True):
        count = overlap(side, k, s, p, d, ceil=ceil).windows
        along = torch.arange(k)[:, None] * d + torch.arange(count) * s - p[0]  # [k, count]
        out = (along < 0) | (along >= side)
        total = (total[:, None, :, None] * side + along[None, :, None, :]).reshape(len(total) * k, -1)
        outside = (outside[:, None, :, None] | out[None, :, None, :]).reshape(len(outside) * k, -1)
        windows.append(count)
    area = math.prod(shape[1:])
    places = torch.arange(shape[0])[None, :, None] * area + total[:, None]
    return torch.where(outside[:, None], -1, places).reshape(-1, shape[0], *windows)


def padded(places: Tensor, margins: Sequence[tuple[int, int]]) -> Tensor:
    """Return the places with -1 around them; negative margins cut."""
    return F.pad(places, [margin for pair in reversed(margins) for margin in pair], value=-1)


def adaptive_weights(sides: Sequence[int], size: Sequence[int]) -> Tensor:
    """Return adaptive average pooling as a matrix [*size, *sides], flattened on both.

    Window i of o along s is floor(i s / o) to ceil((i + 1) s / o).
    """
    total = torch.ones(1, 1, dtype=torch.float64)
    for side, out in zip(sides, size, strict=True):
        rows = torch.zeros(out, side, dtype=torch.float64)
        for place in range(out):
            start, stop = place * side // out, -(-(place + 1) * side // out)
            rows[place, start:stop] = 1 / (stop - start)
        total = torch.kron(total, rows)
    return total
