"""Mean intersection over union over all images and classes, under attack."""

import pandas as pd

from sparring.core.rate import Rate
from sparring.metrics.answers import quality, worst_answers
from sparring.metrics.dataset_iou import iou_of_all
from sparring.metrics.metric import metric


@metric("attacked_dataset_iou", task="mask")
def attacked_dataset_iou(case: pd.DataFrame) -> Rate:
    """Return `dataset_iou` with, for each image, the worst answer that any attack found.

    The worst answer of an image has the lowest mean intersection over union.
    """
    return iou_of_all(worst_answers(case, quality))
