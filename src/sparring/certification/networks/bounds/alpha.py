"""Intermediate bounds by alpha-CROWN: slopes are optimised for each unstable neuron.

Xu et al. 2021, arXiv:2011.13824. Differs from the paper: nodes are optimised in turn, each row for its own bound, instead of all
together for the last rows. The slopes of an inner row serve that row alone, so a higher bound also raises all bounds that depend on it.
"""

import math
import time
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from sparring.certification.networks.bounds.ascent import jobs_at_once, optimised
from sparring.certification.networks.bounds.inputs import InputSet
from sparring.certification.networks.bounds.interval import Interval, Rounding
from sparring.graph.network import Network
from sparring.graph.operators import Relu


class Tightened(NamedTuple):
    """Hold the slopes that gave the bounds of some numbers of a node.

    How numbers of a node got their bounds: number `indices` (int64 [k], flattened) of sample `samples` (int64 [k]) times `signs` (+1: from below, -1:
    from above) at lower slopes [k, *shape] by activation.
    """

    node: int
    samples: Tensor
    indices: Tensor
    signs: Tensor
    slopes: dict[int, Tensor]


def tightened(
    network: Network, inputs: InputSet, bounds: Mapping[int, Interval], *, steps: int = 10, rate: float = 0.2, rounding: Rounding | None = None,
    seconds: float = math.inf,
) -> tuple[dict[int, Interval], list[Tightened]]:  # fmt: skip
    """Optimise the slopes for every input of a ReLU with open sign, node by node.

    Each number is bounded from below and from above, with the better bounds of the nodes before. Returns the bounds and how each was
    found. After `seconds` the rest stays as it is.
    """
    began = time.monotonic()
    found = dict(bounds)
    how: list[Tightened] = []
    fed = sorted({node.inputs[0] for feeding in network.nonlinearities if isinstance((node := network.nodes[feeding]).operator, Relu)})
    for feeding in fed:
        if not any(activation < feeding for activation in network.nonlinearities):
            continue
        value = found[feeding]
        low, high = value.low.flatten(1).clone(), value.high.flatten(1).clone()
        samples, indices = ((low < 0) & (high > 0)).nonzero(as_tuple=True)
        signs = torch.cat([torch.ones_like(indices), -torch.ones_like(indices)]).to(low.dtype)
        samples, indices = samples.repeat(2), indices.repeat(2)
        for piece in torch.arange(len(samples), device=samples.device).split(jobs_at_once(network, feeding)):
            if time.monotonic() - began > seconds:
                return found, how
            own, index, sign = samples[piece], indices[piece], signs[piece]
            rows = torch.zeros(len(piece), low.shape[1], dtype=low.dtype, device=low.device).scatter_(1, index[:, None], sign[:, None])
            done = optimised(network, inputs, feeding, rows.reshape(-1, *value.low.shape[1:]), found, samples=own, steps=steps, rate=rate, rounding=rounding)
            below = sign > 0
            low[own[below], index[below]] = torch.maximum(low[own[below], index[below]], done.lower[below])
            high[own[~below], index[~below]] = torch.minimum(high[own[~below], index[~below]], -done.lower[~below])
            how.append(Tightened(feeding, own, index, sign, done.slopes))
        found[feeding] = Interval(low.reshape(value.low.shape), high.reshape(value.high.shape))
    return found, how
