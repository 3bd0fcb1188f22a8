"""How often points found on one network break another."""

import pandas as pd

from sparring.core.rate import Rate
from sparring.metrics.metric import metric


@metric("transfer_rate", aim="transfer", per_cell=True)
def transfer_rate(cell: pd.DataFrame) -> Rate:
    """Return the share broken of the samples that every network classifies correctly.

    An error counts as not broken, because the point has no verdict.
    """
    asked = cell[cell.status != "skipped"]
    return Rate.of(int((asked.status == "broken").sum()), len(asked))
