"""Tampering: the changes that an adversary may make to training data."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from sparring.core.errors import PlanError
from sparring.core.registry import register


@register("tampering", "labels")
@dataclass(frozen=True)
class LabelTampering:
    """Change the labels of a share of the training samples; inputs, ids and order stay.

    Attributes:
        share: In [0, 1], of the samples whose label may change.
    """

    share: float

    kind: ClassVar[str] = "labels"

    def __post_init__(self) -> None:
        if isinstance(self.share, bool) or not isinstance(self.share, int | float) or not 0 <= self.share <= 1:
            raise PlanError(f"labels {self.share!r}: give the share of the labels that may change, between 0 and 1: labels 0.1")

    def most(self, count: int) -> int:
        """Return how many of so many samples may change."""
        return int(self.share * count + 1e-9)

    def size(self, before: Any, after: Any) -> float:
        """Return the share of the labels that differ; infinite if anything else differs.

        before, after: `Data`.
        """
        same_inputs = before.ids == after.ids and isinstance(after.x, Tensor) and torch.equal(before.x, after.x)
        if not same_inputs or after.y.shape != before.y.shape:
            return float("inf")
        return float((before.y != after.y).double().mean())

    def inside(self, before: Any, after: Any) -> bool:
        """Return whether the changed data is allowed. before, after: `Data`."""
        return round(self.size(before, after) * len(before.ids), 6) <= self.most(len(before.ids))

    @property
    def label(self) -> str:
        """Return the threat as it is written in a plan."""
        return f"{self.kind} {self.share:g}"

    def describe(self) -> dict[str, Any]:
        """Return plain JSON; equal descriptions are equal threats."""
        return {"kind": self.kind, "share": self.share}

    def __str__(self) -> str:
        return f"at most {self.share:.4g} of all training labels may be changed, and no inputs"
