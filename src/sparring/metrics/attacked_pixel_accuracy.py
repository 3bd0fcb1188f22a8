"""The share of correct pixels over all images, under attack."""

import pandas as pd

from sparring.core.rate import Rate
from sparring.metrics.answers import worst_answers
from sparring.metrics.mask_counts import counts_of
from sparring.metrics.metric import metric
from sparring.metrics.pixel_accuracy import right_of_all


@metric("attacked_pixel_accuracy", task="mask")
def attacked_pixel_accuracy(case: pd.DataFrame) -> Rate:
    """Return `pixel_accuracy` with, for each image, the answer with the fewest correct pixels."""

    def value(rows: pd.DataFrame) -> pd.Series:
        return pd.Series([one.both.sum() / max(1, one.true.sum()) for one in counts_of(rows)], index=rows.index, dtype=float)

    return right_of_all(worst_answers(case, value))
