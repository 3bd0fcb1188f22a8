"""Answers on record that are compared as a whole, without attack and under it, and rates that are ratios of sums over them."""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from sparring.core.rate import Rate, wilson
from sparring.metrics.outcome import CLEAN, outcomes

ANSWERED = ("held", "broken", "out_of_budget", "error")
"""Statuses of rows that hold an answer to an allowed point; rows with errors hold none."""


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


def ratio(hits: np.ndarray, whole: np.ndarray, confidence: float = 0.95) -> Rate:
    """Return the mean over columns of the sum of the hits divided by the sum of the whole.

    Columns with an empty whole are excluded.

    The interval treats samples, not their pixels or labels, as drawn at random. It is that of a ratio of sums by linearisation (Cochran 1977, section 6.3),
    with Student's quantile. If all samples have the same ratio, that one would have no width, and the interval is Wilson's for the number of samples, as
    in `Rate.mean`.

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
