"""How many multiply-adds the rungs of the ladder take, counted on the graph before anything is computed."""

import math
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from sparring.certification.bounds.interval import Interval, intervals
from sparring.certification.docket import Docket
from sparring.models.network.network import Network
from sparring.models.network.operators import Conv, ConvTranspose, Linear, Relu

ROOT_STEPS = 30
"""Of the ascent with which `relu_split` begins."""
WRITING = 6e3
"""What writing the programme of `milp` takes, in passes of the network: measured on a convolutional network, 1.3 s for 6e5 multiply-adds."""

_rows: "WeakKeyDictionary[Network, dict[int, float]]" = WeakKeyDictionary()


def row_work(network: Network, place: int) -> float:
    """Multiply-adds of one row on one number of a node pulled back to the input. A row of a map travels as a window, see `bounds.windows`."""
    known = _rows.setdefault(network, {})
    if place not in known:
        known[place] = _row_work(network, place)
    return known[place]


def _row_work(network: Network, start: int) -> float:
    seen: dict[int, int] = {start: 1}  # how many places along all axes of a map a row covers, of what is no map 1
    sides: dict[int, tuple[int, ...]] = {start: (1,) * (len(network.shapes[start]) - 1)}
    total = 0.0
    for place in range(start, 0, -1):
        if place not in seen:
            continue
        node, shape = network.nodes[place], network.shapes[place]
        operator, own = node.operator, sides[place]
        covered = math.prod(min(mine, most) for mine, most in zip(own, shape[1:], strict=True))
        if isinstance(operator, Conv | ConvTranspose):
            total += covered * operator.weight.numel()
        elif isinstance(operator, Linear):
            total += operator.weight.shape[1] if place == start and len(shape) == 1 else operator.weight.numel() * math.prod(shape[:-1])
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
    return total


def forward_work(network: Network) -> float:
    """Multiply-adds of the network on one input."""
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


def feeding(docket: Docket) -> dict[int, Interval]:
    """Bounds of what goes into bends: those of the docket, else intervals."""
    network = docket.question.network
    places = {before for bend in network.bends for before in network.nodes[bend].inputs}
    if places <= docket.bounds.keys():
        return {place: docket.bounds[place] for place in places}
    values = intervals(network, docket.question.inputs, docket.bounds)
    return {place: values[place] for place in places}


def open_signs(docket: Docket) -> dict[int, Tensor]:
    """By the node that feeds a bend: float64 [n], how many numbers are open: of a ReLU those whose sign is, of other bends all."""
    network, found = docket.question.network, {}
    relus = {before for bend in network.bends for before in network.nodes[bend].inputs if isinstance(network.nodes[bend].operator, Relu)}
    for place, (low, high) in feeding(docket).items():
        open_ = (low < 0) & (high > 0) if place in relus else torch.ones_like(low, dtype=torch.bool)
        found[place] = open_.flatten(1).sum(1).double()
    return found


def crown_work(docket: Docket) -> Tensor:
    """float64 [n]: two rows for every open number behind the first bend, and the rows that are asked for."""
    network, question = docket.question.network, docket.question
    first = min(network.bends, default=len(network.nodes))
    total = torch.full((len(docket),), question.rows.shape[1] * row_work(network, len(network.nodes) - 1), dtype=torch.float64)
    for place, count in open_signs(docket).items():
        if place > first or not question.inputs.is_box:
            total = total + 2 * count.to(total.device) * row_work(network, place)
    return total


def work(name: str, docket: Docket, settings: Mapping[str, Any]) -> Tensor | None:
    """float64 [n]: about how many multiply-adds a rung with these settings, complete, takes for each open question; None where it cannot be foreseen."""
    network, count = docket.question.network, len(docket)
    last = docket.question.rows.shape[1] * row_work(network, len(network.nodes) - 1)
    if name == "ibp":
        return torch.full((count,), 2 * forward_work(network), dtype=torch.float64)
    if name == "attack":
        return torch.full((count,), 3.0 * settings["steps"] * settings["restarts"] * forward_work(network), dtype=torch.float64)
    if name == "zonotope":
        symbols = math.prod(network.input_shape) + sum(open_signs(docket).values(), torch.zeros(count, dtype=torch.float64))
        return symbols * forward_work(network)
    if name == "crown":
        return crown_work(docket)
    if name == "alpha":
        inner = crown_work(docket) - last if settings["inner_steps"] else torch.zeros(count, dtype=torch.float64)
        return 2.0 * settings["inner_steps"] * inner + 4.0 * settings["steps"] * last
    if name == "relu_split" and settings["domains"] is not None:
        return torch.full((count,), 4.0 * settings["domains"] * settings["steps"] * row_work(network, len(network.nodes) - 1), dtype=torch.float64)
    return None


def least_work(name: str, docket: Docket) -> Tensor | None:
    """float64 [n]: what a search does for each open question before it looks at the clock, None for nothing that counts."""
    network, question = docket.question.network, docket.question
    if name == "milp":
        return torch.full((len(docket),), WRITING * forward_work(network), dtype=torch.float64)
    if name != "relu_split":
        return None
    rows = (~question.settled_rows(docket.lower)).sum(1).double()
    return rows * ROOT_STEPS * 2 * row_work(network, len(network.nodes) - 1)
