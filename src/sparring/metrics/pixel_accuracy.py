"""The share of correct pixels over all images."""

import pandas as pd

from sparring.core.rate import Rate
from sparring.metrics.answers import answers_to_clean, ratio
from sparring.metrics.mask_counts import counts_of, stacked
from sparring.metrics.metric import metric


@metric("pixel_accuracy", task="mask")
def pixel_accuracy(case: pd.DataFrame) -> Rate:
    """Return the share of correct pixels over all images, without attack.

    Pixels that do not count are excluded.
    """
    return right_of_all(answers_to_clean(case))


def right_of_all(rows: pd.DataFrame) -> Rate:
    """Return the correct pixels of all rows divided by the pixels that count."""
    counts = counts_of(rows)
    both, true = (stacked(parts).sum(1, keepdims=True) for parts in ([one.both for one in counts], [one.true for one in counts]))
    return ratio(both, true)
