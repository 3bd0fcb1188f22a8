"""Trouble: everything that failed or was omitted."""

from sparring.report.markup import Column, Markup, details, join, listing, markup, table
from sparring.report.section import section
from sparring.report.view import CaseView, View
from sparring.report.wording import count

STATES = {
    "running": "The run has not finished, or was killed: run the same command again to continue it.",
    "interrupted": "The run was interrupted: run the same command again to continue it.",
    "partial": "Some rows are missing: this is one shard of a run, or some shards are not merged yet.",
    "failed": "The run failed.",
}

NOTES = 12
"""Different notes listed per kind."""


@section(order=130, title="Trouble", aim=None)
def trouble(view: View) -> Markup:
    """List failed cells, non-finite answers, rejected points, spent budgets and warnings."""
    lines = [*_run(view), *(line for case in view.cases for line in _case(view, case))]
    units = " and every ".join(dict.fromkeys(case.unit for case in view.cases)) or "sample"
    none = markup('<p class="none">None: every {units} got a verdict from every method, and there were no warnings.</p>', units=units)
    told = listing(lines) if lines else none
    return told + _skipped(view)


def _run(view: View) -> list[object]:
    header = view.header
    status = header.get("status")
    lines: list[object] = [] if status in ("done", None) else [STATES.get(status, f"The run is {status}.")]
    lines += [markup("The run stopped: <code>{error}</code>", error=header["error"])] if header.get("error") else []
    lines += [f"The run was resumed {count(header['resumed'], 'time')}."] if header.get("resumed") else []
    return lines + [markup("Warning: {text}", text=one if isinstance(one, str) else str(one)) for one in header.get("warnings") or []]


def _case(view: View, case: CaseView) -> list[object]:
    rows, lines = case.table, []
    where = f"{case.name}: " if len(view.cases) > 1 else ""
    if not len(rows):
        return [f"{where}no sample was judged."]
    waiting = [attack for attack in case.planned if attack not in case.attacks]
    lines += [f"{where}{attack} did not start." for attack in waiting]
    if case.missing:
        lines.append(f"{where}{case.units(case.missing)} have no full verdict yet and are not counted.")
    kinds = {
        "error": "got no verdict",
        "infeasible": "met the goal with a forbidden point (not counted)",
        "out_of_budget": "held until the budget ended",
    }
    for status, words in kinds.items():
        for attack, part in rows[rows.status == status].groupby("attack", sort=False):
            lines.append(join([f"{where}under {attack}, {case.units(len(part))} {words}.", _notes(part.note.tolist())]))
    if case.aim != "evasion":
        return lines
    scored = "scores" in (case.model.get("exposes") or ["scores"])
    lost = rows[(rows.status != "skipped") & (rows.status != "error") & rows.margin.isna()]
    if scored and len(lost):
        lines.append(f"{where}{count(len(lost), 'margin')} became NaN although the model gives scores.")
    return lines


def _notes(notes: list[object]) -> Markup:
    different = list(dict.fromkeys(str(note) for note in notes if note))
    more = [f"and {len(different) - NOTES} other notes"] if len(different) > NOTES else []
    return listing([*(markup("<code>{note}</code>", note=note) for note in different[:NOTES]), *more]) if different else Markup("")


def _skipped(view: View) -> Markup:
    """Skipping is no trouble where it says why."""
    rows = []
    for case in view.cases:
        if len(case.table):
            skipped = case.table[case.table.status == "skipped"]
            for (attack, note), part in skipped.groupby(["attack", "note"], sort=False, dropna=False):  # type: ignore[misc]
                rows.append((str(attack), case.name, f"{len(part):,}", str(note or "no reason given")))
    if not rows:
        return Markup("")
    columns = [Column("attack"), Column("case"), Column("samples", True), Column("why")]
    return details("Samples that were not attacked, and why", table("Skipped samples", columns, rows, quiet=True), kind="fold")
