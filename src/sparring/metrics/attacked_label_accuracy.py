"""The share of right labels over all samples, under attack."""

import pandas as pd

from sparring.core.rate import Rate
from sparring.metrics.answers import worst_answers
from sparring.metrics.label_sets import right_of_all, share_right
from sparring.metrics.metric import metric


@metric("attacked_label_accuracy", task="labels")
def attacked_label_accuracy(case: pd.DataFrame) -> Rate:
    """Return `label_accuracy` with, for each sample, the answer with the fewest right labels.

    An attack stops when it meets its goal, so this is not a lower bound of the possible value.
    """
    return right_of_all(worst_answers(case, share_right))
