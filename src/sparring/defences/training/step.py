"""What a loss sees of one step of training."""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor, nn

from sparring.certification.bounds.inputs import InputSet
from sparring.core.domain import Domain
from sparring.core.errors import NeedsError
from sparring.core.threat import Space
from sparring.defences.training.live import LiveNetwork
from sparring.models.network.network import Network


@dataclass(frozen=True, eq=False)
class Step:
    """One batch. What is expensive is computed when asked for, once.

    x: float [n, *in]. y: int64 [n]. space: of the threat, with the radius of this step. share: of the full radius, in [0, 1]. dice: for
    random draws. The global random state may be used too: it is put aside while training.
    """

    module: nn.Module
    x: Tensor
    y: Tensor
    space: Space
    domain: Domain
    share: float
    dice: torch.Generator
    live: LiveNetwork

    @cached_property
    def scores(self) -> Tensor:
        """[n, classes]: of the clean batch, in training mode."""
        return self.live.scores(self.x)

    @cached_property
    def network(self) -> Network:
        """The module as a graph with live parameters, batch normalisation as on the clean batch."""
        if self.live.norms:
            _ = self.scores
        return self.live.network()

    @cached_property
    def box(self) -> InputSet:
        """The allowed inputs of each sample: the ball cut with the box of the domain. NeedsError where these are no boxes."""
        region = self.space.around(self.x, self.domain)
        if "paint" not in self.space.offers():
            raise NeedsError(f"bounds of intervals are for boxes; {self.space.kind} allows other sets: train with linf")
        return InputSet(region.low, region.high)  # type: ignore[attr-defined]


class Loss(Protocol):
    """What training makes small: a frozen value with its settings, called with a step, that returns a number with gradients."""

    def __call__(self, step: Step) -> Tensor: ...
