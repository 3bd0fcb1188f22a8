"""Defines the step of training that a loss receives."""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor, nn

from sparring.certification.networks.bounds.inputs import InputSet
from sparring.core.domain import Domain
from sparring.core.errors import NeedsError
from sparring.core.space import Space
from sparring.defences.training.live import LiveNetwork
from sparring.graph.network import Network


@dataclass(frozen=True, eq=False)
class Step:
    """Represent one batch.

    What is expensive is computed when asked for, once.

    x: float [n, *in]. y: int64 [n]. space: of the threat, with the radius of this step. share: of the full radius, in [0, 1]. rng: for
    random draws. The global random state may be used too: it is put aside while training.
    """

    module: nn.Module
    x: Tensor
    y: Tensor
    space: Space
    domain: Domain
    share: float
    rng: torch.Generator
    live: LiveNetwork

    @cached_property
    def scores(self) -> Tensor:
        """Return of the clean batch, in training mode, [n, classes]."""
        return self.live.scores(self.x)

    @cached_property
    def network(self) -> Network:
        """Return the module as a graph with live parameters and the statistics of the clean batch."""
        if self.live.norms:
            _ = self.scores
        return self.live.network()

    @cached_property
    def box(self) -> InputSet:
        """Return the allowed inputs of each sample: the ball cut with the box of the domain.

        NeedsError where these are no boxes.
        """
        region = self.space.around(self.x, self.domain)
        if "paint" not in self.space.offers():
            raise NeedsError(f"interval bounds need a box, but {self.space.kind} allows another set: train with linf")
        return InputSet(region.low, region.high)  # type: ignore[attr-defined]


class Loss(Protocol):
    """Represent a loss: a function from a step to a number with gradients.

    A loss is a frozen value with its settings.
    """

    def __call__(self, step: Step) -> Tensor: ...
