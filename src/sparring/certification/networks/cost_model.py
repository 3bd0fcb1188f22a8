"""The multiply-adds of the verifiers, estimated from the graph."""

import math
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from sparring.certification.networks.bounds.interval import Interval, intervals
from sparring.certification.networks.state import VerificationState
from sparring.graph.network import Network
from sparring.graph.operators import Conv, ConvTranspose, Linear, Relu

_rows: "WeakKeyDictionary[Network, dict[int, float]]" = WeakKeyDictionary()


def row_cost(network: Network, start: int) -> float:
    """Return multiply-adds of one row on one number of a node propagated back to the input.

    A row of a map travels as a window, see `bounds.windows`.
    """
    counted = _rows.setdefault(network, {})
    if start in counted:
        return counted[start]
    seen: dict[int, int] = {start: 1}  # how many places a row covers along the axes of a map; 1 if the value is not a map
    sides: dict[int, tuple[int, ...]] = {start: (1,) * (len(network.shapes[start]) - 1)}
    total = 0.0
    for index in range(start, 0, -1):
        if index not in seen:
            continue
        node, shape = network.nodes[index], network.shapes[index]
        operator, own = node.operator, sides[index]
        covered = math.prod(min(mine, most) for mine, most in zip(own, shape[1:], strict=True))
        if isinstance(operator, Conv | ConvTranspose):
            total += covered * operator.weight.numel()
        elif isinstance(operator, Linear):
            total += operator.weight.shape[1] if index == start and len(shape) == 1 else operator.weight.numel() * math.prod(shape[:-1])
        else:
            total += covered * shape[0] if shape else 1
        for before in node.inputs:
            inner = network.shapes[before]
            if isinstance(operator, Conv):
                further = tuple(
                    (mine - 1) * step + wide * (kernel - 1) + 1
                    for mine, step, wide, kernel in zip(own, operator.stride, operator.dilation, operator.weight.shape[2:], strict=True)
                )
            else:
                further = own if inner == shape else inner[1:]
            known = sides.get(before, (0,) * len(further))
            sides[before] = tuple(min(max(pair), most) for *pair, most in zip(known, further, inner[1:], strict=True))
            seen[before] = 1
    counted[start] = total
    return total


def forward_cost(network: Network) -> float:
    """Return multiply-adds of the network on one input."""
    total = 0.0
    for node, shape in zip(network.nodes[1:], network.shapes[1:], strict=True):
        operator = node.operator
        if isinstance(operator, Conv):
            total += operator.weight.numel() * math.prod(shape[1:])
        elif isinstance(operator, ConvTranspose):
            total += operator.weight.numel() * math.prod(network.shapes[node.inputs[0]][1:])
        elif isinstance(operator, Linear):
            total += operator.weight.numel() * math.prod(shape[:-1])
        else:
            total += math.prod(shape)
    return total


def feeding(state: VerificationState) -> dict[int, Interval]:
    """Return bounds of the inputs of activations: those of the state, else intervals."""
    network = state.query.network
    places = {before for activation in network.nonlinearities for before in network.nodes[activation].inputs}
    if places <= state.bounds.keys():
        return {node: state.bounds[node] for node in places}
    values = intervals(network, state.query.inputs, state.bounds)
    return {node: values[node] for node in places}


def open_signs(state: VerificationState) -> dict[int, Tensor]:
    """Return how many numbers are open, float64 [n], by the node that feeds an activation.

    Of a ReLU these are the numbers whose sign is open, of other activations all.
    """
    network, found = state.query.network, {}
    relus = {
        before for activation in network.nonlinearities for before in network.nodes[activation].inputs if isinstance(network.nodes[activation].operator, Relu)
    }
    for node, (low, high) in feeding(state).items():
        open_ = (low < 0) & (high > 0) if node in relus else torch.ones_like(low, dtype=torch.bool)
        found[node] = open_.flatten(1).sum(1).double()
    return found


def crown_cost(state: VerificationState) -> Tensor:
    """Return the number of rows that CROWN propagates, float64 [n].

    There are two rows for every open number behind the first activation, and the rows that are asked for.
    """
    network, query = state.query.network, state.query
    first = min(network.nonlinearities, default=len(network.nodes))
    total = torch.full((len(state),), output_cost(state), dtype=torch.float64)
    for node, count in open_signs(state).items():
        if node > first or not query.inputs.is_box:
            total = total + 2 * count.to(total.device) * row_cost(network, node)
    return total


def output_cost(state: VerificationState) -> float:
    """Return multiply-adds of all rows on the output of one query propagated back to the input."""
    network = state.query.network
    return state.query.constraints.shape[1] * row_cost(network, len(network.nodes) - 1)
