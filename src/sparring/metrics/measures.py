"""The metrics that an aim shows, measured on every cell of a case."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from sparring.core.expression import parse
from sparring.core.rate import Rate
from sparring.core.registry import ask_tolerantly, everything
from sparring.metrics.metric import Metric
from sparring.records.record import aim_of


class Measure(NamedTuple):
    """Hold one metric on one cell.

    Attributes:
        cell: The cell as written; empty if the metric is about the whole case.
        metric: The metric as written.
        rate: Its value.
        control: Whether the cell is the baseline or a control.
        reference: Whether the cell is an attack with more access than the adversary has.
        share: Whether the value lies in [0, 1]; else it has the unit of the answers.
    """

    cell: str
    metric: str
    rate: Rate
    control: bool
    reference: bool = False
    share: bool = True

    @property
    def role(self) -> str:
        """Return the role of the cell in a word; empty if the metric is about the whole case."""
        return "" if not self.cell else "control" if self.control else "reference" if self.reference else "attack"


def controls_of(case: Mapping[str, Any]) -> list[str]:
    """Return the baseline and the controls of a case, as written."""
    baseline = (case.get("aim") or {}).get("baseline", "clean")
    return [cell["attack"]["say"] for cell in case["cells"] if cell["attack"]["say"] == baseline or cell["attack"].get("control")]


def compared_with(case: Mapping[str, Any]) -> list[str]:
    """Return the controls of a case, as written, without a baseline that does nothing."""
    return [cell["attack"]["say"] for cell in case["cells"] if cell["attack"].get("control")]


def references_of(case: Mapping[str, Any]) -> list[str]:
    """Return the reference cells of a case, as written.

    Their attacks have more access than the adversary of the case, for example points found on the target itself.
    """
    return [cell["attack"]["say"] for cell in case["cells"] if cell["attack"].get("reference")]


def attacks_of(case: Mapping[str, Any]) -> list[str]:
    """Return the cells of a case, as written, that are attacks."""
    others = {*controls_of(case), *references_of(case)}
    return [cell["attack"]["say"] for cell in case["cells"] if cell["attack"]["say"] not in others]


def task_of(case: Mapping[str, Any]) -> str:
    """Return the kind of answers that a case is about.

    Older headers without a task are about classes.
    """
    return str(((case.get("data") or {}).get("task") or {}).get("kind", "classes"))


def measures_of_task(case: Mapping[str, Any], rows: pd.DataFrame) -> list[Measure]:
    """Return the metrics that exist only for the task of a case, measured on the whole case.

    Args:
        case: As in the header.
        rows: Of the case, as in `Record.table()`.
    """
    if not len(rows):
        return []
    known: dict[str, Metric] = everything("metric")
    own = [one for one in known.values() if one.task and one.fits(aim_of(case), task_of(case)) and not one.per_cell and not one.defaults]
    return [Measure("", one.name, _measured(one, rows, {}), False, share=one.share) for one in own]


def measures(case: Mapping[str, Any], rows: pd.DataFrame) -> list[Measure]:
    """Return the metrics of the aim, measured on every cell of a case.

    Metrics that are not installed are left out.

    Args:
        case: As in the header.
        rows: Of the case, as in `Record.table()`.
    """
    known: dict[str, Metric] = everything("metric")
    written = {said: parse(said) for said in (case.get("aim") or {}).get("metrics", [])}
    shown = {said: (known[one.name], one.settings) for said, one in written.items() if one.name in known}
    controls, references = controls_of(case), references_of(case)
    found = [Measure("", said, _measured(one, rows, settings), False) for said, (one, settings) in shown.items() if not one.per_cell]
    for said in [*attacks_of(case), *references, *controls]:
        here = rows[rows.attack == said]
        rates = {name: _measured(one, here, settings) for name, (one, settings) in shown.items() if one.per_cell and len(here)}
        found += [Measure(said, name, rate, said in controls, said in references) for name, rate in rates.items()]
    return found


def _measured(one: Metric, rows: pd.DataFrame, settings: Mapping[str, Any]) -> Rate:
    """Return a rate of no trials if a metric of a plugin fails."""
    return ask_tolerantly(one, f"the metric {one.name}", lambda: one(rows, **settings), Rate.of(0, 0))
