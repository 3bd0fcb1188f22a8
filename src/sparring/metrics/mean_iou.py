"""Mean intersection over union of masks, image by image."""

import pandas as pd

from sparring.core.rate import Rate
from sparring.metrics.answers import answers_to_clean, quality
from sparring.metrics.metric import metric


@metric("mean_iou", task="mask")
def mean_iou(case: pd.DataFrame) -> Rate:
    """Return the mean over images of the mean intersection over union, without attack.

    Classes that are absent from both truth and answer are excluded from the mean of an image; a missing answer counts as 0.
    """
    return Rate.mean(quality(answers_to_clean(case)))
