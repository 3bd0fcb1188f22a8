"""What a certificate says of one sample: proved, refuted or unknown, by which method, and what exactly is guaranteed."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    import pandas as pd

REAL = "real arithmetic"
"""The network computed without rounding; bounds are in float64 with their own rounding covered by a slack."""
FLOAT = "float32 execution"
"""The network as float32 hardware computes it, in whatever order it sums."""


class Verdict(StrEnum):
    PROVED = "proved"
    REFUTED = "refuted"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Certificate:
    """What is known of one sample under one threat.

    verdict: proved: no point of the threat meets its goal. refuted: `witness` does, checked on the model as deployed.
    unknown: neither, for the `reason` given. method: what decided ("crown", "milp", ...). radius: the radius that is proved: what was
    asked, or more where a method tells (smoothing); 0 where nothing is proved. margin: the lower bound that was reached on the margin of the right
    class, NaN where a method has none. guarantee: `REAL`, `FLOAT`, or another statement in words. confidence: 1 for what is certain, less
    for statistical methods. seconds: spent on this sample. witness: [...], one input. proof: what a proof file is made of.
    """

    verdict: Verdict
    method: str = ""
    radius: float = 0.0
    margin: float = float("nan")
    reason: str = ""
    guarantee: str = REAL
    confidence: float = 1.0
    seconds: float = 0.0
    witness: Tensor | None = None
    proof: Any = None

    def __post_init__(self) -> None:
        if self.verdict is Verdict.UNKNOWN and not self.reason:
            raise ValueError("an unknown verdict says why")
        if self.verdict is Verdict.REFUTED and self.witness is None:
            raise ValueError("a refuted verdict shows its witness")

    @property
    def proved(self) -> bool:
        return self.verdict is Verdict.PROVED


def table(certificates: Sequence[Certificate]) -> "pd.DataFrame":
    """One row a sample: verdict, method, radius, margin, reason, guarantee, confidence, seconds."""
    import pandas as pd

    names = ("verdict", "method", "radius", "margin", "reason", "guarantee", "confidence", "seconds")
    return pd.DataFrame({name: [str(value) if name == "verdict" else value for value in (getattr(one, name) for one in certificates)] for name in names})
