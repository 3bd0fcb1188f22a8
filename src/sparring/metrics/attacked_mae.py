"""Mean absolute error of values under attack."""

import pandas as pd

from sparring.core.rate import Rate
from sparring.metrics.metric import metric
from sparring.metrics.value_answers import mean_of, worst_answers


@metric("attacked_mae", task="values", share=False)
def attacked_mae(case: pd.DataFrame) -> Rate:
    """Return the mean over samples of the largest absolute error that any attack left.

    A sample that is wrong without attack is not attacked, and an attack stops where its goal is met; so this is no upper bound of what is
    possible. With the goal "away" and a distance out of reach every sample is attacked, as far as the attacks get.
    """
    return mean_of(worst_answers(case, "error").error)
