"""The certificate of one sample: verdict, method, radius and the exact guarantee."""

import functools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor

if TYPE_CHECKING:
    import pandas as pd

REAL = "real arithmetic"
"""The network computed without rounding; bounds are in float64 with their own rounding covered by a slack."""
FLOAT = "float32 execution"
"""The network as float32 hardware computes it, in whatever order it sums."""


class Verdict(StrEnum):
    """Name the verdict on a sample: proved, refuted or unknown."""

    PROVED = "proved"
    REFUTED = "refuted"
    UNKNOWN = "unknown"


Made = TypeVar("Made")


def _takes_witness(made: type[Made]) -> type[Made]:
    """Also take `witness=`, the name that `counterexample=` had before."""
    init = made.__init__

    @functools.wraps(init)
    def renamed(self: Made, *values: Any, **fields: Any) -> None:
        if "witness" in fields:
            warnings.warn("the field witness= of a certificate is now called counterexample=", DeprecationWarning, stacklevel=2)
            fields["counterexample"] = fields.pop("witness")
        init(self, *values, **fields)

    made.__init__ = renamed
    return made


@_takes_witness
@dataclass(frozen=True, repr=False)
class Certificate:
    """Hold the verdict on one sample under one threat, and its evidence.

    Args:
        verdict: Proved: no point of the threat meets its goal. Refuted: `counterexample` does, checked on the model as deployed. Unknown:
            neither, for the `reason` given.
        method: What decided: "crown", "milp" or another.
        radius: The radius that is proved: what was asked, or more where a method tells (smoothing); 0 where nothing is proved.
        margin: The lower bound that was reached on the margin of the right class, NaN where a method has none.
        reason: Why the verdict is unknown.
        guarantee: `REAL`, `FLOAT`, or another statement in words.
        confidence: 1 for what is certain, less for statistical methods.
        seconds: Spent on this sample.
        counterexample: One input [...] that meets the goal.
        proof: What a proof file is made of.

    Raises:
        ValueError: For an unknown verdict without a reason, and a refuted one without a counterexample.

    Example:
        >>> Certificate(Verdict.PROVED, "crown", radius=0.1)
        <certificate: proved by crown, radius 0.1>
    """

    verdict: Verdict
    method: str = ""
    radius: float = 0.0
    margin: float = float("nan")
    reason: str = ""
    guarantee: str = REAL
    confidence: float = 1.0
    seconds: float = 0.0
    counterexample: Tensor | None = None
    proof: Any = None

    def __post_init__(self) -> None:
        if self.verdict is Verdict.UNKNOWN and not self.reason:
            raise ValueError("an unknown verdict needs a reason")
        if self.verdict is Verdict.REFUTED and self.counterexample is None:
            raise ValueError("a refuted verdict needs a counterexample")

    def __repr__(self) -> str:
        how = f" by {self.method}" if self.method else ""
        return f"<certificate: {self.verdict}{how}, radius {self.radius:g}{f', {self.reason[:80]}' if self.reason else ''}>"

    @property
    def witness(self) -> Tensor | None:
        """Return the name that `counterexample` had before."""
        warnings.warn("the field witness of a certificate is now called counterexample", DeprecationWarning, stacklevel=2)
        return self.counterexample

    @property
    def proved(self) -> bool:
        """Return whether the verdict is "proved".

        Example:
            >>> Certificate(Verdict.UNKNOWN, reason="the time was up").proved
            False
        """
        return self.verdict is Verdict.PROVED


def table(certificates: Sequence[Certificate]) -> "pd.DataFrame":
    """Return one row per sample, as a data frame.

    Columns: verdict, method, radius, margin, reason, guarantee, confidence, seconds.
    """
    import pandas as pd

    names = ("verdict", "method", "radius", "margin", "reason", "guarantee", "confidence", "seconds")
    return pd.DataFrame({name: [str(value) if name == "verdict" else value for value in (getattr(one, name) for one in certificates)] for name in names})
