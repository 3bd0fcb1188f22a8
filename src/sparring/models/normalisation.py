"""Normalisation and layout: how inputs of a domain become the numbers that a model was trained on."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from sparring.core.arguments import shown
from sparring.core.domain import Domain
from sparring.core.errors import LoadError
from sparring.domains.image import Image

Numbers = float | Sequence[float] | Tensor | np.ndarray
"""One number, or one per channel of an image, or per column."""

Layout = Literal["channels first", "channels last"]

LAYOUTS: dict[str, Layout] = {"channels first": "channels first", "channels last": "channels last", "nchw": "channels first", "nhwc": "channels last"}
"""Layouts as people write them."""


def layout_of(written: str | None, domain: Domain) -> Layout | None:
    """Return the layout in one spelling.

    Raises:
        LoadError: For an unknown one, and where the inputs are no images.
    """
    if written is None:
        return None
    found = LAYOUTS.get(str(written).lower().replace("_", " ").replace("-", " "))
    if found is None:
        raise LoadError(f"layout={shown(written)}: write 'channels first' or 'channels last'")
    if not isinstance(domain, Image):
        raise LoadError(f"layout={shown(written)} has no meaning for {domain}: leave it out")
    return found


class Normalisation(nn.Module):
    """Turn inputs x of a domain into (x * scale - mean) / std.

    Inputs are [n, *shape]; channels go last if so asked.

    Attributes:
        scale, mean, std: Float64, with shapes that broadcast against one input; None where there is nothing to do.
        last: Whether channels go last, [n, height, width, channels].
    """

    scale: Tensor | None
    mean: Tensor | None
    std: Tensor | None

    def __init__(self, scale: Tensor | None, mean: Tensor | None, std: Tensor | None, last: bool):
        super().__init__()
        self.last = last
        for name, value in (("scale", scale), ("mean", mean), ("std", std)):
            self.register_buffer(name, value)

    @classmethod
    def of(
        cls, domain: Domain, *, mean: Numbers | None = None, std: Numbers | None = None, scale: Numbers | None = None, layout: str | None = None
    ) -> "Normalisation | None":
        """Return the normalisation with these settings; None if it does nothing.

        Args:
            domain: What the inputs are.
            mean: Subtracted after scaling; a number, or one per channel or column.
            std: Divided by, last; above 0.
            scale: Multiplied by, first, such as 255 where inputs in [0, 1] meet a network of whole numbers from 0 to 255.
            layout: "channels last" for models that take [n, height, width, channels].

        Raises:
            LoadError: For numbers that are not finite or not as many as the channels, and for inputs that are no numbers.

        Example:
            >>> from sparring.domains.image import image
            >>> Normalisation.of(image(3, 2, 2), mean=0.5, std=[0.5, 0.25, 0.2])(torch.ones(1, 3, 2, 2))[0, :, 0, 0]
            tensor([1.0000, 2.0000, 2.5000])
        """
        last = layout_of(layout, domain) == "channels last"
        given = {name: _numbers(name, value, domain) for name, value in (("mean", mean), ("std", std), ("scale", scale)) if value is not None}
        if not given and not last:
            return None
        return cls(given.get("scale"), given.get("mean"), given.get("std"), last)

    def forward(self, x: Tensor) -> Tensor:
        """Return the numbers that the model takes, in the type of `x`."""
        if self.scale is not None:
            x = x * self.scale.to(x)
        if self.mean is not None:
            x = x - self.mean.to(x)
        if self.std is not None:
            x = x / self.std.to(x)
        return x.permute(0, 2, 3, 1).contiguous() if self.last else x

    def factor_and_shift(self) -> tuple[Tensor, Tensor]:
        """Return the normalisation as x * factor + shift, float64."""
        one, none = torch.ones(()), torch.zeros(())
        scale, mean, std = (value.double() if value is not None else base.double() for value, base in ((self.scale, one), (self.mean, none), (self.std, one)))
        return scale / std, -mean / std

    def extra_repr(self) -> str:
        """Return the settings, which identify the normalisation."""
        written = {name: value.flatten().tolist() for name, value in self.named_buffers() if value is not None}
        return ", ".join([*(f"{name}={value}" for name, value in written.items()), *["channels last"] * self.last])


def _by_name(name: str, given: dict[Any, Any], domain: Domain) -> list[Any]:
    """The numbers of a mapping or a series from columns, in the order of the table; places count where there are no names."""
    wanted = list(getattr(domain, "names", ())) or list(range(domain.shape[0]))  # type: ignore[attr-defined]
    if set(given) != set(wanted):
        raise LoadError(
            f"{name} names {', '.join(map(str, list(given)[:5]))}, the inputs have {', '.join(map(str, wanted[:5]))}: give one number for each of them"
        )
    return [given[one] for one in wanted]


def _numbers(name: str, value: Any, domain: Domain) -> Tensor:
    """The numbers of a setting, float64, with a shape that broadcasts against one input."""
    shape = tuple(getattr(domain, "shape", ()))
    if not shape:
        raise LoadError(f"{name}={shown(value)} has no meaning for {domain}: leave it out")
    wanted = shape[0]
    what = f"{wanted} {'channel' if isinstance(domain, Image) else 'column'}{'s' * (wanted > 1)}"
    if isinstance(value, Mapping) or (hasattr(value, "index") and hasattr(value, "items")):
        value = _by_name(name, dict(value.items()), domain)
    try:
        listed = list(value) if isinstance(value, Iterable) and not isinstance(value, str | Tensor | np.ndarray) else value
        numbers = torch.as_tensor(np.array(listed) if isinstance(listed, np.ndarray) else listed, dtype=torch.float64).detach().cpu().flatten()
    except (TypeError, ValueError, RuntimeError) as error:
        raise LoadError(f"{name}={shown(value)}: give a number, or one for each of the {what}") from error
    if len(numbers) not in (1, wanted):
        raise LoadError(f"{name} has {len(numbers)} numbers, the inputs have {what} ({domain}): give one number, or one for each")
    if not bool(torch.isfinite(numbers).all()) or (name != "mean" and not bool((numbers > 0).all())):
        raise LoadError(f"{name}={shown(value)}: give {'finite numbers' if name == 'mean' else 'finite numbers above 0'}")
    sizes, single = numbers.abs(), torch.finfo(torch.float32)
    if bool((sizes > single.max).any()) or (name != "mean" and bool((sizes < single.tiny).any())):
        raise LoadError(f"{name}={shown(value)} is infinite or 0 in single precision: give numbers from {single.tiny:.2g} to {single.max:.2g}")
    return numbers.reshape(-1, *[1] * (len(shape) - 1)) if math.prod(numbers.shape) > 1 else numbers.reshape(())
