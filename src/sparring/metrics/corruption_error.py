"""Errors under common corruptions: by corruption and severity, their mean, and mCE relative to a baseline."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sparring.core.errors import InputError
from sparring.core.rate import Rate


@dataclass(frozen=True)
class CorruptionError:
    """Hold which answers of a model are wrong under corruptions.

    names: of the corruptions. severities: such as (1, ..., 5). wrong: bool [names, severities, n]. clean_wrong: bool [n].
    baseline: the same of another model on the same samples, for mCE.
    """

    names: tuple[str, ...]
    severities: tuple[int, ...]
    wrong: np.ndarray
    clean_wrong: np.ndarray
    baseline: "CorruptionError | None" = None

    def __post_init__(self) -> None:
        expected = (len(self.names), len(self.severities), len(self.clean_wrong))
        if self.wrong.shape != expected:
            raise InputError(f"wrong has shape {self.wrong.shape}, expected {expected}: corruptions, severities, samples")
        if self.baseline is not None and self.baseline.wrong.shape != self.wrong.shape:
            raise InputError(f"the baseline has errors {self.baseline.wrong.shape}, the model {self.wrong.shape}: use the same samples")

    @property
    def clean(self) -> Rate:
        """Return the error without corruption."""
        return Rate.of(int(self.clean_wrong.sum()), len(self.clean_wrong))

    def error(self, name: str, severity: int) -> Rate:
        """Return the error under one corruption at one severity."""
        hits = self.wrong[self.names.index(name), self.severities.index(severity)]
        return Rate.of(int(hits.sum()), len(hits))

    @property
    def mean(self) -> float:
        """Return the mean error over corruptions and severities."""
        return float(self.wrong.mean())

    @property
    def mean_interval(self) -> tuple[float, float]:
        """Return the 95 % interval of the mean error, as `Rate.mean` computes it.

        Every corruption uses the same images, so the interval counts images, not answers.
        """
        found = Rate.mean(self.wrong.mean((0, 1)))
        return found.low, found.high

    def ratio(self, name: str, *, relative: bool = False) -> float:
        """Return the CE of one corruption: its errors divided by those of the baseline.

        Errors are summed over severities; 1 is as bad as the baseline. With `relative`, the clean error is subtracted from each. The
        result is NaN where the baseline has no errors, or there is no baseline.
        """
        if self.baseline is None:
            return math.nan
        place = self.names.index(name)
        own, other = (one.wrong[place].mean(1) - (one.clean_wrong.mean() if relative else 0.0) for one in (self, self.baseline))
        return float(own.sum() / other.sum()) if other.sum() > 0 else math.nan

    @property
    def mce(self) -> float:
        """Return the mean of CE over the corruptions where the baseline errs.

        The result is NaN without a baseline.
        """
        return _mean([self.ratio(name) for name in self.names])

    @property
    def relative_mce(self) -> float:
        """Return the relative mCE.

        It compares how much corruptions add to the clean error with how much they add to the baseline's.
        """
        return _mean([self.ratio(name, relative=True) for name in self.names])

    def table(self) -> pd.DataFrame:
        """Return one row per corruption and severity.

        The columns are the error with its interval, n, and the baseline's error (NaN without one).
        """
        rows = []
        for name in self.names:
            for severity in self.severities:
                rate = self.error(name, severity)
                other = self.baseline.error(name, severity).value if self.baseline else math.nan
                row = {"corruption": name, "severity": severity, "error": rate.value, "low": rate.low, "high": rate.high, "n": rate.n}
                rows.append({**row, "baseline_error": other})
        return pd.DataFrame(rows)

    def summary(self) -> pd.DataFrame:
        """Return one row per corruption.

        The columns are the mean error over severities, and CE and relative CE against the baseline (NaN without one).
        """
        errors = self.wrong.mean((1, 2))
        ratios = [(self.ratio(name), self.ratio(name, relative=True)) for name in self.names]
        return pd.DataFrame({"corruption": self.names, "error": errors, "ce": [one for one, _ in ratios], "relative_ce": [two for _, two in ratios]})


def _mean(ratios: list[float]) -> float:
    """The mean of those that are defined."""
    defined = [one for one in ratios if not math.isnan(one)]
    return float(np.mean(defined)) if defined else math.nan
