"""Intersection over union of one class over all images."""

import pandas as pd

from sparring.core.rate import Rate
from sparring.metrics.answers import answers_to_clean, ratio
from sparring.metrics.mask_counts import counts_of, stacked
from sparring.metrics.metric import metric


@metric("class_iou", task="mask")
def class_iou(case: pd.DataFrame, number: int = 1) -> Rate:
    """Return the intersection over union of class `number` in all images, without attack.

    Args:
        number: The class, counted from 0.
    """
    return iou_of_class(answers_to_clean(case), number)


def iou_of_class(rows: pd.DataFrame, number: int) -> Rate:
    """Return the intersections of a class in all rows divided by the unions.

    n counts the rows in which it occurs.
    """
    counts = counts_of(rows)
    both, union = (stacked(parts)[:, int(number) : int(number) + 1] for parts in ([one.both for one in counts], [one.union for one in counts]))
    return ratio(both, union)
