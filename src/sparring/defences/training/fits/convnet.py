"""A small convolutional network."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from sparring.core.errors import InputError, PlanError
from sparring.core.fit import Samples
from sparring.core.registry import register
from sparring.defences.training.fits.network import NetworkFit, first_layer, shaped

SMALL, WIDEST = 256, 16
"""Pixels up to which networks are trained as one batch, and how many: on 8 x 8 that took 0.4 of the time of one after another, on 28 x 28 it took 1.15."""


@register("fit", "convnet")
@dataclass(frozen=True)
class Convnet(NetworkFit):
    """Train two convolutions and a hidden layer, on images of at least 2 x 2 pixels.

    The second convolution has stride 2.

    Many are trained as one batch where images are small; on larger ones the convolutions of a batch are slower (benchmarks/fits.py).

    Args:
        epochs: Passes over the samples.
        batch: Samples per step.
        rate: Of Adam, at the beginning; it falls to 0 as a cosine.
        decay: Of the weights.
        channels: Of the first convolution; the second has twice as many.
        hidden: Width of the hidden layer.
    """

    channels: int = 8
    hidden: int = 64

    kind: ClassVar[str] = "convnet"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in (("channels", self.channels), ("hidden", self.hidden)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise PlanError(f"convnet({name}={value!r}): give a whole number of at least 1")

    def width(self, datas: Sequence[Samples]) -> int:
        return WIDEST if math.prod(datas[0].x.shape[2:]) <= SMALL else 1

    def module(self, shape: tuple[int, ...], outputs: tuple[int, ...]) -> nn.Module:
        if len(shape) != 3 or min(shape[1:]) < 2:
            raise InputError(f"convnet learns from images [n, channels, height, width], not from {list(shape)}: use mlp")
        inner = 2 * self.channels * math.ceil(shape[1] / 2) * math.ceil(shape[2] / 2)
        return nn.Sequential(
            first_layer(shape), nn.Conv2d(shape[0], self.channels, 3, padding=1), nn.ReLU(),
            nn.Conv2d(self.channels, 2 * self.channels, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(),
            nn.Linear(inner, self.hidden), nn.ReLU(), nn.Linear(self.hidden, math.prod(outputs)), *shaped(outputs),
        )  # fmt: skip
