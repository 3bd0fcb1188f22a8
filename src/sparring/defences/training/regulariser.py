"""Regularisers while the radius grows: intervals that stay narrow, and ReLUs active as much as inactive."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sparring.certification.networks.bounds.interval import Interval
from sparring.graph.network import Network
from sparring.graph.operators import Relu

TINY = 1e-12


@dataclass(frozen=True)
class Regulariser:
    """Hold the regularisers of tightness and ReLU balance, with a weight that decreases to 0.

    It falls as the radius grows (Shi et al. 2021, arXiv:2103.17268, section 4.3).

    weight: lambda_0. tolerance: tau, ratios above it are not punished. The variances are those around the mean of the layer. At radius 0
    intervals have no width and only the balance counts.
    """

    weight: float = 0.5
    tolerance: float = 0.5

    def __call__(self, network: Network, values: Sequence[Interval], share: float) -> Tensor:
        """values: intervals of all nodes. share: of the full radius; at 1 nothing is left."""
        places = [
            before
            for activation in network.nonlinearities
            if isinstance(network.nodes[activation].operator, Relu)
            for before in network.nodes[activation].inputs
        ]
        weight = self.weight * (1 - share)
        if weight <= 0 or not places:
            return values[0].low.new_zeros(())
        return weight / len(places) * sum((self._layer(values[place], values[0]) for place in places), values[0].low.new_zeros(()))

    def _layer(self, value: Interval, first: Interval) -> Tensor:
        middle = (value.low + value.high) / 2
        active, inactive = (value.low > 0).to(middle.dtype), (value.high < 0).to(middle.dtype)
        spread = (middle - middle.mean()).square()
        punished = self._short((middle * active).sum(), -(middle * inactive).sum()) + self._short((spread * active).sum(), (spread * inactive).sum())
        width, before = (value.high - value.low).mean(), (first.high - first.low).mean()
        return punished + torch.relu(self.tolerance - before / width.clamp_min(TINY)) / self.tolerance if float(before) > 0 else punished

    def _short(self, one: Tensor, other: Tensor) -> Tensor:
        """How far the smaller of two sums of at least 0 falls short of the tolerated share of the larger, in [0, 1]; 0 where both are 0."""
        larger = torch.maximum(one, other)
        short = torch.relu(self.tolerance - torch.minimum(one, other) / larger.clamp_min(TINY)) / self.tolerance
        return torch.where(larger > 0, short, 0.0)
