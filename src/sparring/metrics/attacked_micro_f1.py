"""Micro F1 score of labels under attack."""

import pandas as pd

from sparring.core.rate import Rate
from sparring.metrics.answers import quality, worst_answers
from sparring.metrics.label_sets import f1
from sparring.metrics.metric import metric


@metric("attacked_micro_f1", task="labels")
def attacked_micro_f1(case: pd.DataFrame) -> Rate:
    """Return `micro_f1` with, for each sample, the answer whose set is least like the true one.

    That is the answer with the lowest Jaccard index, and so the lowest F1 score of the sample alone.
    """
    return f1(worst_answers(case, quality), together=True)
