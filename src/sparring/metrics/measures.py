"""The metrics that an aim shows, measured on every cell of a case."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from sparring.core.expression import parse
from sparring.core.rate import Rate
from sparring.core.registry import everything
from sparring.metrics.metric import Metric


class Measure(NamedTuple):
    """Hold one metric on one cell.

    Attributes:
        cell: The cell as written, empty where the metric is about the whole case.
        metric: The metric as written.
        rate: Its value.
        control: Whether the cell is the baseline or a control.
        reference: Whether the cell is an attack that shows what would be possible with more than the adversary has.
    """

    cell: str
    metric: str
    rate: Rate
    control: bool
    reference: bool = False

    @property
    def role(self) -> str:
        """Return what the cell is to the others in a word; empty where it is about the whole case."""
        return "" if not self.cell else "control" if self.control else "reference" if self.reference else "attack"


def aim_of(case: Mapping[str, Any]) -> str:
    """Return the name of the aim of a case in a header.

    Headers from the time before there were several aims are about evasion.
    """
    return str((case.get("aim") or {}).get("name", "evasion"))


def controls_of(case: Mapping[str, Any]) -> list[str]:
    """Return the cells of a case, as written, with which attacks are compared.

    They are the baseline and the controls.
    """
    baseline = (case.get("aim") or {}).get("baseline", "clean")
    return [cell["attack"]["say"] for cell in case["cells"] if cell["attack"]["say"] == baseline or cell["attack"].get("control")]


def compared_with(case: Mapping[str, Any]) -> list[str]:
    """Return the controls of a case, as written, without a baseline that attempts nothing."""
    return [cell["attack"]["say"] for cell in case["cells"] if cell["attack"].get("control")]


def references_of(case: Mapping[str, Any]) -> list[str]:
    """Return the cells of a case, as written, that show what an adversary could do who had more.

    Points that were found on the target itself are such a reference for points that were found elsewhere.
    """
    return [cell["attack"]["say"] for cell in case["cells"] if cell["attack"].get("reference")]


def attacks_of(case: Mapping[str, Any]) -> list[str]:
    """Return the cells of a case, as written, that are attacks."""
    others = {*controls_of(case), *references_of(case)}
    return [cell["attack"]["say"] for cell in case["cells"] if cell["attack"]["say"] not in others]


def measures(case: Mapping[str, Any], rows: pd.DataFrame) -> list[Measure]:
    """Return what the metrics of the aim say of a case, cell by cell.

    Metrics that this installation does not know are left out.

    Args:
        case: As in the header.
        rows: Of the case, as in `Record.table()`.
    """
    known: dict[str, Metric] = everything("metric")
    written = {said: parse(said) for said in (case.get("aim") or {}).get("metrics", [])}
    shown = {said: (known[one.name], one.settings) for said, one in written.items() if one.name in known}
    controls, references = controls_of(case), references_of(case)
    found = [Measure("", said, one(rows, **settings), False) for said, (one, settings) in shown.items() if not one.per_cell]
    for said in [*attacks_of(case), *references, *controls]:
        here = rows[rows.attack == said]
        rates = {name: one(here, **settings) for name, (one, settings) in shown.items() if one.per_cell and len(here)}
        found += [Measure(said, name, rate, said in controls, said in references) for name, rate in rates.items()]
    return found
