"""Certificates: proved samples by method, reasons for the open ones, and any contradiction."""

import re

from sparring.metrics.band import proved
from sparring.report.markup import Cell, Column, Markup, by_case, join, listing, markup, table
from sparring.report.section import section
from sparring.report.view import CaseView, View
from sparring.report.wording import count, percent, samples

REASONS = 6
"""Number of reasons that are listed, most frequent first."""


@section(order=45, title="Certificates")
def certificates(view: View) -> Markup | None:
    """Show the results of each certifier and verifier per case."""
    shown = [case for case in view.cases if case.certifiers and len(case.outcomes)]
    return by_case([(case.name, _case(case)) for case in shown]) if shown else None


def _case(case: CaseView) -> Markup:
    return _contradictions(case) + _lead(case) + _by_certifier(case) + _open(case)


def _contradictions(case: CaseView) -> Markup:
    return join(
        markup(
            '<p class="failed"><strong>{attack} broke {what} that {certificate} had certified</strong> ({ids}). One of the two is wrong, so the results '
            "of this case are invalid. Inputs and points are stored in <code>{file}</code>: please report this bug.</p>",
            attack=one["attack"], what=count(len(one["ids"]), "sample"), certificate=one["certificate"], ids=", ".join(map(str, one["ids"][:5])),
            file=one["file"],
        )
        for one in case.contradictions
    )  # fmt: skip


def _lead(case: CaseView) -> Markup:
    if case.certified is None:
        return Markup("")
    gap = case.robust.value - case.certified.value
    statistical = any(cell["attack"].get("statistical") for cell in case.cells)
    kind = "with the chosen confidence per sample" if statistical else "for the network in real arithmetic, unless the method guarantees more"
    return markup(
        "<p>Robust accuracy on these {samples} lies between <strong>{low}</strong> (certified) and <strong>{high}</strong> (under attack), "
        "a gap of {gap} points. The proofs hold {kind}.</p>",
        samples=samples(len(case.outcomes), case.domain_kind), low=percent(case.certified.value), high=percent(case.robust.value),
        gap=f"{100 * gap:.1f}", kind=kind,
    )  # fmt: skip


def _by_certifier(case: CaseView) -> Markup:
    """One row a method: what it proved, and what is open after it."""
    found = proved(case.judged)
    broken = case.outcomes[case.outcomes.clean & ~case.outcomes.robust]
    rows: list[tuple[Cell, ...]] = []
    total, solved = int(case.outcomes.clean.sum()), 0
    counts = found.groupby(["attack", "note"]).size().sort_values(ascending=False, kind="stable").reset_index().to_numpy().tolist()
    for certifier, method, number in counts:
        solved += int(number)
        rows.append((str(method), str(certifier), f"{int(number):,}", percent(number / total), f"{total - solved:,}"))
    rows.append(("attacks", "broken", f"{len(broken):,}", percent(len(broken) / max(1, total)), f"{total - solved - len(broken):,}"))
    heads = ("solved", "of correct samples", "still open")
    return table("Results by method", [Column("method"), Column("settings"), *(Column(head, True) for head in heads)], rows)


def _open(case: CaseView) -> Markup:
    """Why samples that no attack broke are not proved."""
    standing = set(case.outcomes.index[case.outcomes.robust]) - set(proved(case.judged).index)
    rows = case.judged
    asked = rows[rows.attack.isin(case.certifiers) & (rows.status == "unknown") & rows.id.isin(standing)].drop_duplicates("id", keep="last")
    alike = [re.sub(r"\d[\d.,e+-]*", "N", str(note)) for note in asked.note]
    kinds = asked.note.groupby(alike).agg(["size", "first", "nunique"]).sort_values("size", ascending=False, kind="stable").head(REASONS)
    if not len(kinds):
        return Markup("")
    lines = (
        markup("{share}: {reason}{one}", share=samples(int(size), case.domain_kind), reason=first, one=", for one" if different > 1 else "")
        for size, first, different in kinds.to_numpy().tolist()
    )
    return markup("<h4>Neither proved nor broken</h4>{list}", list=listing(lines, "plain"))
