"""Gallery: some samples before and after, chosen by rule and not by looks."""

from typing import Any, NamedTuple

import pandas as pd

from sparring.report.markup import Markup, join, markup, terms
from sparring.report.section import section
from sparring.report.view import CaseView, Stored, View
from sparring.report.wording import number, percent

CARDS = 24
"""Number of cards in a report, divided among the cases; at least two each."""

BYTES = 1_000_000
"""Size limit for the pictures of a report."""


class Chosen(NamedTuple):
    """Represent a sample to show: why, from which attack, and its row there."""

    rule: str
    stored: Stored
    row: Any


@section(order=100, title="Gallery")
def gallery(view: View) -> Markup | None:
    """Show the smallest, the median and the largest change per case, and two samples that held."""
    parts, dropped = [], 0
    most, room = max(2, CARDS // max(1, len(view.cases))), BYTES // max(1, len(view.cases))
    for case in view.cases:
        chosen = _choose(case) if case.attacks and len(case.outcomes) else []
        if chosen and case.domain is None:
            parts.append(markup("<p>This installation cannot display inputs of the kind {kind}.</p>", kind=case.domain_kind))
            continue
        cards, left = [], room
        for one in _first(chosen, most):
            card = _card(case, one)
            if len(card) <= left:
                cards.append(card)
                left -= len(card)
        dropped += len(chosen) - len(cards)
        if cards:
            title = markup("<h3>{name}</h3>", name=case.name) if len(view.cases) > 1 else ""
            parts.append(markup('{title}<div class="gallery">{cards}</div>', title=title, cards=join(cards)))
    if not parts:
        return markup("<p>No points were stored in this run.</p>") if view.cases else None
    rule = "Chosen by rule from the stored points: the smallest, the median and the largest change that broke a sample, then samples that held."
    more = f" {dropped} more are omitted to keep this file small." if dropped else ""
    return markup('<p class="quiet">{rule}{more}</p>{parts}', rule=rule, more=more, parts=join(parts))


def _first(chosen: list[Chosen], most: int) -> list[Chosen]:
    """The most telling ones in their order: the smallest change, one that held, then the others."""
    telling = sorted(range(len(chosen)), key=lambda place: (place != 0, chosen[place].rule != "held" or chosen[place - 1].rule == "held", place))
    return [chosen[place] for place in sorted(telling[:most])]


def _choose(case: CaseView) -> list[Chosen]:
    """Up to five samples by rule."""
    found = case.outcomes
    broken: list[Chosen] = []
    held: dict[str, Chosen] = {}
    for stored in case.stored():
        rows = case.judged[case.judged.attack == stored.attack].set_index("id", drop=False)
        for name in stored.points.ids:
            if name not in rows.index or name not in found.index:
                continue
            row: Any = rows.loc[name]
            if row.status == "broken" and found.fell_to[name] == stored.attack:
                broken.append(Chosen("", stored, row))
            elif found.robust[name] and row.status != "skipped":
                held[name] = Chosen("held", stored, row)  # the last attack that tried
    broken.sort(key=lambda one: (one.row["size"], one.row["id"]))
    places = {0: "smallest change", len(broken) // 2: "median change", len(broken) - 1: "largest change"} if broken else {}
    fell = [broken[place]._replace(rule=places[place] if len(broken) > 1 else "broken") for place in sorted(places)]
    return fell + sorted(held.values(), key=lambda one: one.row["position"])[:2]


def _card(case: CaseView, chosen: Chosen) -> Markup:
    row, points = chosen.row, chosen.stored.points
    place = points.ids.index(row["id"])
    if case.domain is None:
        return Markup("")
    shown = case.domain.show(case.domain.unpack(points.before[place : place + 1]), case.domain.unpack(points.after[place : place + 1]))
    before = case.judged[(case.judged.attack == "clean") & (case.judged.id == row["id"])].iloc[0]
    pairs: list[tuple[object, object]] = [
        ("true class" if case.task == "classes" else "truth", case.class_name(row.wanted)),
        *([("target", case.class_name(row.aimed))] if pd.notna(row.aimed) else []),
        ("before", _answer(case, before)),
        ("after", _answer(case, row)),
        ("size", f"{number(float(row['size']))} of {number(float(row.radius))}"),
        ("attack", chosen.stored.attack),
    ]
    tone = "held" if row.status != "broken" else "broken"
    return markup(
        '<article class="card sample"><header><span class="mark {tone}">{rule}</span><code>{name}</code></header>{shown}{terms}</article>',
        tone=tone, rule=chosen.rule, name=row["id"], shown=Markup(shown), terms=terms(pairs),
    )  # fmt: skip


def _answer(case: CaseView, row: Any) -> Markup:
    """The answer of a row, its quality where an answer can be better or worse, and how far it is from the goal."""
    quality = f"quality {percent(float(row.quality))}, " if case.task != "classes" and pd.notna(row.quality) else ""
    return markup(
        '<b>{name}</b> <span class="quiet">{quality}margin {margin}</span>',
        name=case.class_name(row.given), quality=quality, margin=number(float(row.margin), 3),
    )  # fmt: skip
