"""Confidence bounds from votes: Clopper-Pearson, a sequential bound, and Holm's method."""

import functools
import math
from collections.abc import Sequence
from typing import cast

from scipy.optimize import brentq
from scipy.special import betaincc, betaincinv, betaln
from scipy.stats import binom

from sparring.core.errors import PlanError

CARE = 1e-12
"""By how much every bound is moved outward; the routines of SciPy are some 100 times more accurate."""

ROUNDING = 1e-9
"""Added to the logarithm of a likelihood ratio to the cautious side, far more than its sums of up to 10^6 terms are off."""


def lower_bound(hits: int, draws: int, alpha: float) -> float:
    """Return a lower confidence bound of the probability of a hit.

    The probability of a hit is at least this, with confidence 1 - alpha (Clopper, Pearson 1934), for a number of draws fixed beforehand.

    >>> round(lower_bound(100, 100, 0.001), 6) == round(0.001 ** (1 / 100), 6)
    True
    """
    _check(hits, draws, alpha)
    return max(0.0, float(betaincinv(hits, draws - hits + 1, alpha)) - CARE) if hits else 0.0


def upper_bound(hits: int, draws: int, alpha: float) -> float:
    """Return an upper confidence bound of the probability of a hit.

    The probability of a hit is at most this, with confidence 1 - alpha, for a number of draws fixed beforehand.
    """
    return min(1.0, 1.0 - lower_bound(draws - hits, draws, alpha))


@functools.lru_cache(maxsize=2**14)  # most samples of a data set meet the same few counts
def sequence_lower(hits: int, draws: int, alpha: float) -> float:
    """Return a lower confidence bound that holds after every number of draws at once.

    The probability of a hit is at least this, with confidence 1 - alpha (alpha below 1/2) after every number of draws at once, so that the draws
    may end as soon as what they say is enough.

    Robbins 1970 (Annals of Mathematical Statistics 41:1397), with a prior that may be integrated: for every p, the likelihood of the votes mixed
    over beta(1/2, 1/2) cut to (p, 1], divided by their likelihood under p, is a supermartingale wherever the probability is at
    most p, so by Ville's inequality it ever reaches 1 / alpha with probability at most alpha. The bound is the p at which it does:
    below the share of hits the quotient falls in p wherever it is above 2, because there the slope of the logarithm of
    the likelihood exceeds the hazard of the prior, which is at most 1 / (2 sqrt(p) (1 - p)). Sequences of this
    kind were brought to smoothing by Voracek 2024 (arXiv:2406.17830).

    >>> sequence_lower(900, 1000, 0.05) < lower_bound(900, 1000, 0.05) < 0.9
    True
    """
    _check(hits, draws, alpha)
    if alpha >= 0.5:
        raise PlanError(f"alpha={alpha}: a sequential bound needs alpha below 1/2")
    rise, tiny = -math.log(alpha) + ROUNDING, 1e-12
    if not hits or _log_martingale(hits, draws, tiny) <= rise:
        return 0.0
    middle = min(hits / draws, 1 - tiny)
    if _log_martingale(hits, draws, middle) >= rise:
        return middle - CARE
    root = cast(float, brentq(lambda p: _log_martingale(hits, draws, p) - rise, tiny, middle, xtol=CARE / 10))
    return max(0.0, root - CARE)


def p_value(hits: int, draws: int, needed: float) -> float:
    """Return a p-value for a fixed number of draws.

    The p-value against "the probability of a hit is at most `needed`", for a number of draws fixed beforehand: what `holm` takes.
    """
    _check(hits, draws, 0.5)
    return float(binom.sf(hits - 1, draws, needed)) if hits else 1.0


def sequence_p_value(hits: int, draws: int, needed: float) -> float:
    """Return a p-value that holds however the number of draws was chosen.

    Like `p_value`, however the number of draws came about: one over the martingale of `sequence_lower`.
    """
    _check(hits, draws, 0.5)
    return math.exp(min(0.0, ROUNDING - _log_martingale(hits, draws, needed))) if hits > needed * draws else 1.0


def holm(p_values: Sequence[float], alpha: float) -> list[bool]:
    """Decide which of several claims hold together, given their p-values.

    Which of several claims hold all together with confidence 1 - alpha, given the p-value of each (Holm 1979): never fewer than
    Bonferroni's, who compares each with alpha / number.

    >>> holm([0.001, 0.02, 0.9], 0.05), [one <= 0.05 / 3 for one in [0.001, 0.02, 0.9]]
    ([True, True, False], [True, False, False])
    """
    accepted = [False] * len(p_values)
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda one: p_values[one])):
        if not p_values[place] <= alpha / (len(p_values) - rank):
            break
        accepted[place] = True
    return accepted


def _log_martingale(hits: int, draws: int, p: float) -> float:
    """Logarithm of the likelihood of the votes under beta(1/2, 1/2) cut to (p, 1], over that under p."""
    misses = draws - hits
    mixed = betaln(hits + 0.5, misses + 0.5) + math.log(betaincc(hits + 0.5, misses + 0.5, p))
    prior = betaln(0.5, 0.5) + math.log(betaincc(0.5, 0.5, p))
    return float(mixed - prior) - (hits * math.log(p) if hits else 0.0) - (misses * math.log1p(-p) if misses else 0.0)


def _check(hits: int, draws: int, alpha: float) -> None:
    if not 0 <= hits <= draws or draws < 1:
        raise PlanError(f"{hits} hits of {draws} draws: give at least one draw, and no more hits than draws")
    if not 0 < alpha < 1:
        raise PlanError(f"alpha={alpha}: give an error probability between 0 and 1")
