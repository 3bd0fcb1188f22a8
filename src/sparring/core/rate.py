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
        hits: How many of the n trials succeeded, an array of any shape.
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
    """Hold a share in [0, 1], the ends of its 95 % interval and the number of trials."""

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
    def mean(cls, values: ArrayLike, confidence: float = 0.95, low: float = 0.0, high: float = 1.0, behind: float | None = None) -> "Rate":
        """Return the mean of values between `low` and `high` with Student's interval.

        With fewer than two values it reaches from end to end. Values that are all equal show no spread, so Student's interval
        would have no width and claim certainty, even after two values. The interval is then Wilson's for zeros and ones with
        this mean, scaled to the ends: no values between the ends vary more around the same mean (Bhatia and Davis 2000), so it
        is too wide rather than too narrow. If an end is infinite, no such bound exists and the width stays zero.

        Args:
            values: The values, float [n].
            confidence: Probability with which the interval covers the true mean.
            low: The smallest possible value.
            high: The largest possible value.
            behind: How many observations each value is a mean of. Wilson's interval then counts them instead of the values;
                they count once, because all values may come from the same observations.

        Example:
            >>> print(Rate.mean([0.9, 0.9, 0.9]))
            90.0% [35.8%, 99.3%] of 3
            >>> print(Rate.mean([0.9, 0.9, 0.9], behind=600))
            90.0% [87.3%, 92.2%] of 3
        """
        given = np.asarray(values, dtype=np.float64)
        if len(given) < 2:
            return cls(float(given.mean()) if len(given) else float("nan"), low, high, len(given))
        value, whole = float(given.mean()), high - low
        if math.isfinite(whole) and float(np.ptp(given)) < 1e-12 * whole:  # equal up to rounding
            n = int(behind or len(given))
            interval = wilson((value - low) / whole * n, n, confidence)
            return cls(value, low + whole * float(interval.low), low + whole * float(interval.high), len(given))
        half = float(stdtrit(len(given) - 1, 0.5 + 0.5 * confidence)) * float(given.std(ddof=1)) / math.sqrt(len(given))
        return cls(value, max(low, value - half), min(high, value + half), len(given))

    def __str__(self) -> str:
        return f"{self.value:.1%} [{self.low:.1%}, {self.high:.1%}] of {self.n}"
