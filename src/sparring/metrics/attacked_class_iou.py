"""Intersection over union of one class over all images, under attack."""

import numpy as np
import pandas as pd

from sparring.core.rate import Rate
from sparring.metrics.answers import worst_answers
from sparring.metrics.class_iou import iou_of_class
from sparring.metrics.mask_counts import counts_of
from sparring.metrics.metric import metric


@metric("attacked_class_iou", task="mask")
def attacked_class_iou(case: pd.DataFrame, number: int = 1) -> Rate:
    """Return `class_iou` with, for each image, the answer that is worst for this class.

    Args:
        number: The class, counted from 0.
    """

    def value(rows: pd.DataFrame) -> pd.Series:
        found = [_iou(one.both, one.union, int(number)) for one in counts_of(rows)]
        return pd.Series(found, index=rows.index, dtype=float)

    return iou_of_class(worst_answers(case, value), number)


def _iou(both: np.ndarray, union: np.ndarray, number: int) -> float:
    """Return the IoU of one class in one image; 1 if it is absent from truth and answer."""
    return float(both[number] / union[number]) if number < len(union) and union[number] else 1.0
