"""Similarity of a copy to the model. All metrics count the test samples of one cell."""

import math

import pandas as pd

from sparring.core.rate import Rate
from sparring.metrics.metric import metric


@metric("fidelity", aim="extraction", per_cell=True)
def fidelity(cell: pd.DataFrame, queries: float = math.inf) -> Rate:
    """Return the share of test samples on which the copy gives the same answer as the model.

    Args:
        queries: Copies made with more queries are excluded.
    """
    judged = cell[cell.status.isin(["broken", "held"]) & (cell.budget <= queries)]
    return Rate.of(int((judged.status == "broken").sum()), len(judged))


@metric("copy_accuracy", aim="extraction", per_cell=True)
def copy_accuracy(cell: pd.DataFrame) -> Rate:
    """Return the share of test samples that the copy classifies correctly."""
    right = cell.quality.dropna()
    return Rate.of(int((right == 1).sum()), len(right))
