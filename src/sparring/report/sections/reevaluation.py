"""Adaptive re-evaluation: the result of adaptive attacks on some samples after a failed check."""

from typing import Any

from sparring.report.markup import Cell, Column, Markup, by_case, markup, table
from sparring.report.section import section
from sparring.report.view import View
from sparring.report.wording import DASH, percent


@section(order=75, title="Adaptive re-evaluation")
def reevaluation(view: View) -> Markup | None:
    """Show the remedies in the order they were tried, for cases with a failed check."""
    found = [(case["name"], _look(case["reevaluation"])) for case in view.header.get("cases", []) if case.get("reevaluation")]
    return by_case(found) if found else None


def _look(look: dict[str, Any]) -> Markup:
    claimed, best, clean = (look[name] for name in ("claimed", "best_known", "clean"))
    lead = markup(
        "<p>A check failed, so {count} samples were attacked again with adaptive attacks. "
        "<strong>No more than {best}</strong> stay right (interval {low} to {high}); a plain attack alone would suggest {claimed}.</p>",
        count=int(clean["n"]), best=percent(best["value"]), low=percent(best["low"]), high=percent(best["high"]), claimed=percent(claimed["value"]),
    )  # fmt: skip
    columns = [Column("remedy"), Column("newly broken", numeric=True), Column("stay right", numeric=True), Column("tried")]
    rows: list[list[Cell]] = [["none", DASH, percent(clean["value"]), ""], [look["plain"], DASH, percent(claimed["value"]), ""]]
    rows += [[one["name"], one["newly_broken"], percent(one["accuracy"]), "; ".join(one["tried"])] for one in look["remedies"] if one["tried"]]
    return lead + table("Remedies in the order they were tried", columns, rows, strong=(len(rows) - 1,))
