"""`@metric`: one file adds a rate that gates and summaries know by name."""

import contextlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from sparring.core.errors import PlanError, UnknownName
from sparring.core.rate import Rate
from sparring.core.registry import register
from sparring.core.signature import check_signature

Measure = Callable[..., Rate]
"""From rows as `Record.table()` has them, and settings by name, to a rate."""


@dataclass(frozen=True)
class Metric:
    """Describe a registered metric.

    Attributes:
        name: As in gates.
        measure: `(rows, **settings) -> Rate`, with the rows of one case, or of one cell if `per_cell`.
        aim: The aim that it measures.
        task: The task that it supports, None for all.
        per_cell: Whether it measures a single attack; the worst attack then decides for a case.
        share: Whether its values lie in [0, 1] and are shown in percent; otherwise they have the unit of the answers.
    """

    name: str
    measure: Measure
    aim: str = "evasion"
    task: str | None = None
    per_cell: bool = False
    share: bool = True

    def __call__(self, rows: pd.DataFrame, **settings: Any) -> Rate:
        return self.measure(rows, **settings)

    @property
    def defaults(self) -> dict[str, Any]:
        """Return the settings and their defaults."""
        return {name: one.default for name, one in list(inspect.signature(self.measure).parameters.items())[1:]}

    def fits(self, aim: str, task: str) -> bool:
        """Return whether it can measure cases of this aim and task."""
        return self.aim == aim and self.task in (None, task)

    def check(self, settings: Mapping[str, Any]) -> None:
        """Raise an error for settings that are unknown, not numbers, or refused by the metric.

        A metric refuses settings before it reads rows, so no rows are needed.
        """
        for name, value in settings.items():
            if name not in self.defaults:
                raise UnknownName(f"setting of {self.name}", name, self.defaults)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise PlanError(f"{self.name}({name}={value!r}): give a number, such as {name}={self.defaults[name]!r}")
        with contextlib.suppress(AttributeError, KeyError):  # it looked for a column: the settings are fine
            self(pd.DataFrame(), **settings)

    def of_case(self, rows: pd.DataFrame, attacks: Sequence[str], controls: Sequence[str] = (), **settings: Any) -> list[tuple[str, Rate]]:
        """Return (cell, rate) of each attack of a case that the metric can measure.

        A metric of the whole case gives one rate with an empty name. Controls are used only by metrics relative to a control.
        """
        if not self.per_cell:
            return [("", self(rows, **settings))]
        found = [(said, self(rows[rows.attack == said], **settings)) for said in attacks]
        return [one for one in found if one[1].n] or [("", Rate.of(0, 0))]


def metric(name: str, *, aim: str = "evasion", task: str | None = None, per_cell: bool = False, share: bool = True) -> Callable[[Measure], Measure]:
    """Register a function `(rows, **settings) -> Rate` as a metric; see `Metric`."""

    def enter(measure: Measure) -> Measure:
        check_signature("metric", measure, ("rows",))
        made = Metric(name, measure, aim, task, per_cell, share)
        object.__setattr__(made, "__doc__", measure.__doc__)
        object.__setattr__(made, "__module__", measure.__module__)
        register("metric", name)(made)
        return measure

    return enter
