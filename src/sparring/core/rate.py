"""Estimates rates with their Wilson intervals."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtrit


class WilsonInterval(NamedTuple):
    """Hold the ends of Wilson intervals, low and high: float64 arrays in [0, 1]."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]


def wilson(hits: ArrayLike, n: int, confidence: float = 0.95) -> WilsonInterval:
    """Return the Wilson intervals of shares `hits` / n (Newcombe 1998, method 3).

    Args:
        hits: How many of the n trials succeeded, whole numbers of any shape.
        n: The number of trials, at least 1.
        confidence: With which the interval covers the true share.

    Example:
        >>> [round(float(end), 4) for end in wilson(8, 10)]
        [0.4902, 0.9433]
    """
    hits = np.asarray(hits, dtype=np.float64)
    share, z = hits / n, float(ndtri(0.5 + 0.5 * confidence))
    whole = 2 * (n + z**2)
    middle = (2 * n * share + z**2) / whole
    reach = z / whole * np.sqrt(4 * n * share * (1 - share) + z**2)
    return WilsonInterval(np.where(hits == 0, 0.0, middle - reach), np.where(hits == n, 1.0, middle + reach))


@dataclass(frozen=True)
class Rate:
    """Hold a share in [0, 1], the ends of its 95 % Wilson interval and the number of trials."""

    value: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, hits: int, n: int, confidence: float = 0.95) -> "Rate":
        """Return the rate of `hits` in `n` trials; without trials it is NaN in [0, 1]."""
        if n == 0:
            return cls(float("nan"), 0.0, 1.0, 0)
        interval = wilson(int(hits), int(n), confidence)
        return cls(hits / n, float(interval.low), float(interval.high), int(n))

    @classmethod
    def mean(cls, values: ArrayLike, confidence: float = 0.95, low: float = 0.0, high: float = 1.0) -> "Rate":
        """Return the mean of values between `low` and `high` with Student's interval.

        With fewer than two values it reaches from end to end.
        """
        given = np.asarray(values, dtype=np.float64)
        if len(given) < 2:
            return cls(float(given.mean()) if len(given) else float("nan"), low, high, len(given))
        value = float(given.mean())
        half = float(stdtrit(len(given) - 1, 0.5 + 0.5 * confidence)) * float(given.std(ddof=1)) / math.sqrt(len(given))
        return cls(value, max(low, value - half), min(high, value + half), len(given))

    def __str__(self) -> str:
        return f"{self.value:.1%} [{self.low:.1%}, {self.high:.1%}] of {self.n}"
