"""What packed masks of a record hold in pixels, and rates over a whole set of masks."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from sparring.core.rate import Rate
from sparring.core.registry import find
from sparring.metrics.outcome import CLEAN, outcomes

ANSWERED = ("held", "broken", "out_of_budget", "error")
"""Statuses of rows whose answer is one to an allowed point; an error has none, and claims nothing."""

KEPT = 4096
"""Pairs of masks that are counted once and remembered."""


class Counts(NamedTuple):
    """Hold the pixels that count, class by class: int64 [classes] each.

    A class that occurs in neither mask is 0 everywhere, or beyond the end.

    Attributes:
        both: Given this class by truth and answer.
        true: By the truth.
        given: By the answer.
    """

    both: np.ndarray
    true: np.ndarray
    given: np.ndarray

    @property
    def union(self) -> np.ndarray:
        """Return the pixels of each class by truth or answer."""
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
        value: Of each of some rows, NaN where there is no answer.
    """
    rows = case[case.id.isin(outcomes(case).index) & case.status.isin(ANSWERED)]
    order = value(rows).fillna(-1.0).sort_values(kind="stable").index
    return rows.loc[order].drop_duplicates("id").sort_values("position")


def quality(rows: pd.DataFrame) -> pd.Series:
    """Return the quality of each answer, 0 where there is none."""
    return rows.quality.fillna(0.0)


def counts_of(rows: pd.DataFrame) -> list[Counts]:
    """Return what truth and answer of each row hold.

    A missing answer gives no pixel any class.
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
    """Return int64 [n, classes], with 0 for classes that a part does not reach."""
    classes = max((len(one) for one in parts), default=0)
    return np.stack([np.pad(one, (0, classes - len(one))) for one in parts]) if parts else np.zeros((0, classes), dtype=np.int64)


def ratio(hits: np.ndarray, whole: np.ndarray, confidence: float = 0.95) -> Rate:
    """Return the sum of the hits divided by that of the whole, the mean over columns.

    Columns whose whole is empty are left out.

    The interval takes samples, not pixels, as what was drawn: that of a ratio of sums by linearisation (Cochran 1977, section 6.3),
    with Student's quantile.

    Args:
        hits: [n, columns], at most `whole`.
        whole: [n, columns].
        confidence: With which the interval covers the ratio of all there is.
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
    half = float(stdtrit(n - 1, 0.5 + 0.5 * confidence)) * float(pull.std(ddof=1)) / math.sqrt(count)
    return Rate(value, max(0.0, value - half), min(1.0, value + half), n)
