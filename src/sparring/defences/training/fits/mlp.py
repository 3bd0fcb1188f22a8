"""A multilayer perceptron."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from sparring.core.errors import PlanError
from sparring.core.registry import register
from sparring.defences.training.fits.network import NetworkFit, first_layer, shaped


@register("fit", "mlp")
@dataclass(frozen=True)
class Mlp(NetworkFit):
    """Train fully connected layers with ReLU, on rows of a table or flattened images.

    Categories of a table count as their numbers.

    Args:
        epochs: Passes over the samples.
        batch: Samples per step.
        rate: Of Adam, at the beginning; it falls to 0 as a cosine.
        decay: Of the weights.
        hidden: Widths of the hidden layers; none is a linear model.
    """

    hidden: Sequence[int] = (64,)

    kind: ClassVar[str] = "mlp"

    def __post_init__(self) -> None:
        super().__post_init__()
        widths = tuple(self.hidden) if isinstance(self.hidden, list | tuple) else (self.hidden,)
        if any(isinstance(one, bool) or not isinstance(one, int) or one < 1 for one in widths):
            raise PlanError(f"mlp(hidden={self.hidden!r}): give whole numbers of at least 1, hidden=[64, 32]")
        object.__setattr__(self, "hidden", widths)

    def module(self, shape: tuple[int, ...], outputs: tuple[int, ...]) -> nn.Module:
        layers: list[nn.Module] = [first_layer(shape), nn.Flatten()]
        before = math.prod(shape)
        for width in self.hidden:
            layers += [nn.Linear(before, width), nn.ReLU()]
            before = width
        return nn.Sequential(*layers, nn.Linear(before, math.prod(outputs)), *shaped(outputs))
