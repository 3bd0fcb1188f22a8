"""`excess(metric)`: the effect of attacks beyond the controls."""

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
    """Return the metric minus its value for the controls.

    Raises:
        PlanError: For a metric of a whole case, which has no control.
    """
    if not inner.per_cell:
        raise PlanError(f"excess({inner.name}): {inner.name} measures a whole case, which has no control: choose a metric of single attacks")
    return Excess(f"excess({inner.name})", inner.measure, inner.aim, inner.task, per_cell=True, share=inner.share)


def difference(one: Rate, other: Rate, share: bool = True) -> Rate:
    """Return one rate minus another, for shares from -1 to 1.

    The interval is that of Newcombe (1998, method 10), which assumes that the rates are independent. Attack and control use the same units, which
    usually makes their rates more similar, so the interval tends to be too wide.
    """
    value = one.value - other.value
    low = value - math.hypot(one.value - one.low, other.high - other.value)
    high = value + math.hypot(one.high - one.value, other.value - other.low)
    if share:
        low, high = max(-1.0, low), min(1.0, high)
    return Rate(value, low, high, min(one.n, other.n))
