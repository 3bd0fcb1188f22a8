"""Per class: accuracy under attack, weakest first, and the confusion of classes."""

from typing import Any

import pandas as pd

from sparring.metrics.outcome import accuracy_by_class
from sparring.report.markup import Cell, Column, Markup, by_case, details, join, markup, rate_cells, table
from sparring.report.section import section
from sparring.report.view import CaseView, View
from sparring.report.wording import count, percent, samples

MATRIX = 12
"""Largest number of classes for which the confusion is shown as a matrix."""

ROWS = 20
"""Number of classes shown at once, the weakest first."""


@section(order=90, title="Classes")
def classes(view: View) -> Markup | None:
    """Show clean and robust accuracy of every class, and the classes that broken samples become."""
    shown = [case for case in view.cases if case.attacks and len(case.outcomes) and case.task == "classes"]
    if not shown:
        return None
    return by_case([(case.name, _case(case)) for case in shown])


def _case(case: CaseView) -> Markup:
    found = accuracy_by_class(case.judged)
    ranked = sorted(found.index, key=lambda label: (found.robust[label].value, label))
    worst = ranked[0]
    lead = markup(
        "<p>The weakest class is <b>{name}</b>: {robust} of {samples} stay correct.</p>",
        name=case.class_name(worst), robust=percent(found.robust[worst].value), samples=samples(int(found.n[worst]), case.domain_kind),
    )  # fmt: skip
    columns = [Column("class"), Column("samples", True), Column("clean", True), Column("95 % interval", True), Column("bar", hidden=True)]
    columns += [Column("robust", True), *columns[3:]]

    def rows(labels: list[int]) -> list[tuple[Cell, ...]]:
        return [(case.class_name(one), f"{int(found.n[one]):,}", *rate_cells(found.clean[one]), *rate_cells(found.robust[one])) for one in labels]

    listed = table("Accuracy by class, weakest first", columns, rows(ranked[:ROWS]))
    rest = (
        details(f"{count(len(ranked) - ROWS, 'more class', 'more classes')}", table("The other classes", columns, rows(ranked[ROWS:])))
        if len(ranked) > ROWS
        else ""
    )
    return join([lead, listed, rest, _confusion(case)])


def _answers(case: CaseView) -> pd.DataFrame:
    """One row a sample: label, before (clean prediction) and after (that of the attack that broke it; unchanged where it held)."""
    rows: Any = case.judged
    rows = rows.assign(given=_numbers(rows.given))
    before = rows[rows.attack == "clean"].set_index("id").given
    broken = rows[(rows.attack != "clean") & (rows.status == "broken")].drop_duplicates("id").set_index("id").given
    found = pd.DataFrame({"label": _numbers(case.outcomes.wanted)}).assign(before=before.reindex(case.outcomes.index))
    return found.assign(after=broken.reindex(found.index).fillna(found.before)).dropna(subset=["after"])


def _numbers(packed: Any) -> Any:
    """Classes as numbers, -1 where there was no answer, NaN where nothing was asked."""
    return pd.to_numeric(packed.replace("", "-1"))


def _confusion(case: CaseView) -> Markup:
    answers: Any = _answers(case)
    moved = answers[answers.before != answers.after]
    if not len(moved):
        return markup("<p>No attack changed a prediction.</p>")
    flows = moved.groupby(["before", "after"]).size().sort_values(ascending=False, kind="stable").head(8)
    items = join(
        markup(
            '<li><span class="flow">{a} <span aria-label="becomes">→</span> {b}</span> <b>{n}</b></li>', a=case.class_name(a), b=case.class_name(b), n=f"{n:,}"
        )
        for (a, b), n in flows.items()
    )
    common = markup('<h4>Most common changes</h4><ul class="flows">{items}</ul>', items=items)
    return common + (_matrix(case, answers) if len(case.data.get("classes") or []) <= MATRIX else Markup(""))


def _matrix(case: CaseView, answers: pd.DataFrame) -> Markup:
    """True class x answer under attack, with the share of the row as the shade."""
    counts = pd.crosstab(answers.label, answers.after)
    columns = sorted({*counts.index, *counts.columns})
    rows: list[tuple[Cell, ...]] = []
    for label in counts.index:
        total = int(counts.loc[label].sum())
        cells = []
        for answer in columns:
            n = int(counts.loc[label, answer]) if answer in counts.columns else 0  # type: ignore[arg-type]
            kind = "right" if answer == label else "mistaken"
            cells.append(
                markup('<span class="shade {kind}" style="--share:{share}">{n}</span>', kind=kind, share=round(n / total, 3), n=f"{n:,}" if n else "·")
            )
        rows.append((case.class_name(label), *cells))
    heads = [Column("true class"), *(Column(case.class_name(one), True) for one in columns)]
    made = table("Answers of the model under attack", heads, rows)
    return markup('<div class="matrix">{table}</div>', table=made)
