"""Defines spaces (which changes are allowed) and regions (the points allowed around each input)."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, ClassVar

import torch
from torch import Tensor

from sparring.core.domain import Batch, Domain
from sparring.core.errors import InputError, NeedsError

SHOWN = 3
"""Columns that a message names."""


class Region(ABC):
    """Hold the points allowed around each clean input of one batch: a space bound to rows.

    All methods are row-wise: row i of the answer depends on row i alone. Besides the three abstract
    methods a region offers what it can, and an attack states what it `uses`:

    - `project(x)`: the nearest allowed points;
    - `steepest(g)`: the direction of unit size along which g ascends fastest; `ascend(x, g, length)`: a step along it;
    - `sample(rng)`: random allowed points;      - `corner(rng)`: random extreme points;
    - `paint(signs)`: edge points chosen per coordinate by sign (boxes only);
    - `toward(x, size)`: points at most `size` from the origin on the way to x (for label attacks);
    - `moves(x, row)`: all allowed one-place changes of one row (discrete spaces, tables).
    """

    origin: Batch
    domain: Domain

    @abstractmethod
    def take(self, rows: Tensor) -> "Region":
        """Return the region of these rows (an index tensor or a bool mask)."""

    @abstractmethod
    def size(self, x: Batch) -> Tensor:
        """Return the size of the change from the origin, float64 [n], in the unit of the radius."""

    @abstractmethod
    def inside(self, x: Batch) -> Tensor:
        """Return bool [n]: whether x is allowed, by an exact check."""

    def complaint(self, x: Batch) -> list[str]:
        """Return the reason why each row is not allowed, or an empty string where it is."""
        sizes, inside = self.size(x).tolist(), self.inside(x).tolist()
        return ["" if good else f"size {size:.6g} is outside" for size, good in zip(sizes, inside, strict=True)]


class Space(ABC):
    """Describe which changes are allowed.

    A space is frozen. `radius` is a float, or a float64 tensor with one radius per sample.
    """

    kind: ClassVar[str]
    region: ClassVar[type[Region]]
    parse: ClassVar[Callable[..., "Space"]]
    """The space from the arguments written in a plan: `linf 8/255` calls `parse(8 / 255)`."""

    by_size: ClassVar[bool] = False
    """Whether the size alone limits a change, so that a large radius allows every input."""

    keeps_gaps: ClassVar[bool] = False
    """Whether the space leaves missing values (NaN) of an input as they are, so that it applies to data with some."""

    radius: float | Tensor

    @abstractmethod
    def around(self, origin: Batch, domain: Domain) -> Region:
        """Return the region of allowed points around `origin` ([n, ...])."""

    def check(self, x: Batch, domain: Domain) -> None:
        """Raise an error if the space does not apply to these inputs, or cannot be meant for them."""
        if not self.keeps_gaps and has_gaps(x):
            where = _gapped(x, getattr(domain, "names", ()))
            raise NeedsError(
                f"{self.label} changes every value, but the data has missing ones{where}: give rules, which leave these as they are, or fill or drop them"
            )
        self.around(x, domain)

    def describe(self) -> dict[str, Any]:
        """Return the space as plain JSON that names everything that matters.

        It is part of the record's key. Spaces with further settings add them.
        """
        return {"kind": self.kind, "radius": self.radius.tolist() if isinstance(self.radius, Tensor) else float(self.radius)}

    @abstractmethod
    def __str__(self) -> str:
        """Return the space in words and formula, for the threat card."""

    @property
    def label(self) -> str:
        """Return the space as it is written in a plan, such as "linf 0.1"."""
        return f"{self.kind} {'per sample' if isinstance(self.radius, Tensor) else format(self.radius, 'g')}"

    @classmethod
    def offers(cls) -> frozenset[str]:
        """Return the names of the public methods of the region, which attacks may use."""
        return frozenset(name for name in dir(cls.region) if not name.startswith("_"))

    def take(self, rows: Tensor) -> "Space":
        """Return this space for some of the samples, with their radii where these differ."""
        if isinstance(self.radius, Tensor):
            return self.with_radius(self.radius[rows.to(self.radius.device)])
        return self

    def with_radius(self, radius: float | Tensor) -> "Space":
        """Return the same space with another radius."""
        return dataclasses.replace(self, radius=radius)  # type: ignore[type-var]

    def radii(self, count: int, device: torch.device | str = "cpu") -> Tensor:
        """Return the radius of every sample, float64 [count]."""
        radius = torch.as_tensor(self.radius, dtype=torch.float64, device=device)
        if radius.ndim and len(radius) != count:
            raise InputError(f"{len(radius)} radii for {count} samples: give one radius, or one per sample")
        return radius.expand(count)


def has_gaps(x: Batch) -> bool:
    """Return whether a value of a batch is missing (NaN)."""
    return isinstance(x, Tensor) and x.is_floating_point() and bool(x.isnan().any())


def _gapped(x: Batch, names: Sequence[str]) -> str:
    """The columns with missing values, as part of a message; empty where columns have no names."""
    places = x.isnan().any(0).nonzero().flatten().tolist() if x.ndim == 2 else []
    if not places or len(names) != x.shape[1]:
        return ""
    listed = ", ".join(repr(names[place]) for place in places[:SHOWN])
    return f" in the column{'s' * (len(places) > 1)} {listed}{f' and {len(places) - SHOWN} others' if len(places) > SHOWN else ''}"


def check_radius(radius: float | Tensor) -> None:
    """Refuse radii that are not numbers, negative or not finite."""
    if not isinstance(radius, Real | Tensor) or isinstance(radius, bool):
        raise InputError(f"radius is {radius!r}: give a number, or a tensor of one number per sample")
    values = torch.as_tensor(radius, dtype=torch.float64)
    if values.ndim > 1:
        raise InputError(f"radius has shape {tuple(values.shape)}: give a number, or one number per sample")
    if not bool(torch.isfinite(values).all()) or bool((values < 0).any()):
        raise InputError(f"radius must be finite and at least 0, got {radius}: give such a number, or a tensor of one per sample")


def wide(rows: Tensor, like: Tensor) -> Tensor:
    """Return values per row, [n], as [n, 1, ...] with as many axes as `like`.

    >>> import torch
    >>> wide(torch.zeros(2), torch.zeros(2, 3, 8, 8)).shape
    torch.Size([2, 1, 1, 1])
    """
    return rows.reshape(-1, *[1] * (like.ndim - 1))
