"""How many answers depend on the luck of the training."""

import pandas as pd

from sparring.core.rate import Rate
from sparring.metrics.metric import metric


@metric("ambiguity", aim="multiplicity", per_cell=True)
def ambiguity(cell: pd.DataFrame, models: float = 1) -> Rate:
    """Return the share of samples whose answer at least so many of the other models change."""
    judged = cell[cell.status.isin(["broken", "held"])]
    return Rate.of(int((judged.differing >= models).sum()), len(judged))
