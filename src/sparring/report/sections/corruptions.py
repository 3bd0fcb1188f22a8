"""Corruptions: errors by kind and severity."""

from typing import Any

from sparring.report.markup import Cell, Column, Markup, by_case, markup, table
from sparring.report.section import section
from sparring.report.view import CaseView, View
from sparring.report.wording import percent


@section(order=50, title="Errors by corruption and severity", aim="corruption")
def corruptions(view: View) -> Markup | None:
    """Draw one shaded table per model: the darker, the more answers are wrong."""
    shown = [case for case in view.cases if len(case.table)]
    return by_case([(case.name, _table(case)) for case in shown]) if shown else None


def _table(case: CaseView) -> Markup:
    about = {cell["attack"]["say"]: cell["attack"] for cell in case.cells if "severity" in cell["attack"].get("settings", {})}
    wrong: Any = (case.table.status != "held").groupby(case.table.attack).mean()
    severities = sorted({int(one["settings"]["severity"]) for one in about.values()})
    rows: list[tuple[Cell, ...]] = []
    for name in dict.fromkeys(one["name"] for one in about.values()):
        shares = [float(wrong[f"{name}(severity={severity})"]) for severity in severities if f"{name}(severity={severity})" in wrong]
        if len(shares) == len(severities):
            rows.append((name.replace("_", " "), *map(_cell, shares), percent(sum(shares) / len(shares))))
    heads = [Column("corruption"), *(Column(f"severity {one}", True) for one in severities), Column("mean", True)]
    return markup('<div class="matrix">{table}</div>', table=table("Share of wrong answers", heads, rows, quiet=True))


def _cell(share: float) -> Markup:
    return markup('<span class="shade mistaken" style="--share:{share}">{value}</span>', share=round(share, 3), value=percent(share))
