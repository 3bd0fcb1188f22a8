"""Pixel counts of packed masks in a record, and rates over a set of masks."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from sparring.core.rate import Rate, wilson
from sparring.core.registry import find
from sparring.metrics.outcome import CLEAN, outcomes

ANSWERED = ("held", "broken", "out_of_budget", "error")
"""Statuses of rows that hold an answer to an allowed point; rows with errors hold none."""

KEPT = 4096
"""Number of pairs of masks whose counts are cached."""


class Counts(NamedTuple):
    """Hold counts of pixels per class, int64 [classes] each, without pixels that do not count.

    A class that occurs in neither mask is 0 everywhere, or beyond the end of the arrays.

    Attributes:
        both: Pixels of this class in truth and answer.
        true: Pixels of this class in the truth.
        given: Pixels of this class in the answer.
    """

    both: np.ndarray
    true: np.ndarray
    given: np.ndarray

    @property
    def union(self) -> np.ndarray:
        """Return the number of pixels of each class in the truth or the answer."""
        return self.true + self.given - self.both


def answers_to_clean(case: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the clean answers that `outcomes` counts."""
    found = outcomes(case)
    return case[(case.attack == CLEAN) & case.id.isin(found.index)]


def worst_answers(case: pd.DataFrame, value: Callable[[pd.DataFrame], pd.Series]) -> pd.DataFrame:
    """Return one row per sample: the one with the lowest value.

    The clean answer and those to all allowed points are compared.

    Args:
        case: The rows of a case.
        value: Returns one value per row, NaN if there is no answer.
    """
    rows = case[case.id.isin(outcomes(case).index) & case.status.isin(ANSWERED)]
    order = value(rows).fillna(-1.0).sort_values(kind="stable").index
    return rows.loc[order].drop_duplicates("id").sort_values("position")


def quality(rows: pd.DataFrame) -> pd.Series:
    """Return the quality of each answer, 0 if there is none."""
    return rows.quality.fillna(0.0)


def counts_of(rows: pd.DataFrame) -> list[Counts]:
    """Return the pixel counts of truth and answer for each row.

    A missing answer counts no pixel for any class.
    """
    return [_counts(wanted, given if isinstance(given, str) else "") for wanted, given in zip(rows.wanted, rows.given, strict=True)]


@functools.lru_cache(KEPT)
def _counts(wanted: str, given: str) -> Counts:
    truth, answer = (one.numpy().ravel() for one in find("task", "mask")().unpack([wanted, given or wanted]))
    answer = answer if given else np.full_like(truth, -1)
    counted = truth >= 0
    said = counted & (answer >= 0)
    classes = int(max(truth.max(), answer.max())) + 1
    return Counts(*(np.bincount(one, minlength=classes) for one in (truth[counted & (answer == truth)], truth[counted], answer[said])))


def stacked(parts: list[np.ndarray]) -> np.ndarray:
    """Return int64 [n, classes], with 0 for classes beyond the end of an array."""
    classes = max((len(one) for one in parts), default=0)
    return np.stack([np.pad(one, (0, classes - len(one))) for one in parts]) if parts else np.zeros((0, classes), dtype=np.int64)


def ratio(hits: np.ndarray, whole: np.ndarray, confidence: float = 0.95) -> Rate:
    """Return the mean over columns of the sum of the hits divided by the sum of the whole.

    Columns with an empty whole are excluded.

    The interval treats samples, not pixels, as drawn at random. It is that of a ratio of sums by linearisation (Cochran 1977, section 6.3),
    with Student's quantile. If all samples have the same ratio, that one would have no width, and the interval is Wilson's for the
    number of samples, as in `Rate.mean`.

    Args:
        hits: [n, columns], at most `whole`.
        whole: [n, columns].
        confidence: Probability with which the interval covers the ratio of the population.
    """
    occurs = whole.sum(0) > 0
    n = int((whole[:, occurs] > 0).any(1).sum())
    if not n:
        return Rate.of(0, 0)
    shares = hits[:, occurs].sum(0) / whole[:, occurs].sum(0)
    value = float(shares.mean())
    if n < 2:
        return Rate(value, 0.0, 1.0, n)
    count = len(whole)
    pull = ((hits[:, occurs] - shares * whole[:, occurs]) / whole[:, occurs].mean(0)).mean(1)
    if np.ptp(pull) < 1e-12:
        interval = wilson(value * n, n, confidence)
        return Rate(value, float(interval.low), float(interval.high), n)
    half = float(stdtrit(n - 1, 0.5 + 0.5 * confidence)) * float(pull.std(ddof=1)) / math.sqrt(count)
    return Rate(value, max(0.0, value - half), min(1.0, value + half), n)
