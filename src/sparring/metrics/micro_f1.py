"""Micro F1 score of labels."""

import pandas as pd

from sparring.core.rate import Rate
from sparring.metrics.answers import answers_to_clean
from sparring.metrics.label_sets import f1
from sparring.metrics.metric import metric


@metric("micro_f1", task="labels")
def micro_f1(case: pd.DataFrame) -> Rate:
    """Return the F1 score of all labels together, without attack.

    Labels that are not known are excluded; a missing answer has no label.
    """
    return f1(answers_to_clean(case), together=True)
