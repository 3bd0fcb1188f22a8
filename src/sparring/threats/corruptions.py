"""Common corruptions as a space: the finite list of corrupted versions of every image, up to a severity."""

import hashlib
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor

from sparring.core.domain import Domain
from sparring.core.errors import NeedsError, PlanError, UnknownName
from sparring.core.registry import register
from sparring.core.rng import Rng
from sparring.core.space import Region, Space, check_radius
from sparring.domains.corruptions.corrupt import CORRUPTIONS, SEVERITIES, corrupt
from sparring.domains.image import Image


def read_names(written: str, known: tuple[str, ...] = tuple(CORRUPTIONS)) -> tuple[str, ...]:
    """Return the corruptions written as "all" or "fog+snow".

    UnknownName names the nearest known one.
    """
    names = known if written == "all" else tuple(dict.fromkeys(part.strip() for part in written.split("+")))
    for name in names:
        if name not in known:
            raise UnknownName("corruption", name, known)
    return names


@register("space", "corruptions")
@dataclass(frozen=True)
class Corruptions(Space):
    """Allow any one common corruption of an image up to severity `radius`, 1 to 5.

    Source: arXiv:1903.12261.

    names: of the corruptions. seed: of their random numbers. Every image has one version of each corruption and severity: the random
    numbers are keyed by the seed and the image's own values. So the allowed points are a list, and membership is checked exactly.
    """

    radius: float | Tensor
    names: tuple[str, ...] = tuple(CORRUPTIONS)
    seed: int = 0

    kind: ClassVar[str] = "corruptions"
    region: ClassVar[type[Region]]

    def __post_init__(self) -> None:
        check_radius(self.radius)
        read_names("+".join(self.names))

    @classmethod
    def parse(cls, severity: int, names: str = "all", seed: int = 0) -> "Corruptions":
        """Return the space as a plan writes it: the highest severity, and perhaps names and a seed."""
        if isinstance(severity, bool) or severity not in SEVERITIES:
            raise PlanError(f"corruptions {severity!r}: give the highest severity, 1 to 5, and optionally names such as fog+snow")
        if not isinstance(names, str) or isinstance(seed, bool) or not isinstance(seed, int):
            raise PlanError(f"corruptions {severity} {names!r} {seed!r}: write names as fog+snow, and a whole number as seed")
        return cls(float(severity), read_names(names), seed)

    def around(self, origin: Tensor, domain: Domain) -> "CorruptionsRegion":
        if not isinstance(domain, Image):
            raise NeedsError(f"corruptions apply to images only, the inputs are {domain}: try linf, l2, rules or words")
        rows = origin.detach().to(torch.float32).cpu().contiguous().numpy()
        prints = [hashlib.blake2b(row.tobytes(), digest_size=16).hexdigest() for row in rows]
        rng = Rng.of(self.seed, prints, origin.device)
        return CorruptionsRegion(origin, domain, self.radii(len(origin), origin.device), self.names, rng)

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "names": list(self.names), "seed": self.seed}

    def __str__(self) -> str:
        severity = "a severity per sample" if isinstance(self.radius, Tensor) else f"severity {self.radius:g}"
        which = "the 15 common corruptions" if len(self.names) == len(CORRUPTIONS) else ", ".join(self.names)
        return f"one of {which} up to severity {severity} of 5, in one version each (seed {self.seed})"

    @property
    def label(self) -> str:
        names = "" if len(self.names) == len(CORRUPTIONS) else " " + "+".join(self.names)
        return super().label + names


@dataclass(frozen=True, eq=False)
class CorruptionsRegion(Region):
    """Represent the corrupted versions of every origin, float [n, C, H, W].

    made: what was made so far, as print of the pixels -> severity, by the key of the row; all regions taken from one share
    it, so a search need not make its points twice.
    """

    origin: Tensor
    domain: Image
    radius: Tensor
    names: tuple[str, ...]
    rng: Rng
    made: dict[int, dict[bytes, int]] = field(default_factory=dict)

    def take(self, rows: Tensor) -> Self:
        return type(self)(self.origin[rows], self.domain, self.radius[rows], self.names, self.rng.take(rows), self.made)

    def corrupted(self, name: str, severity: int) -> Tensor:
        """Return every origin under a corruption, and whether its severity is allowed."""
        x = corrupt(self.origin, name, severity, self.rng, self.domain)
        for key, mark in zip(self.rng.keys.tolist(), self._prints(x), strict=True):
            known = self.made.setdefault(key, {})
            known[mark] = min(severity, known.get(mark, severity))
        return x

    def size(self, x: Tensor) -> Tensor:
        """Return the least severity that makes x of its origin.

        0 for the origin itself, infinite where none does, float64 [n].
        """
        return self._severity(x, torch.full_like(self.radius, max(SEVERITIES)))

    def inside(self, x: Tensor) -> Tensor:
        """Check that x is the origin or one of its versions, to the last of the 256 levels."""
        return self._severity(x, self.radius) <= self.radius

    def complaint(self, x: Tensor) -> list[str]:
        return ["" if good else "not an allowed corruption of the clean image" for good in self.inside(x).tolist()]

    def sample(self, rng: Rng) -> Tensor:
        """Return a random corruption of a random severity, 0 included."""
        most = self.radius.clamp(max=max(SEVERITIES)).floor().long()
        return self._chosen(rng, rng.draw("severity").integers(most + 1, 1).squeeze(1))

    def corner(self, rng: Rng) -> Tensor:
        """Return a random corruption of the highest severity."""
        return self._chosen(rng, self.radius.clamp(max=max(SEVERITIES)).floor().long())

    def _chosen(self, rng: Rng, severity: Tensor) -> Tensor:
        name, x = rng.draw("name").integers(len(self.names), 1).squeeze(1), self.origin.clone()
        for which, level in torch.stack([name, severity], 1).unique(dim=0).tolist():
            rows = ((name == which) & (severity == level)).nonzero().squeeze(1)
            x[rows] = self.take(rows).corrupted(self.names[which], level) if level else self.origin[rows]
        return x

    def _prints(self, x: Tensor) -> list[bytes]:
        """A print of the 256 levels of each row; empty where x does not lie on them."""
        level = ((x.double() - self.domain.low) / (self.domain.high - self.domain.low) * 255).flatten(1)
        whole = level.round()
        slack = 1e-6 + 255 * 4 * torch.finfo(x.dtype).eps
        fits = (((level - whole).abs() <= slack) & (whole >= 0) & (whole <= 255)).all(1).tolist()
        rows = whole.clamp(0, 255).to(torch.uint8).cpu().numpy()
        return [hashlib.blake2b(row.tobytes(), digest_size=16).digest() if good else b"" for row, good in zip(rows, fits, strict=True)]

    def _severity(self, x: Tensor, most: Tensor) -> Tensor:
        """The least severity up to `most` ([n]) that makes x; those already made are not made again."""
        same, marks = (x == self.origin).flatten(1).all(1).tolist(), self._prints(x)
        found = [0.0 if one else float("inf") for one in same]
        keys, limit = self.rng.keys.tolist(), most.tolist()

        def look() -> None:
            for row, mark in enumerate(marks):
                found[row] = min(found[row], self.made.get(keys[row], {}).get(mark, float("inf")))

        look()
        for severity in SEVERITIES:
            for name in self.names:
                missing = [row for row, mark in enumerate(marks) if mark and found[row] == float("inf") and severity <= limit[row]]
                if not missing:
                    break
                self.take(torch.tensor(missing, device=x.device)).corrupted(name, severity)
                look()
        return torch.tensor(found, dtype=torch.float64, device=x.device)


Corruptions.region = cast(Any, CorruptionsRegion)
