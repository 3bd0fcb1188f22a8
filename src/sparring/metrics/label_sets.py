"""The sets of labels in a record, and how often each label was right."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from sparring.core.rate import Rate
from sparring.core.registry import find
from sparring.metrics.answers import ANSWERED, answers_to_clean, ratio
from sparring.metrics.outcome import outcomes


class Sets(NamedTuple):
    """Hold true and answered sets, int64 [n, labels] of 0 and 1.

    They are -1 where a label is not known, and where there is no answer.
    """

    truth: np.ndarray
    answer: np.ndarray

    @property
    def counted(self) -> np.ndarray:
        """Return the labels that count, bool [n, labels]."""
        return self.truth >= 0

    @property
    def right(self) -> np.ndarray:
        """Return the labels that count and are right, bool [n, labels]."""
        return self.counted & (self.answer == self.truth)

    @property
    def both(self) -> np.ndarray:
        """Return the labels in truth and answer, bool [n, labels]."""
        return (self.truth == 1) & (self.answer == 1)

    @property
    def sizes(self) -> np.ndarray:
        """Return in how many of truth and answer each label is, int64 [n, labels].

        Labels that do not count are in none.
        """
        return (self.truth == 1).astype(np.int64) + (self.counted & (self.answer == 1))


class LabelRates(NamedTuple):
    """Hold the prevalence of one label, and how often it is right without and under attack."""

    there: Rate
    clean: Rate
    attacked: Rate


def sets_of(rows: pd.DataFrame) -> Sets:
    """Return truth and answer of each row."""
    task = find("task", "labels")()
    truth = task.unpack(list(rows.wanted)).numpy()
    given = [one if isinstance(one, str) else "" for one in rows.given]
    return Sets(truth, type(task)(truth.shape[1]).unpack(given).numpy())


def share_right(rows: pd.DataFrame) -> pd.Series:
    """Return the share of the counted labels that are right in each row."""
    sets = sets_of(rows)
    return pd.Series(sets.right.sum(1) / sets.counted.sum(1).clip(1), index=rows.index, dtype=float)


def right_of_all(rows: pd.DataFrame) -> Rate:
    """Return the right labels of all rows divided by the labels that count."""
    sets = sets_of(rows)
    return ratio(sets.right.sum(1, keepdims=True), sets.counted.sum(1, keepdims=True))


def f1(rows: pd.DataFrame, *, together: bool) -> Rate:
    """Return the F1 score of all rows: of all labels together, or the mean over labels.

    Labels that are in no truth and no answer are excluded.
    """
    sets = sets_of(rows)
    hits, whole = 2 * sets.both, sets.sizes
    return ratio(hits.sum(1, keepdims=True), whole.sum(1, keepdims=True)) if together else ratio(hits, whole)


def by_label(case: pd.DataFrame) -> list[LabelRates]:
    """Return the rates of every label, in order.

    Under attack a label is right in a sample if it is right in the answers to all allowed points.
    """
    clean = sets_of(answers_to_clean(case))
    rows = case[case.id.isin(outcomes(case).index) & case.status.isin(ANSWERED)]
    sets = sets_of(rows)
    names = rows.id.to_numpy()
    counted, stays = (pd.DataFrame(part).groupby(names).all().to_numpy() for part in (sets.counted, sets.right))
    return [
        LabelRates(
            Rate.of(int((clean.truth[:, label] == 1).sum()), int(clean.counted[:, label].sum())),
            Rate.of(int(clean.right[:, label].sum()), int(clean.counted[:, label].sum())),
            Rate.of(int(stays[:, label].sum()), int(counted[:, label].sum())),
        )
        for label in range(clean.truth.shape[1])
    ]
