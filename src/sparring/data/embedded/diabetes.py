"""Diabetes: ten measurements of patients, and how far the disease has progressed a year later, 442 rows."""

from typing import Any

import pandas as pd

from sparring.core.registry import register
from sparring.data.dataset import Data
from sparring.data.embedded.split import rows_of
from sparring.domains.table import table
from sparring.tasks.values import Values


@register("dataset", "diabetes")
def diabetes(split: str) -> Data:
    """Return x float64 [n, 10] and as truth one value from 25 to 346.

    The columns are in scikit-learn's form: centred, and divided by their standard deviation times the square root of the number of rows, so that
    0.0476 is one standard deviation. Their bounds are their extremes over all 442 rows, so both splits share one domain. The tolerance is half the
    standard deviation of the truth in the split. Ids hold the position in scikit-learn's array.
    """
    from sklearn.datasets import load_diabetes

    bunch: Any = load_diabetes()
    frame = pd.DataFrame(bunch.data, columns=[str(name) for name in bunch.feature_names])
    rows, parts = rows_of(split, len(frame))
    return Data.of(
        frame.iloc[rows],
        bunch.target[rows],
        table(frame),
        name="diabetes",
        task=Values(),
        ids=[f"diabetes/{part}/{row:05d}" for row, part in zip(rows, parts, strict=True)],
        licence="unknown; published with B. Efron, T. Hastie, I. Johnstone and R. Tibshirani, Least Angle Regression, Annals of Statistics 32, 2004",
        source=f"scikit-learn's load_diabetes, split {split}",
    )
