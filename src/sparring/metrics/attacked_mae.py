"""Mean absolute error of values under attack."""

import pandas as pd

from sparring.core.rate import Rate
from sparring.metrics.metric import metric
from sparring.metrics.value_answers import mean_of, worst_answers


@metric("attacked_mae", task="values", share=False)
def attacked_mae(case: pd.DataFrame) -> Rate:
    """Return the mean over samples of the largest absolute error that any attack found.

    A sample that is wrong without attack is not attacked, and an attack stops when it meets its goal. This is therefore not an upper bound of
    the possible error. With the goal "away" and a distance that cannot be reached, the attacks move every sample as far as they can.
    """
    return mean_of(worst_answers(case, "error").error)
