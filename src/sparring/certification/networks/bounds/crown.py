"""CROWN: bounds of unstable neurons and of given rows by backward passes.

Zhang et al. 2018, arXiv:1811.00866. Only unstable neurons of ReLUs are bounded again. A row of a convolutional map is propagated as the window
on which it depends (`windows`); rows start as weights, not as unit vectors; the work is cut into blocks that stay in the processor's cache.
"""

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from sparring.certification.networks.bounds import windows
from sparring.certification.networks.bounds.backward import Relaxations, Waiting, propagate, resume, through_linear
from sparring.certification.networks.bounds.inputs import InputSet
from sparring.certification.networks.bounds.interval import Interval, Rounding, interval_at
from sparring.certification.networks.bounds.relax import Lines, Planes, relaxation
from sparring.certification.networks.bounds.windows import rounding_rows, rows_of
from sparring.graph.network import Network
from sparring.graph.operators import Affine, Linear, Relu, Reshape, Scale, Select

MEMORY = 1 << 24
"""Numbers of float64 that one array of a backward pass may have: 128 MiB."""

CACHE = 1 << 17
"""Numbers of float64 in one array of a block, chosen so that it stays in the cache: 1 MiB."""


def relaxations(network: Network, bounds: Mapping[int, Interval], slopes: Mapping[int, Tensor] | None = None) -> dict[int, Lines | Planes]:
    """Return the relaxation of every activation whose inputs have bounds.

    slopes: of lower lines of ReLUs, by activation.
    """
    found = {}
    for index in network.nonlinearities:
        node = network.nodes[index]
        if all(before in bounds for before in node.inputs):
            found[index] = relaxation(node.operator, [bounds[before] for before in node.inputs], (slopes or {}).get(index))
    return found


def lower(
    network: Network, inputs: InputSet, start: int, rows: Tensor, lines: Relaxations, multipliers: Mapping[int, Tensor] | None = None,
    rounding: Rounding | None = None,
) -> Tensor:  # fmt: skip
    """Return lower bounds of rows , [n, r].

    (value of node `start`); rows [n or 1, r, *shape]. Many samples are cut into groups.
    """
    count = len(inputs)
    step = max(1, min(MEMORY, 4 * CACHE) // (rows.shape[1] * widest(network, start)))
    if count <= step:
        return inputs.minimum(*propagate(network, start, rows, lines, multipliers, rounding))
    found = []
    for samples in torch.arange(count, device=rows.device).split(step):
        own_lines = {node: rows_of(line, samples) for node, line in lines.items()}
        own_multipliers = {node: part if len(part) == 1 else part[samples] for node, part in (multipliers or {}).items()}
        own_rounding = {node: rounding_rows(network, node, error, samples) for node, error in (rounding or {}).items()}
        own_rows = rows if len(rows) == 1 else rows[samples]
        found.append(inputs.take(samples).minimum(*propagate(network, start, own_rows, own_lines, own_multipliers, own_rounding)))
    return torch.cat(found)


def widest(network: Network, start: int) -> int:
    """Return the size of the largest value before a node, which one row needs."""
    return max(math.prod(shape) for shape in network.shapes[: start + 1])


def preactivation_bounds(
    network: Network, inputs: InputSet, known: Mapping[int, Interval] | None = None, rounding: Rounding | None = None, until: int | None = None
) -> dict[int, Interval]:
    """Return bounds [n, *shape] of the input of every activation, by its node.

    known: bounds that hold already; what is known is cut with what is found. until: only activations before this node.
    """
    values: list[Interval] = [Interval(inputs.low, inputs.high)]
    bounds: dict[int, Interval] = {}
    lines: dict[int, Lines | Planes] = {}
    last = len(network.nodes) if until is None else until
    feeding = {before: index for index in network.nonlinearities if index < last for before in network.nodes[index].inputs}
    for index in range(last):
        if index:
            values.append(interval_at(network, index, values, known, rounding))
        if index in feeding:
            values[index] = bounds[index] = _tightened(
                network, inputs, index, values[index], lines, isinstance(network.nodes[feeding[index]].operator, Relu), rounding
            )
        for activation in network.nonlinearities:
            node = network.nodes[activation]
            if activation not in lines and all(before in bounds for before in node.inputs):
                lines[activation] = relaxation(node.operator, [bounds[before] for before in node.inputs])
    return bounds


class _Found(NamedTuple):
    """Hold lower bounds [k, 2] of neurons and of their negatives, with their samples and places in the flattened value, int64 [k]."""

    sample: Tensor
    neuron: Tensor
    least: Tensor


def _tightened(network: Network, inputs: InputSet, node: int, value: Interval, lines: Relaxations, relu: bool, rounding: Rounding | None) -> Interval:
    """Return the bounds of a node intersected with those of backward passes for the neurons that matter: for a ReLU, the unstable ones."""
    if node == 0 or (not lines and inputs.is_box and _summed_once(network, node)):
        return value  # the interval is exact
    open_ = (value.low < 0) & (value.high > 0) if relu else torch.ones_like(value.low, dtype=torch.bool)
    route = windows.plan(network, node)
    low, high = value.low.flatten(1).clone(), value.high.flatten(1).clone()
    if route:
        found = _by_windows(network, inputs, node, open_, lines, route, rounding)
    else:
        found = _by_rows(network, inputs, node, open_, lines, rounding)
    for sample, neuron, least in found:
        low[sample, neuron] = torch.maximum(low[sample, neuron], least[:, 0])
        high[sample, neuron] = torch.minimum(high[sample, neuron], -least[:, 1])
    return Interval(low.reshape(value.low.shape), high.reshape(value.high.shape))


def _summed_once(network: Network, node: int) -> bool:
    """Is a node the input, moved about and scaled, through one layer at most? Two that follow one another have wider intervals than their product."""
    sums = 0
    while node:
        operator, inputs = network.nodes[node]
        if not isinstance(operator, Affine):
            return False
        sums += not isinstance(operator, Scale | Reshape | Select)
        (node,) = inputs
    return sums <= 1


def _by_windows(
    network: Network, inputs: InputSet, node: int, open_: Tensor, lines: Relaxations, route: windows.Plan, rounding: Rounding | None
) -> Iterator[_Found]:
    sample, *position, channel = open_.movedim(1, -1).nonzero().unbind(1)
    neurons = windows.Neurons(sample, tuple(position), channel)
    neuron = channel
    for side, one in zip(network.shapes[node][1:], position, strict=True):
        neuron = neuron * side + one
    views = windows.Views(network.shapes[node][1:])
    opened = windows.opening(network, node, route, views, inputs.low, rounding)
    step = _block(route.width)
    for begin in range(0, len(sample), step):
        here = neurons.cut(begin, begin + step)
        yield _Found(here.sample, neuron[begin : begin + step], windows.least(network, inputs, route, opened, here, lines, views, rounding))


def _by_rows(network: Network, inputs: InputSet, node: int, open_: Tensor, lines: Relaxations, rounding: Rounding | None) -> Iterator[_Found]:
    flat, width = open_.flatten(1), widest(network, node)
    used = flat.any(0).nonzero().squeeze(1)
    for group in used.split(max(1, MEMORY // width)):
        waiting, constant = _shared(network, node, group, inputs.low, rounding)
        sample, row = flat[:, group].nonzero().unbind(1)
        step = _block(width)
        for begin in range(0, len(sample), step):
            samples, rows = sample[begin : begin + step], row[begin : begin + step]
            own = {before: slope[0].index_select(0, rows)[:, None] for before, slope in waiting.items()}
            yield _Found(samples, group[rows], _both(network, inputs, own, constant[0].index_select(0, rows)[:, None], samples, lines, rounding))


def _block(width: int) -> int:
    """Return the number of neurons in a block, whose two rows take `width` numbers each."""
    return max(1, min(MEMORY // (2 * width), max(16, CACHE // (2 * width))))


def _shared(network: Network, index: int, neurons: Tensor, like: Tensor, rounding: Rounding | None) -> tuple[Waiting, Tensor]:
    """Propagate rows of neurons [1, r, *shape] back to the first nodes at which samples differ, activations and rounding; constants are [1, r]."""
    count, node = len(neurons), network.nodes[index]
    constant = like.new_zeros(1, count)
    if isinstance(node.operator, Linear) and len(network.shapes[index]) == 1 and not (rounding and index in rounding):
        if node.operator.bias is not None:
            constant = node.operator.bias[neurons][None]
        waiting: Waiting = {node.inputs[0]: node.operator.weight[neurons][None]}
    else:
        rows = like.new_zeros(count, math.prod(network.shapes[index])).scatter_(1, neurons[:, None], 1.0)
        waiting = {index: rows.reshape(1, count, *network.shapes[index])}
    for here in range(max(waiting), 0, -1):
        if here in waiting:
            if here in network.nonlinearities or (rounding and here in rounding):
                break
            constant = through_linear(network, here, waiting.pop(here), waiting, constant)
    return waiting, constant


def _both(network: Network, inputs: InputSet, waiting: Waiting, constant: Tensor, samples: Tensor, lines: Relaxations, rounding: Rounding | None) -> Tensor:
    """Return lower bounds [k, 2] of rows [k, 1, *shape] and of their negatives, one row per sample, int64 [k] in order."""
    waiting = {node: torch.cat([slope, -slope], 1) for node, slope in waiting.items()}
    constant = torch.cat([constant, -constant], 1)
    own = samples[:1] if bool(samples[0] == samples[-1]) else samples  # the lines of one sample serve all its rows without copies
    reach = max(waiting)
    own_lines = {node: rows_of(line, own) for node, line in lines.items() if node <= reach}
    own_rounding = {node: rounding_rows(network, node, error, own) for node, error in (rounding or {}).items() if node <= reach}
    slope, constant = resume(network, waiting, constant, own_lines, None, own_rounding)
    sets = inputs.take(own)
    if len(own) == len(samples):
        return sets.minimum(slope, constant)
    return sets.minimum(slope.flatten(0, 1)[None], constant.reshape(1, -1)).reshape(constant.shape)
