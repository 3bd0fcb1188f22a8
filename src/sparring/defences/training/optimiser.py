"""Optimisers as values, and how their rate changes during training."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from sparring.core.errors import PlanError


class Schedule(Protocol):
    """What the rate is multiplied by after a share of the training."""

    def __call__(self, progress: float) -> float: ...


@dataclass(frozen=True)
class Falls:
    """The rate is multiplied by `factor` at each of these shares of the training; before that it rises from 0 over the share `warm`."""

    at: tuple[float, ...] = (0.7, 0.85)
    factor: float = 0.2
    warm: float = 0.0

    def __call__(self, progress: float) -> float:
        return min(1.0, progress / self.warm if self.warm else 1.0) * self.factor ** sum(progress >= one for one in self.at)


@dataclass(frozen=True)
class Cycle:
    """The rate rises straight over the share `peak` of the training and falls straight to 0."""

    peak: float = 0.3

    def __call__(self, progress: float) -> float:
        return progress / self.peak if progress < self.peak else (1 - progress) / (1 - self.peak)


class Optimiser(Protocol):
    """Makes the optimiser of parameters."""

    @property
    def rate(self) -> float: ...

    def make(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer: ...


@dataclass(frozen=True)
class Adam:
    """Kingma, Ba 2015, arXiv:1412.6980; decay of weights as in AdamW (Loshchilov, Hutter 2019, arXiv:1711.05101)."""

    rate: float = 5e-4
    decay: float = 0.0

    def __post_init__(self) -> None:
        _check(self.rate, self.decay)

    def make(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.AdamW(parameters, lr=self.rate, weight_decay=self.decay)


@dataclass(frozen=True)
class Sgd:
    """Stochastic gradient descent with momentum; decay of weights as part of the gradient."""

    rate: float = 0.1
    momentum: float = 0.9
    decay: float = 5e-4

    def __post_init__(self) -> None:
        _check(self.rate, self.decay)

    def make(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=self.rate, momentum=self.momentum, weight_decay=self.decay)


def _check(rate: float, decay: float) -> None:
    if not rate > 0 or not decay >= 0:
        raise PlanError(f"rate={rate}, decay={decay}: the rate must be above 0, the decay at least 0")
