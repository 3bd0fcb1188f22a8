"""The share of right labels over all samples."""

import pandas as pd

from sparring.core.rate import Rate
from sparring.metrics.answers import answers_to_clean
from sparring.metrics.label_sets import right_of_all
from sparring.metrics.metric import metric


@metric("label_accuracy", task="labels")
def label_accuracy(case: pd.DataFrame) -> Rate:
    """Return the share of right labels over all samples, without attack.

    It is 1 minus the Hamming loss. Labels that are not known are excluded; without an answer no label is right.
    """
    return right_of_all(answers_to_clean(case))
