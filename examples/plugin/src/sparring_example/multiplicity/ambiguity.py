"""The share of answers that depend on chance in the training."""

import pandas as pd

from sparring.core.rate import Rate
from sparring.metrics.metric import metric


@metric("ambiguity", aim="multiplicity", per_cell=True)
def ambiguity(cell: pd.DataFrame, models: float = 1) -> Rate:
    """Return the share of samples whose answer differs in at least so many other models."""
    judged = cell[cell.status.isin(["broken", "held"])]
    return Rate.of(int((judged.differing >= models).sum()), len(judged))
