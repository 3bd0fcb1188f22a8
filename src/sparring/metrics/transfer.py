"""How often points that were found on one network break another."""

import pandas as pd

from sparring.core.rate import Rate
from sparring.metrics.metric import metric


@metric("transfer_rate", aim="transfer", per_cell=True)
def transfer_rate(cell: pd.DataFrame) -> Rate:
    """Return the share of the samples right on every network that the points broke.

    An error counts as not broken: nothing is claimed of a point without a verdict.
    """
    asked = cell[cell.status != "skipped"]
    return Rate.of(int((asked.status == "broken").sum()), len(asked))
