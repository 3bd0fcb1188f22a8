"""Mean absolute error of values."""

import pandas as pd

from sparring.core.rate import Rate
from sparring.metrics.metric import metric
from sparring.metrics.value_answers import clean_answers, mean_of


@metric("mae", task="values", share=False)
def mae(case: pd.DataFrame) -> Rate:
    """Return the mean absolute error without attack, in the unit of the values.

    With several outputs, the error of a sample is the mean over them. A missing answer makes the metric infinite.
    """
    return mean_of(clean_answers(case).error)
