"""Mean intersection over union as in segmentation benchmarks: over the pixels of all images, then over classes."""

import pandas as pd

from sparring.core.rate import Rate
from sparring.metrics.answers import answers_to_clean, ratio
from sparring.metrics.mask_counts import counts_of, stacked
from sparring.metrics.metric import metric


@metric("dataset_iou", task="mask")
def dataset_iou(case: pd.DataFrame) -> Rate:
    """Return the mean over classes of the intersection over union in all images.

    The answers are those without attack. Intersections and unions are summed over the images first, as segmentation benchmarks do.
    """
    return iou_of_all(answers_to_clean(case))


def iou_of_all(rows: pd.DataFrame) -> Rate:
    """Return the mean over classes of the intersections in all rows divided by the unions."""
    counts = counts_of(rows)
    return ratio(stacked([one.both for one in counts]), stacked([one.union for one in counts]))
