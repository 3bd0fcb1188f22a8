"""Handwritten digits, 8 x 8 pixels, 10 classes, 1,797 images."""

from typing import Any

import numpy as np

from sparring.core.registry import register
from sparring.data.dataset import Data
from sparring.data.embedded.split import rows_of
from sparring.domains.image import image


@register("dataset", "digits")
def digits(split: str) -> Data:
    """Load handwritten digits, grey levels scaled to [0, 1]: x float32 [n, 1, 8, 8].

    Ids hold the position in scikit-learn's array.
    """
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    rows, parts = rows_of(split, len(bunch.target))
    return Data.of(
        (bunch.images[rows, None] / 16).astype(np.float32),
        bunch.target[rows],
        image(1, 8, 8),
        name="digits",
        classes=[str(name) for name in bunch.target_names],
        ids=[f"digits/{part}/{row:05d}" for row, part in zip(rows, parts, strict=True)],
        licence="CC BY 4.0: Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, 1998",
        source=f"scikit-learn's load_digits, split {split}",
    )
