"""Images: float arrays [n, channels, height, width] with bounds."""

import base64
import html
import io
from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from sparring.core.arguments import shown
from sparring.core.domain import Domain
from sparring.core.errors import InputError, PlanError
from sparring.core.foreign import in_our_words
from sparring.core.registry import register

LEVELS = 255
"""Steps between the lowest and the highest value of an 8-bit image."""

BESIDE = 1e-4
"""By what share of a step a value may lie beside its level, because of roundings."""


@register("domain", "image")
@dataclass(frozen=True)
class Image(Domain):
    """Describe images of one size.

    Args:
        shape: (channels, height, width).
        low: Lower bound of the values.
        high: Upper bound of the values.
        deployed: "float", the array as fed (the default, because the literature compares there), or "8bit", whole 1/255 steps of the range.
    """

    shape: tuple[int, int, int]
    low: float = 0.0
    high: float = 1.0
    deployed: str = "float"

    kind: ClassVar[str] = "image"

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or not all(isinstance(side, int) and side > 0 for side in self.shape):
            raise PlanError(f"image shape {self.shape}: give (channels, height, width)")
        if not self.low < self.high:
            raise PlanError(f"image bounds [{self.low}, {self.high}]: low must be below high")
        if self.deployed not in ("float", "8bit"):
            raise PlanError(f"deployed={self.deployed!r}: choose float or 8bit")

    def check(self, x: Any) -> Tensor:
        batch = as_tensor(x)
        if tuple(batch.shape[1:]) != self.shape or batch.ndim != 4:
            swapped = batch.ndim == 4 and tuple(batch.shape[1:]) == (*self.shape[1:], self.shape[0])
            flat = batch.ndim == 3 and (1, *batch.shape[1:]) == self.shape
            cure = "put the channels first" if swapped else "add the axis of the channel, x[:, None]" if flat else "give [n, channels, height, width]"
            raise InputError(f"x has shape {tuple(batch.shape)} but the images are [n, {', '.join(map(str, self.shape))}]: {cure}")
        batch = in_range(batch, self.low, self.high)
        if self.deployed == "8bit":
            self._refuse_between(batch)
        return batch

    def _refuse_between(self, batch: Tensor) -> None:
        """Refuse clean images with values between two levels: their deployed form is another image, with changes that no adversary made."""
        level = (batch.double() - self.low) * (LEVELS / (self.high - self.low))
        between = ((level - level.round()).abs() > BESIDE).nonzero()
        if not len(between):
            return
        value, nearest = (float(one[tuple(between[0])]) for one in (batch, level.round() * (self.high - self.low) / LEVELS + self.low))
        raise InputError(
            f"x has values between the {LEVELS + 1} levels of 8-bit images, such as {value:.6g} in sample {int(between[0, 0])}: "
            f"move them to the nearest level (here {nearest:.6g}), or leave out deployed='8bit'"
        )

    def deploy(self, x: Tensor, origin: Tensor) -> Tensor:
        if self.deployed == "float":
            return x
        step = (self.high - self.low) / LEVELS
        level = (x.double() - self.low) / step
        toward = torch.where(x >= origin, torch.floor(level + BESIDE), torch.ceil(level - BESIDE))
        return (toward * step + self.low).to(x.dtype).clamp(self.low, self.high)

    def valid(self, x: Tensor) -> np.ndarray:
        flat = x.reshape(len(x), -1)
        return ((flat >= self.low) & (flat <= self.high)).all(1).cpu().numpy()

    def native(self, x: Tensor) -> np.ndarray:
        return x.detach().cpu().numpy()

    def pack(self, x: Tensor) -> np.ndarray:
        return x.detach().cpu().numpy()

    def unpack(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.array(array)).reshape(-1, *self.shape)

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, "shape": list(self.shape), "low": self.low, "high": self.high, "deployed": self.deployed}

    @classmethod
    def restore(cls, description: dict[str, Any]) -> "Image":
        return cls(tuple(description["shape"]), description["low"], description["high"], description["deployed"])

    def __str__(self) -> str:
        channels, height, width = self.shape
        return f"images, {channels} x {height} x {width}, values in [{self.low:g}, {self.high:g}], deployed as {self.deployed}"

    def show(self, before: Tensor, after: Tensor) -> str:
        change = (after[0] - before[0]).double()
        largest = float(change.abs().max())
        gain = 0.5 / largest if largest else 1.0
        span = self.high - self.low
        pictures = [
            ("before", (before[0].double() - self.low) / span, ""),
            (f"change x{gain:.3g}", 0.5 + change * gain, f"largest change {largest:.4g}"),
            ("after", (after[0].double() - self.low) / span, ""),
        ]
        figures = "".join(
            f'<figure><img src="{_png(pixels)}" alt="{html.escape(title)}"><figcaption title="{html.escape(detail)}">{html.escape(title)}</figcaption></figure>'
            for title, pixels, detail in pictures
        )
        return f'<div class="shown image">{figures}</div>'


def _png(pixels: Tensor) -> str:
    """A data URI of an image with values in [0, 1]; the first three channels, or one repeated."""
    from PIL import Image as Picture

    levels = (pixels.clamp(0, 1) * 255).round().to(torch.uint8)
    array = levels[:3].permute(1, 2, 0).cpu().numpy() if len(levels) >= 3 else levels[0].cpu().numpy()
    written = io.BytesIO()
    Picture.fromarray(array).save(written, "png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(written.getvalue()).decode()


def as_tensor(x: Any) -> Tensor:
    """Return x as a tensor of at least float32; whole numbers are refused, because their scale is a guess."""
    try:
        batch = x.detach() if isinstance(x, Tensor) else torch.from_numpy(np.asarray(x))
    except (TypeError, ValueError) as error:
        raise InputError(f"x is not an array of numbers ({error}): give floats [n, channels, height, width]") from error
    if not batch.is_floating_point():
        raise InputError(f"x has type {batch.dtype}: convert it to floating point and divide 8-bit images by 255")
    return batch.float() if batch.dtype.itemsize < 4 else batch  # a radius would be rounded as coarsely as the values


def in_range(batch: Tensor, low: float, high: float) -> Tensor:
    """Return images with values in [low, high].

    Values outside by a rounding are moved to the bound.

    Raises:
        InputError: For values that are not finite or outside by more.
    """
    if len(wrong := (~torch.isfinite(batch)).nonzero()):
        seen = "1 value that is" if len(wrong) == 1 else f"{len(wrong)} values that are"
        raise InputError(f"x has {seen} NaN or infinite, the first in sample {int(wrong[0, 0])}: replace such values, or drop the samples")
    if not batch.numel() or (float(batch.min()) >= low and float(batch.max()) <= high):
        return batch
    least, most = float(batch.min()), float(batch.max())
    slack = rounding(batch.dtype, low, high)
    if least >= low - slack and most <= high + slack:
        return batch.clamp(low, high)
    raise InputError(f"x has values in [{least:.4g}, {most:.4g}] but the image domain is [{low:g}, {high:g}]: {_cure(least, most, low, high)}")


def rounding(dtype: torch.dtype, low: float, high: float) -> float:
    """Return by how much a rounding may carry a number beyond the bounds."""
    return 2 * torch.finfo(dtype).eps * max(abs(low), abs(high))


def _cure(least: float, most: float, low: float, high: float) -> str:
    if least >= 0 and 2 < most <= 255 and (low, high) == (0, 1):
        return "divide by 255, or describe them with sp.image(channels, height, width, high=255)"
    if -1 <= least < 0 and most <= 1 and (low, high) == (0, 1):
        return "map them to [0, 1] and give the model mean=0.5, std=0.5, or describe them with sp.image(channels, height, width, low=-1)"
    return "move the normalisation into the model with mean= and std=, or describe the values with low= and high="


@in_our_words
def image(
    channels: int | Any, height: int | Any = None, width: int | Any = None, *, low: float = 0.0, high: float = 1.0, deployed: str = "float"
) -> Image:  # sizes are checked below, because the first one is not always the channels
    """Return the domain of images: `image(3, 32, 32)`; `image(28, 28)` has one channel.

    Args:
        channels: Number of channels; with two numbers only, the height.
        height: In pixels; with two numbers only, the width.
        width: In pixels.
        low: Lower bound of the values as fed.
        high: Upper bound of the values as fed.
        deployed: "float", or "8bit" where the model is fed from 8-bit images, so that every point is rounded to one of 256 levels. The clean images
            must be such images.

    Returns:
        The `Domain`, to be given to `victim` and `Data.of`.

    Raises:
        PlanError: For sizes below 1, bounds in the wrong order, and an unknown form.

    Example:
        >>> image(28, 28).shape
        (1, 28, 28)
    """
    sizes = [channels, height, width] if width is not None else [channels, height] if height is not None else [channels]
    written = f"image({', '.join(map(shown, sizes))})"
    if wrong := [one for one in sizes if isinstance(one, bool) or not isinstance(one, Integral) or one < 1]:
        cure = "give image(channels, height, width), or image(height, width)"
        raise PlanError(f"{written}: {shown(wrong[0])} is no whole number of at least 1: {cure}")
    if len(sizes) == 1:
        raise PlanError(f"{written}: give image(channels, height, width), or image(height, width) for one channel")
    one, two, three = [1, *map(int, sizes)][-3:]
    return Image((one, two, three), low, high, deployed)
