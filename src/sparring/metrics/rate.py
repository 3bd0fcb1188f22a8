"""A rate with its Wilson interval."""

from dataclasses import dataclass

from scipy.stats import binomtest


@dataclass(frozen=True)
class Rate:
    """A share in [0, 1] with the ends of its 95 % Wilson interval and the number of trials."""

    value: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, hits: int, n: int, confidence: float = 0.95) -> "Rate":
        """`hits` of `n`; without trials the rate is NaN in [0, 1]."""
        if n == 0:
            return cls(float("nan"), 0.0, 1.0, 0)
        interval = binomtest(int(hits), int(n)).proportion_ci(confidence, method="wilson")
        return cls(hits / n, float(interval.low), float(interval.high), int(n))

    def __str__(self) -> str:
        return f"{self.value:.1%} [{self.low:.1%}, {self.high:.1%}] of {self.n}"
