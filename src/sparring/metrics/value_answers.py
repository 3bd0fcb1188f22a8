"""Answers of a record that are values: their errors and their shifts under attack."""

import math

import numpy as np
import pandas as pd

from sparring.core.rate import Rate
from sparring.metrics.outcome import CLEAN, outcomes

ANSWERED = ("held", "broken", "out_of_budget")
"""Statuses of rows that hold an answer to an allowed point."""


def numbers(packed: pd.Series) -> np.ndarray:
    """Return packed values as float64 [n, outputs]; NaN if there is no answer."""
    rows = [[float(one) for one in text.split()] if isinstance(text, str) else [] for text in packed]
    width = max((len(row) for row in rows), default=0)
    return np.array([row or [math.nan] * width for row in rows], dtype=np.float64).reshape(len(rows), width)


def answers(case: pd.DataFrame) -> pd.DataFrame:
    """Return every answer for the samples that `outcomes` counts.

    The columns are id, position, attack, status, size, truth, answer and before (the answer to the clean input), all three float64 [outputs] in
    lists, error (the mean over outputs of the absolute error, infinite where there is no answer) and shift (the largest absolute change of an
    output by the attack, 0 for clean rows).
    """
    rows = case[case.id.isin(outcomes(case).index)]
    rows = rows[rows.status.isin(ANSWERED) | (rows.attack == CLEAN) | (rows.status == "error")]
    truth, answer = numbers(rows.wanted), numbers(rows.given)
    clean = rows[rows.attack == CLEAN].set_index("id").given
    before = numbers(rows.id.map(clean))
    answer, before = (one if one.shape == truth.shape else np.full(truth.shape, math.nan) for one in (answer, before))
    error = np.abs(answer - truth).sum(1) / max(1, truth.shape[1])  # without any row there is no output either
    shift = np.abs(answer - before).max(1, initial=0.0)
    return rows[["id", "position", "attack", "status", "size"]].assign(
        truth=list(truth),
        answer=list(answer),
        before=list(before),
        error=np.where(np.isnan(error), math.inf, error),
        shift=np.where(np.isnan(shift), math.inf, shift),
    )


def clean_answers(case: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `answers` without attack, one per sample."""
    rows = answers(case)
    return rows[rows.attack == CLEAN]


def worst_answers(case: pd.DataFrame, by: str) -> pd.DataFrame:
    """Return per sample the row of `answers` in which "error" or "shift" is largest.

    Samples keep the order of the data.
    """
    rows = answers(case)
    return rows.sort_values(by, ascending=False, kind="stable").drop_duplicates("id").sort_values("position")


def worst_output(rows: pd.DataFrame) -> pd.Series:
    """Return per row of `answers` the largest absolute error of an output.

    It is infinite where there is no answer.
    """
    errors = [float(np.abs(answer - truth).max(initial=0.0)) for answer, truth in zip(rows.answer, rows.truth, strict=True)]
    return pd.Series([math.inf if math.isnan(one) else one for one in errors], index=rows.index, dtype=float)


def mean_of(values: pd.Series) -> Rate:
    """Return the mean with Student's interval; infinite if any value is infinite."""
    known = values[np.isfinite(values)]
    found = Rate.mean(known, low=0.0, high=math.inf)
    return found if len(known) == len(values) else Rate(math.inf, found.low if len(known) else 0.0, math.inf, len(values))
