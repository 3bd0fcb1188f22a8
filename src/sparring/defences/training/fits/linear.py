"""A linear model: logistic regression for classes, ridge regression for values."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sparring.core.errors import PlanError
from sparring.core.fit import Samples
from sparring.core.registry import register
from sparring.core.victim import Victim
from sparring.defences.training.fits.descent import smallest
from sparring.defences.training.fits.network import ModuleFit, Standardise, first_layer, one_thread, shaped, standardise

WIDEST, ROOM = 16, 2**27
"""Models fitted as one batch (64 gained less in benchmarks/fits.py), and numbers that their inputs may hold, 1 GB in double precision."""


@register("fit", "linear")
@dataclass(frozen=True)
class Linear(ModuleFit):
    """Minimise the loss of all samples by L-BFGS in double precision, from zero weights.

    Nothing is random: the seed does not matter to what is learned.

    Args:
        decay: Half of it times the square of the weights is added to the mean loss; not for the constants.
        steps: Iterations at most.
    """

    decay: float = 1e-3
    steps: int = 200

    kind: ClassVar[str] = "linear"

    def __post_init__(self) -> None:
        if not 0 <= self.decay < math.inf or isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise PlanError(f"linear(decay={self.decay!r}, steps={self.steps!r}): decay is at least 0, steps a whole number of at least 1")

    def module(self, shape: tuple[int, ...], outputs: tuple[int, ...]) -> nn.Module:
        return nn.Sequential(first_layer(shape), nn.Flatten(), nn.Linear(math.prod(shape), math.prod(outputs)), *shaped(outputs))

    def width(self, datas: Sequence[Samples]) -> int:
        largest = max(len(data) * math.prod(data.x.shape[1:]) for data in datas)
        return max(1, min(WIDEST, ROOM // largest))

    def learn(self, data: Samples, seed: int) -> Victim:
        return self.many([data], [seed])[0]

    def many(self, datas: Sequence[Samples], seeds: Sequence[int]) -> list[Victim]:
        """Return linear models fitted together, each on its own samples.

        Shorter sets are filled up with samples that do not count.
        """
        modules: list[Any] = [self.fresh(data, seed) for data, seed in zip(datas, seeds, strict=True)]
        task, outputs, columns = datas[0].task, datas[0].task.score_shape, math.prod(datas[0].x.shape[1:])
        wide, longest = math.prod(outputs), max(map(len, datas))
        x = torch.zeros(len(datas), longest, columns + 1, dtype=torch.float64)
        truths = [data.y.detach().cpu() for data in datas]
        y = torch.zeros(len(datas), longest, *truths[0].shape[1:], dtype=torch.float64 if truths[0].is_floating_point() else truths[0].dtype)
        shares = torch.zeros(len(datas), longest, dtype=torch.float64)
        for place, (module, data, truth) in enumerate(zip(modules, datas, truths, strict=True)):
            standardise(module, data)
            first: Standardise = module[0]
            own: Any = data.x.detach().cpu().double()
            x[place, : len(data), :-1] = ((own - first.shift.double()) / first.scale.double()).flatten(1)
            x[place, : len(data), -1] = 1
            y[place, : len(data)] = truth
            shares[place, : len(data)] = 1 / len(data)

        def loss(weights: Tensor) -> Tensor:
            shaped_weights = weights.reshape(len(datas), columns + 1, wide)
            scores = torch.bmm(x, shaped_weights).reshape(-1, *outputs)
            each = task.training_loss(scores, y.flatten(0, 1)).reshape(len(datas), longest)
            return (each * shares).sum(1) + self.decay / 2 * shaped_weights[:, :-1].square().sum((1, 2))

        with one_thread(), torch.enable_grad():
            found = smallest(loss, torch.zeros(len(datas), (columns + 1) * wide, dtype=torch.float64), steps=self.steps)
        for module, weights in zip(modules, found.reshape(len(datas), columns + 1, wide), strict=True):
            with torch.no_grad():
                module[2].weight.copy_(weights[:-1].T)
                module[2].bias.copy_(weights[-1])
        return [self.victim(module, data) for module, data in zip(modules, datas, strict=True)]
