"""CROWN: bounds of every bend by backward passes, for the neurons whose sign intervals leave open, and of the rows asked for.

Zhang et al. 2018, arXiv:1811.00866. Only unstable neurons of ReLUs are bounded again. A row of a convolutional map travels as a window of what it
depends on (`windows`); rows start as weights, not as unit vectors; the work is cut into blocks that stay in the processor's cache.
"""

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from sparring.certification.bounds import windows
from sparring.certification.bounds.backward import Relaxations, Waiting, is_bend, pull, resume, straight
from sparring.certification.bounds.inputs import InputSet
from sparring.certification.bounds.interval import Bands, Interval, interval_at
from sparring.certification.bounds.relax import Lines, Planes, relaxation
from sparring.certification.bounds.windows import band_rows, rows_of
from sparring.models.network.network import Network
from sparring.models.network.operators import Affine, Linear, Relu, Reshape, Scale, Select

MEMORY = 1 << 24
"""Numbers of float64 that one array of a backward pass may have: 128 MiB."""

CACHE = 1 << 17
"""Numbers that one array of a block should have to stay near the processor: 1 MiB."""


def relaxations(network: Network, bounds: Mapping[int, Interval], slopes: Mapping[int, Tensor] | None = None) -> dict[int, Lines | Planes]:
    """Of every bend whose inputs have bounds. slopes: of lower lines of ReLUs, by bend."""
    found = {}
    for place in network.bends:
        node = network.nodes[place]
        if all(before in bounds for before in node.inputs):
            found[place] = relaxation(node.operator, [bounds[before] for before in node.inputs], (slopes or {}).get(place))
    return found


def lower(
    network: Network, inputs: InputSet, start: int, rows: Tensor, lines: Relaxations, multipliers: Mapping[int, Tensor] | None = None,
    bands: Bands | None = None,
) -> Tensor:  # fmt: skip
    """[n, r]: lower bounds of rows . (value of node `start`); rows [n or 1, r, *shape]. Many samples are cut into groups."""
    count = len(inputs)
    step = max(1, min(MEMORY, 4 * CACHE) // (rows.shape[1] * widest(network, start)))
    if count <= step:
        return inputs.minimum(*pull(network, start, rows, lines, multipliers, bands))
    found = []
    for samples in torch.arange(count, device=rows.device).split(step):
        own_lines = {place: rows_of(line, samples) for place, line in lines.items()}
        own_multipliers = {place: part if len(part) == 1 else part[samples] for place, part in (multipliers or {}).items()}
        own_bands = {place: band_rows(network, place, band, samples) for place, band in (bands or {}).items()}
        own_rows = rows if len(rows) == 1 else rows[samples]
        found.append(inputs.take(samples).minimum(*pull(network, start, own_rows, own_lines, own_multipliers, own_bands)))
    return torch.cat(found)


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
            values[place] = bounds[place] = _tightened(
                network, inputs, place, values[place], lines, isinstance(network.nodes[feeding[place]].operator, Relu), bands
            )
        for bend in network.bends:
            node = network.nodes[bend]
            if bend not in lines and all(before in bounds for before in node.inputs):
                lines[bend] = relaxation(node.operator, [bounds[before] for before in node.inputs])
    return bounds


class _Found(NamedTuple):
    """Lower bounds [k, 2] of neurons and of their negatives: of which sample and which place in the flattened value, int64 [k]."""

    sample: Tensor
    neuron: Tensor
    least: Tensor


def _tightened(network: Network, inputs: InputSet, place: int, value: Interval, lines: Relaxations, relu: bool, bands: Bands | None) -> Interval:
    """Bounds of a node cut with those of backward passes, for the neurons that matter: of a ReLU those of open sign."""
    if place == 0 or (not lines and inputs.is_box and _summed_once(network, place)):
        return value  # the interval is exact
    open_ = (value.low < 0) & (value.high > 0) if relu else torch.ones_like(value.low, dtype=torch.bool)
    route = windows.plan(network, place)
    low, high = value.low.flatten(1).clone(), value.high.flatten(1).clone()
    if route:
        found = _by_windows(network, inputs, place, open_, lines, route, bands)
    else:
        found = _by_rows(network, inputs, place, open_, lines, bands)
    for sample, neuron, least in found:
        low[sample, neuron] = torch.maximum(low[sample, neuron], least[:, 0])
        high[sample, neuron] = torch.minimum(high[sample, neuron], -least[:, 1])
    return Interval(low.reshape(value.low.shape), high.reshape(value.high.shape))


def _summed_once(network: Network, place: int) -> bool:
    """Is a node the input, moved about and scaled, through one layer at most? Two that follow one another have wider intervals than their product."""
    sums = 0
    while place:
        operator, inputs = network.nodes[place]
        if not isinstance(operator, Affine):
            return False
        sums += not isinstance(operator, Scale | Reshape | Select)
        (place,) = inputs
    return sums <= 1


def _by_windows(
    network: Network, inputs: InputSet, place: int, open_: Tensor, lines: Relaxations, route: windows.Plan, bands: Bands | None
) -> Iterator[_Found]:
    sample, *position, channel = open_.movedim(1, -1).nonzero().unbind(1)
    neurons = windows.Neurons(sample, tuple(position), channel)
    neuron = channel
    for side, one in zip(network.shapes[place][1:], position, strict=True):
        neuron = neuron * side + one
    views = windows.Views(network.shapes[place][1:])
    opened = windows.opening(network, place, route, views, inputs.low, bands)
    step = _block(route.width)
    for begin in range(0, len(sample), step):
        here = neurons.cut(begin, begin + step)
        yield _Found(here.sample, neuron[begin : begin + step], windows.least(network, inputs, route, opened, here, lines, views, bands))


def _by_rows(network: Network, inputs: InputSet, place: int, open_: Tensor, lines: Relaxations, bands: Bands | None) -> Iterator[_Found]:
    flat, width = open_.flatten(1), widest(network, place)
    used = flat.any(0).nonzero().squeeze(1)
    for group in used.split(max(1, MEMORY // width)):
        waiting, constant = _shared(network, place, group, inputs.low, bands)
        sample, row = flat[:, group].nonzero().unbind(1)
        step = _block(width)
        for begin in range(0, len(sample), step):
            samples, rows = sample[begin : begin + step], row[begin : begin + step]
            own = {before: slope[0].index_select(0, rows)[:, None] for before, slope in waiting.items()}
            yield _Found(samples, group[rows], _both(network, inputs, own, constant[0].index_select(0, rows)[:, None], samples, lines, bands))


def _block(width: int) -> int:
    """How many neurons at a time, whose two rows each take `width` numbers."""
    return max(1, min(MEMORY // (2 * width), max(16, CACHE // (2 * width))))


def _shared(network: Network, place: int, neurons: Tensor, like: Tensor, bands: Bands | None) -> tuple[Waiting, Tensor]:
    """Rows of neurons [1, r, *shape] pulled back to where samples begin to differ: to bends and bands. Constants [1, r]."""
    count, node = len(neurons), network.nodes[place]
    constant = like.new_zeros(1, count)
    if isinstance(node.operator, Linear) and len(network.shapes[place]) == 1 and not (bands and place in bands):
        if node.operator.bias is not None:
            constant = node.operator.bias[neurons][None]
        waiting: Waiting = {node.inputs[0]: node.operator.weight[neurons][None]}
    else:
        rows = like.new_zeros(count, math.prod(network.shapes[place])).scatter_(1, neurons[:, None], 1.0)
        waiting = {place: rows.reshape(1, count, *network.shapes[place])}
    for here in range(max(waiting), 0, -1):
        if here in waiting:
            if is_bend(network.nodes[here].operator) or (bands and here in bands):
                break
            constant = straight(network, here, waiting.pop(here), waiting, constant)
    return waiting, constant


def _both(network: Network, inputs: InputSet, waiting: Waiting, constant: Tensor, samples: Tensor, lines: Relaxations, bands: Bands | None) -> Tensor:
    """[k, 2]: lower bounds of rows [k, 1, *shape] and of their negatives, each of its own sample, int64 [k] in order."""
    waiting = {place: torch.cat([slope, -slope], 1) for place, slope in waiting.items()}
    constant = torch.cat([constant, -constant], 1)
    own = _alone(samples)
    reach = max(waiting)
    own_lines = {place: rows_of(line, own) for place, line in lines.items() if place <= reach}
    own_bands = {place: band_rows(network, place, band, own) for place, band in (bands or {}).items() if place <= reach}
    slope, constant = resume(network, waiting, constant, own_lines, None, own_bands)
    sets = inputs.take(own)
    if len(own) == len(samples):
        return sets.minimum(slope, constant)
    return sets.minimum(slope.flatten(0, 1)[None], constant.reshape(1, -1)).reshape(constant.shape)


def _alone(samples: Tensor) -> Tensor:
    """The samples of rows; of rows of one sample only that one, whose lines then serve all without copies."""
    return samples[:1] if bool(samples[0] == samples[-1]) else samples
