"""How well an attack separates members of the training data from non-members. All metrics read the scores of one cell."""

import numpy as np
import pandas as pd
from scipy.special import ndtri
from scipy.stats import rankdata

from sparring.core.errors import PlanError
from sparring.core.rate import Rate, wilson
from sparring.metrics.metric import metric


def scores(cell: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores of the members and of the non-members, float64."""
    scored = cell[cell.status == "scored"]
    member = (scored.wanted == "member").to_numpy()
    values = scored.score.to_numpy(dtype=np.float64)
    return values[member], values[~member]


@metric("auc", aim="membership", per_cell=True)
def auc(cell: pd.DataFrame) -> Rate:
    """Return the probability that a member scores higher than a non-member, ties by half.

    The interval is that of DeLong (1988). Where scores show no variance, as if every member scores above every non-member, that one
    would have no width; it is then Wilson's for the smaller of the two groups, because the variance of the area A is at most
    A (1 - A) / min(m, n) (Birnbaum and Klose 1957).
    """
    members, others = scores(cell)
    m, n = len(members), len(others)
    if m < 2 or n < 2:
        return Rate.of(0, 0)
    ranks = rankdata(np.concatenate([members, others]))
    above = (ranks[:m] - rankdata(members)) / n  # per member the share of the others that score lower
    below = 1 - (ranks[m:] - rankdata(others)) / m
    value = float(above.mean())
    if np.ptp(above) == np.ptp(below) == 0:
        interval = wilson(value * min(m, n), min(m, n))
        return Rate(value, float(interval.low), float(interval.high), m + n)
    half = float(ndtri(0.975)) * float(np.sqrt(above.var(ddof=1) / m + below.var(ddof=1) / n))
    return Rate(value, max(0.0, value - half), min(1.0, value + half), m + n)


@metric("tpr", aim="membership", per_cell=True)
def tpr(cell: pd.DataFrame, fpr: float = 0.01) -> Rate:
    """Return the share of members found at a false positive rate of at most `fpr`.

    Args:
        fpr: The largest share of non-members above the threshold, in (0, 1).

    A non-member whose score equals the threshold counts as a false positive. The interval is Wilson's for a fixed threshold; with few
    non-members and a low rate, the threshold itself is uncertain.
    """
    if not 0 < fpr < 1:
        raise PlanError(f"tpr(fpr={fpr:g}): the false positive rate lies between 0 and 1")
    members, others = scores(cell)
    if not len(members) or not len(others):
        return Rate.of(0, 0)
    allowed = int(fpr * len(others) + 1e-9)
    threshold = np.sort(others)[::-1][allowed] if allowed < len(others) else -np.inf
    return Rate.of(int((members > threshold).sum()), len(members))
