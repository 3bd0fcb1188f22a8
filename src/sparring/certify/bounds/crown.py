"""CROWN: bounds of every bend by backward passes, for the neurons whose sign intervals leave open, and of the rows asked for.

Zhang et al. 2018, arXiv:1811.00866. Only unstable neurons of ReLUs are bounded again; the rest of the work is cut into pieces of bounded memory.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from sparring.certify.bounds.backward import Relaxations, pull
from sparring.certify.bounds.inputs import InputSet
from sparring.certify.bounds.interval import Bands, Interval, interval_at
from sparring.certify.bounds.relax import Lines, Planes, relaxation
from sparring.models.network.network import Network
from sparring.models.network.operators import Relu

MEMORY = 1 << 24
"""Numbers of float64 that one array of a backward pass may have: 128 MiB."""


def relaxations(network: Network, bounds: Mapping[int, Interval], slopes: Mapping[int, Tensor] | None = None) -> dict[int, Lines | Planes]:
    """Of every bend whose inputs have bounds. slopes: of lower lines of ReLUs, by bend."""
    found = {}
    for place in network.bends:
        node = network.nodes[place]
        if all(before in bounds for before in node.inputs):
            found[place] = relaxation(node.operator, [bounds[before] for before in node.inputs], (slopes or {}).get(place))
    return found


def lower(
    network: Network, inputs: InputSet, start: int, rows: Tensor, lines: Relaxations, multipliers: Mapping[int, Tensor] | None = None, bands: Bands | None = None
) -> Tensor:  # fmt: skip
    """[n, r]: lower bounds of rows . (value of node `start`); rows [n or 1, r, *shape]."""
    slope, constant = pull(network, start, rows, lines, multipliers, bands)
    return inputs.minimum(slope, constant)


def widest(network: Network, start: int) -> int:
    """Numbers of the largest value before a node: what one row takes on its way."""
    return max(math.prod(shape) for shape in network.shapes[: start + 1])


def bounds_of_bends(
    network: Network, inputs: InputSet, known: Mapping[int, Interval] | None = None, bands: Bands | None = None, until: int | None = None
) -> dict[int, Interval]:
    """Bounds [n, *shape] of what goes into every bend, by the place of the node it comes from. known: bounds that hold already; what is
    known is cut with what is found. until: only bends before this place."""
    values: list[Interval] = [Interval(inputs.low, inputs.high)]
    bounds: dict[int, Interval] = {}
    lines: dict[int, Lines | Planes] = {}
    last = len(network.nodes) if until is None else until
    feeding = {before: place for place in network.bends if place < last for before in network.nodes[place].inputs}
    for place in range(last):
        if place:
            values.append(interval_at(network, place, values, known, bands))
        if place in feeding:
            values[place] = bounds[place] = _tightened(network, inputs, place, values[place], lines, isinstance(network.nodes[feeding[place]].operator, Relu), bands)
        for bend in network.bends:
            node = network.nodes[bend]
            if bend not in lines and all(before in bounds for before in node.inputs):
                lines[bend] = relaxation(node.operator, [bounds[before] for before in node.inputs])
    return bounds


def _tightened(network: Network, inputs: InputSet, place: int, value: Interval, lines: Relaxations, relu: bool, bands: Bands | None) -> Interval:
    """Bounds of a node cut with those of backward passes, for the neurons that matter: of a ReLU those of open sign."""
    if not lines and inputs.is_box:
        return value  # affine in the input: the interval is exact
    low, high = value.low.flatten(1).clone(), value.high.flatten(1).clone()
    open_ = (low < 0) & (high > 0) if relu else torch.ones_like(low, dtype=torch.bool)
    counts = open_.sum(1)
    for samples in _pieces(counts, widest(network, place)):
        most = int(counts[samples].max())
        if not most:
            continue
        chosen = open_[samples].to(torch.int8).topk(most, dim=1).indices  # rows of samples with fewer open neurons are filled with others
        part, own = inputs.take(samples), {bend: _rows_of(line, samples) for bend, line in lines.items()}
        step = max(1, MEMORY // (2 * widest(network, place) * len(samples)))
        for columns in chosen.split(step, dim=1):
            found = _both(network, part, place, columns, own, None if bands is None else {one: _band_rows(network, one, band, samples) for one, band in bands.items()})
            here = samples[:, None]
            low[here, columns] = torch.maximum(low[here, columns], found.low)
            high[here, columns] = torch.minimum(high[here, columns], found.high)
    return Interval(low.reshape(value.low.shape), high.reshape(value.high.shape))


def _both(network: Network, inputs: InputSet, place: int, chosen: Tensor, lines: Relaxations, bands: Bands | None) -> Interval:
    """Bounds [n, k] of single numbers of a node, chosen int64 [n, k] in the flattened value."""
    count, wanted = chosen.shape
    size = math.prod(network.shapes[place])
    rows = torch.zeros(count, wanted, size, dtype=inputs.low.dtype, device=inputs.low.device).scatter_(2, chosen[:, :, None], 1.0)
    rows = rows.reshape(count, wanted, *network.shapes[place])
    found = lower(network, inputs, place, torch.cat([rows, -rows], 1), lines, None, bands)
    return Interval(found[:, :wanted], -found[:, wanted:])


def _pieces(counts: Tensor, width: int) -> list[Tensor]:
    """Samples in groups of similar counts, so that little is computed for filling, each within the memory."""
    order = counts.argsort(descending=True)
    groups, begin = [], 0
    while begin < len(order):
        most = max(1, int(counts[order[begin]]))
        take = max(1, MEMORY // (2 * most * width))
        groups.append(order[begin : begin + min(take, 64)])
        begin += len(groups[-1])
    return groups


def _rows_of(line: Lines | Planes, samples: Tensor) -> Lines | Planes:
    return type(line)(*(None if part is None else part[samples] for part in line))  # type: ignore[arg-type]


def _band_rows(network: Network, place: int, band: Tensor, samples: Tensor) -> Tensor:
    return band[samples] if band.ndim > len(network.shapes[place]) else band
