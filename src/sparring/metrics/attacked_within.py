"""The share of values near the truth under attack."""

import pandas as pd

from sparring.core.rate import Rate
from sparring.metrics.metric import metric
from sparring.metrics.value_answers import answers, worst_output


@metric("attacked_within", task="values")
def attacked_within(case: pd.DataFrame, tolerance: float = 0.0) -> Rate:
    """Return the share of samples that no attack moved out of `tolerance` of the truth.

    All outputs of a sample must stay within it.

    Args:
        tolerance: The largest error that counts as within, in the unit of the values.
    """
    rows = answers(case)
    error = worst_output(rows).groupby(rows.id).max()
    return Rate.of(int((error <= tolerance).sum()), len(error))
