"""Errors under common corruptions, as rates of a case."""

import pandas as pd

from sparring.core.rate import Rate
from sparring.metrics.metric import metric
from sparring.metrics.outcome import CLEAN

COUNTED = ("broken", "held", "error")


@metric("mean_error", aim="corruption")
def mean_error(case: pd.DataFrame) -> Rate:
    """Return the share of wrong answers over all corruptions and severities.

    Every corruption uses the same images, so the interval counts images, not answers.
    """
    rows = case[(case.attack != CLEAN) & case.status.isin(COUNTED)]
    shares = (rows.status != "held").groupby(rows.id).mean()
    return Rate.mean(shares.to_numpy(dtype=float))


@metric("clean_error", aim="corruption")
def clean_error(case: pd.DataFrame) -> Rate:
    """Return the share of wrong answers without corruption."""
    rows = case[(case.attack == CLEAN) & case.status.isin(COUNTED)]
    return Rate.of(int((rows.status != "held").sum()), len(rows))
