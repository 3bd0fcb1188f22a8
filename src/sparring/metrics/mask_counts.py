"""Pixel counts of packed masks in a record."""

import functools
from typing import NamedTuple

import numpy as np
import pandas as pd

from sparring.core.registry import find

KEPT = 4096
"""Number of pairs of masks whose counts are cached."""


class Counts(NamedTuple):
    """Hold counts of pixels per class, int64 [classes] each, without pixels that do not count.

    A class that occurs in neither mask is 0 everywhere, or beyond the end of the arrays.

    Attributes:
        both: Pixels of this class in truth and answer.
        true: Pixels of this class in the truth.
        given: Pixels of this class in the answer.
    """

    both: np.ndarray
    true: np.ndarray
    given: np.ndarray

    @property
    def union(self) -> np.ndarray:
        """Return the number of pixels of each class in the truth or the answer."""
        return self.true + self.given - self.both


def counts_of(rows: pd.DataFrame) -> list[Counts]:
    """Return the pixel counts of truth and answer for each row.

    A missing answer counts no pixel for any class.
    """
    return [_counts(wanted, given if isinstance(given, str) else "") for wanted, given in zip(rows.wanted, rows.given, strict=True)]


@functools.lru_cache(KEPT)
def _counts(wanted: str, given: str) -> Counts:
    truth, answer = (one.numpy().ravel() for one in find("task", "mask")().unpack([wanted, given or wanted]))
    answer = answer if given else np.full_like(truth, -1)
    counted = truth >= 0
    said = counted & (answer >= 0)
    classes = int(max(truth.max(), answer.max())) + 1
    return Counts(*(np.bincount(one, minlength=classes) for one in (truth[counted & (answer == truth)], truth[counted], answer[said])))


def stacked(parts: list[np.ndarray]) -> np.ndarray:
    """Return int64 [n, classes], with 0 for classes beyond the end of an array."""
    classes = max((len(one) for one in parts), default=0)
    return np.stack([np.pad(one, (0, classes - len(one))) for one in parts]) if parts else np.zeros((0, classes), dtype=np.int64)
