"""Macro F1 score of labels."""

import pandas as pd

from sparring.core.rate import Rate
from sparring.metrics.answers import answers_to_clean
from sparring.metrics.label_sets import f1
from sparring.metrics.metric import metric


@metric("macro_f1", task="labels")
def macro_f1(case: pd.DataFrame) -> Rate:
    """Return the mean over labels of their F1 scores, without attack.

    Labels that are in no truth and no answer are excluded; a missing answer has no label.
    """
    return f1(answers_to_clean(case), together=False)
