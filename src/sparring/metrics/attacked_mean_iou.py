"""Mean intersection over union of masks under attack, image by image."""

import pandas as pd

from sparring.core.rate import Rate
from sparring.metrics.answers import quality, worst_answers
from sparring.metrics.metric import metric


@metric("attacked_mean_iou", task="mask")
def attacked_mean_iou(case: pd.DataFrame) -> Rate:
    """Return the mean over images of the lowest intersection over union that any attack found.

    An attack stops when it meets its goal, so this is not a lower bound of the possible value.
    """
    return Rate.mean(quality(worst_answers(case, quality)))
