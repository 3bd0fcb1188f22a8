"""Breast cancer Wisconsin (diagnostic): 30 measurements of cell nuclei, malignant or benign, 569 rows."""

from typing import Any

import pandas as pd

from sparring.core.registry import register
from sparring.data.dataset import Data
from sparring.data.embedded.split import rows_of
from sparring.domains.table import table


@register("dataset", "breast-cancer")
def breast_cancer(split: str) -> Data:
    """Load measurements of cell nuclei: x float64 [n, 30]; class 0 is malignant.

    The bounds of a column are its extremes over all 569 rows, so both splits share one domain. Ids hold the position in
    scikit-learn's array.
    """
    from sklearn.datasets import load_breast_cancer

    bunch: Any = load_breast_cancer()
    frame = pd.DataFrame(bunch.data, columns=[str(name) for name in bunch.feature_names])
    rows, parts = rows_of(split, len(frame))
    return Data.of(
        frame.iloc[rows],
        bunch.target[rows],
        table(frame),
        name="breast-cancer",
        classes=[str(name) for name in bunch.target_names],
        ids=[f"breast-cancer/{part}/{row:05d}" for row, part in zip(rows, parts, strict=True)],
        licence="CC BY 4.0: Breast Cancer Wisconsin (Diagnostic), W. Wolberg, O. Mangasarian, N. Street and W. Street, UCI Machine Learning Repository, 1993",
        source=f"scikit-learn's load_breast_cancer, split {split}",
    )
