"""`excess(metric)`: what attacks do beyond the controls."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from sparring.core.errors import PlanError
from sparring.core.rate import Rate
from sparring.metrics.metric import Metric


@dataclass(frozen=True)
class Excess(Metric):
    """Measure single attacks by a metric minus the same metric of a control."""

    def of_case(self, rows: pd.DataFrame, attacks: Sequence[str], controls: Sequence[str] = (), **settings: Any) -> list[tuple[str, Rate]]:
        own, others = (super(Excess, self).of_case(rows, cells, **settings) for cells in (attacks, controls))
        found = [(f"{attack} beyond {control}", difference(rate, other, self.share)) for attack, rate in own for control, other in others if rate.n and other.n]
        return found or [("", Rate.of(0, 0))]


def excess(inner: Metric) -> Excess:
    """Return the metric minus its figure for the controls.

    Raises:
        PlanError: where it is about a whole case, of which no part is a control.
    """
    if not inner.per_cell:
        raise PlanError(f"excess({inner.name}): {inner.name} is about a whole case, not about single attacks, so no control stands beside it")
    return Excess(f"excess({inner.name})", inner.measure, inner.aim, inner.task, per_cell=True, share=inner.share)


def difference(one: Rate, other: Rate, share: bool = True) -> Rate:
    """Return one rate minus another, for shares from -1 to 1.

    The interval is that of Newcombe (1998, method 10). It is made of the two intervals as if the rates were independent. Attack and control see the
    same units, which mostly brings their rates nearer to each other, so the interval is rather too wide than too narrow.
    """
    value = one.value - other.value
    low = value - math.hypot(one.value - one.low, other.high - other.value)
    high = value + math.hypot(one.high - one.value, other.value - other.low)
    if share:
        low, high = max(-1.0, low), min(1.0, high)
    return Rate(value, low, high, min(one.n, other.n))
