"""Optimisers as values, and how their rate changes during training."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from sparring.core.errors import PlanError


class Schedule(Protocol):
    """Represent the factor of the learning rate after a share of the training."""

    def __call__(self, progress: float) -> float: ...


@dataclass(frozen=True)
class Falls:
    """Multiply the rate by `factor` after each of these shares of the training.

    Before that it rises from 0 over the share `warm`.
    """

    at: tuple[float, ...] = (0.7, 0.85)
    factor: float = 0.2
    warm: float = 0.0

    def __call__(self, progress: float) -> float:
        return min(1.0, progress / self.warm if self.warm else 1.0) * self.factor ** sum(progress >= one for one in self.at)


@dataclass(frozen=True)
class Cycle:
    """Raise the rate linearly over the share `peak` of the training, then lower it to 0.

    The fall is linear too.
    """

    peak: float = 0.3

    def __call__(self, progress: float) -> float:
        return progress / self.peak if progress < self.peak else (1 - progress) / (1 - self.peak)


class Optimiser(Protocol):
    """Represent the settings that make an optimiser of parameters."""

    @property
    def rate(self) -> float:
        """Return the highest learning rate."""
        ...

    def make(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Return the optimiser of these parameters."""
        ...


@dataclass(frozen=True)
class Adam:
    """Hold the settings of AdamW: rate and decay of weights.

    Source: Kingma, Ba 2015, arXiv:1412.6980; decay of weights as in AdamW (Loshchilov, Hutter 2019, arXiv:1711.05101).
    """

    rate: float = 5e-4
    decay: float = 0.0

    def __post_init__(self) -> None:
        _check(self.rate, self.decay)

    def make(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Return the optimiser of these parameters."""
        return torch.optim.AdamW(parameters, lr=self.rate, weight_decay=self.decay)


@dataclass(frozen=True)
class Sgd:
    """Hold the settings of stochastic gradient descent with momentum.

    The decay of weights is part of the gradient.
    """

    rate: float = 0.1
    momentum: float = 0.9
    decay: float = 5e-4

    def __post_init__(self) -> None:
        _check(self.rate, self.decay)

    def make(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Return the optimiser of these parameters."""
        return torch.optim.SGD(parameters, lr=self.rate, momentum=self.momentum, weight_decay=self.decay)


def _check(rate: float, decay: float) -> None:
    if not rate > 0 or not decay >= 0:
        raise PlanError(f"rate={rate}, decay={decay}: the rate must be above 0, the decay at least 0")
