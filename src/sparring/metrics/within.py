"""The share of values near the truth."""

import pandas as pd

from sparring.core.rate import Rate
from sparring.metrics.metric import metric
from sparring.metrics.value_answers import clean_answers, worst_output


@metric("within", task="values")
def within(case: pd.DataFrame, tolerance: float = 0.0) -> Rate:
    """Return the share of samples with all clean outputs within `tolerance` of the truth.

    Args:
        tolerance: The largest error that counts as within, in the unit of the values.
    """
    error = worst_output(clean_answers(case))
    return Rate.of(int((error <= tolerance).sum()), len(error))
