"""The mean shift of values under attack."""

import pandas as pd

from sparring.core.rate import Rate
from sparring.metrics.metric import metric
from sparring.metrics.value_answers import mean_of, worst_answers


@metric("mean_shift", task="values", share=False)
def mean_shift(case: pd.DataFrame) -> Rate:
    """Return the mean over samples of the largest change of an output by any attack.

    Samples that were not attacked, because their answer was wrong without attack, count with 0.
    """
    return mean_of(worst_answers(case, "shift")["shift"])
