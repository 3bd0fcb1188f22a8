"""Headline: clean accuracy, accuracy after each attack, robust accuracy, each with its interval."""

from sparring.metrics.outcome import accuracy_alone, accuracy_under
from sparring.report.markup import RATE_COLUMNS, Cell, Column, Markup, by_case, markup, rate_cells, table
from sparring.report.section import section
from sparring.report.view import CaseView, View
from sparring.report.wording import DASH, MINUS, percent, samples


@section(order=40, title="Accuracy")
def headline(view: View) -> Markup | None:
    """Show an overview if there are several cases, then the cascade of each."""
    shown = [case for case in view.cases if len(case.outcomes)]
    if not shown:
        return None
    overview = _overview(shown) if len(shown) > 1 else Markup("")
    cascades = by_case([(case.name, _cascade(case)) for case in shown])
    note = markup(
        '<p class="quiet">A sample counts as robust if the model classifies it correctly and no attack broke it, and as certified if a proof rules out '
        "every attack. Each row is the accuracy after all attacks up to it; in a cascade, an attack sees only the samples that the earlier ones did not "
        "break. Intervals are 95 percent Wilson intervals.</p>"
    )
    return overview + cascades + note


def _overview(cases: list[CaseView]) -> Markup:
    rows: list[tuple[Cell, ...]] = [
        (case.name, f"{len(case.outcomes):,}", *rate_cells(case.clean)[:2], _certified(case), *rate_cells(case.robust)) for case in cases
    ]
    heads = [Column("case"), Column("samples", True)]
    heads += [Column("clean", True), RATE_COLUMNS[1], Column("certified", True), Column("robust", True), *RATE_COLUMNS[1:]]
    return table("All cases", heads, rows)


def _certified(case: CaseView) -> str:
    return DASH if case.certified is None else percent(case.certified.value)


def _cascade(case: CaseView) -> Markup:
    kills = case.outcomes[case.outcomes.clean].fell_to.value_counts()
    rows: list[tuple[Cell, ...]] = [("clean", *rate_cells(case.clean), DASH)]
    tried = [*(one for one in case.certifiers if one in kills), *case.attacks]
    rows += [(f"after {attack}", *rate_cells(accuracy_under(case.judged, attack)), f"{MINUS}{int(kills.get(attack, 0)):,}") for attack in tried]
    if case.attacks:
        broken = int(kills.sum())
        rows += [(f"{attack} alone (control)", *rate_cells(accuracy_alone(case.judged, attack)), DASH) for attack in case.controls]
        rows.append(("robust: not broken", *rate_cells(case.robust), f"{MINUS}{broken:,}"))
    if case.certified is not None:
        rows.append(("certified: proved", *rate_cells(case.certified), DASH))
    ends = sum((bool(case.attacks), case.certified is not None))
    columns = [Column("step"), *RATE_COLUMNS, Column("newly broken", True)]
    return table(f"Accuracy on {samples(len(case.outcomes), case.domain_kind)}", columns, rows, strong=tuple(range(len(rows) - ends, len(rows))))
