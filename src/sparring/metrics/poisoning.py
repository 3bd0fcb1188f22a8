"""Effects of poisoning: accuracy of the trained models and their loss against clean twins. All metrics count the trials of one cell."""

import pandas as pd

from sparring.core.rate import Rate
from sparring.metrics.metric import metric


@metric("trained_accuracy", aim="poisoning", per_cell=True)
def trained_accuracy(cell: pd.DataFrame) -> Rate:
    """Return the test accuracy of the trained models, averaged over the trials.

    If all trials agree, the interval is that of the test samples behind one trial; see `Rate.mean`.
    """
    return Rate.mean(cell.quality.dropna(), behind=cell.test_n.max())


@metric("accuracy_drop", aim="poisoning", per_cell=True)
def accuracy_drop(cell: pd.DataFrame) -> Rate:
    """Return the test accuracy lost against the clean twins, averaged over the trials.

    If all trials agree, the interval is that of the test samples behind one trial; see `Rate.mean`. The clean twins lose nothing by definition.
    """
    if set(cell.get("attack", ())) == {"clean"}:
        return Rate(0.0, 0.0, 0.0, len(cell))
    return Rate.mean(-cell.margin.dropna(), low=-1.0, behind=cell.test_n.max())


@metric("damaged", aim="poisoning", per_cell=True)
def damaged(cell: pd.DataFrame) -> Rate:
    """Return the share of trials whose model is significantly worse than its clean twin.

    The test is the exact McNemar test at 5 %.
    """
    judged = cell[cell.status.isin(["broken", "held"])]
    return Rate.of(int((judged.status == "broken").sum()), len(judged))
