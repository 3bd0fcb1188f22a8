"""Labels: how many are right without attack and under it, each label alone, and some samples with their sets."""

import numpy as np

from sparring.core.errors import SparringError
from sparring.metrics.attacked_label_accuracy import attacked_label_accuracy
from sparring.metrics.attacked_macro_f1 import attacked_macro_f1
from sparring.metrics.attacked_micro_f1 import attacked_micro_f1
from sparring.metrics.label_accuracy import label_accuracy
from sparring.metrics.label_sets import by_label
from sparring.metrics.macro_f1 import macro_f1
from sparring.metrics.micro_f1 import micro_f1
from sparring.report.before_after import BEFORE_AND_AFTER, Shown, cells, change, choose, image_points, lead, quality_table
from sparring.report.markup import Cell, Column, Markup, by_case, details, join, markup, table, terms
from sparring.report.pictures import image_uri, picture
from sparring.report.section import section
from sparring.report.view import CaseView, View
from sparring.report.wording import DASH, count, number, percent

CARDS = 12
"""Samples in a report, shared out to the cases; at least two each."""

BYTES = 500_000
"""Most bytes that the pictures of this section may take."""

ROWS = 25
"""Most labels that are shown unfolded, the weakest first."""

NAMED = 12
"""Most labels of a set that are named."""

MEASURES = (
    ("right labels", label_accuracy, attacked_label_accuracy),
    ("F1, mean over labels", macro_f1, attacked_macro_f1),
    ("F1, all labels together", micro_f1, attacked_micro_f1),
)


@section(order=45, title="Labels")
def labels(view: View) -> Markup | None:
    """Show measures before and after, every label alone, and some samples with their sets."""
    shown = [case for case in view.cases if case.task == "labels" and case.attacks and len(case.outcomes)]
    if not shown:
        return None
    note = (
        "Under attack, a label counts as right in a sample if it is right in the answers to all points that the attacks found. An attack stops as soon as it "
        "meets its goal, so an attack that continues may push these values lower. The 95 % intervals assume that the samples are drawn at random."
    )
    body = by_case([(case.name, _case(case, len(shown))) for case in shown])
    return markup('{body}<p class="quiet">{note}</p>', body=body, note=note)


def _case(case: CaseView, cases: int) -> Markup:
    quality = quality_table("Labels over all samples", case, MEASURES)
    return join([lead(case), quality, _each(case), _samples(case, max(2, CARDS // cases), BYTES // cases)])


def _each(case: CaseView) -> Markup:
    """How often each label is there and right, the weakest under attack first."""
    known = [(_name(case, place), one) for place, one in enumerate(by_label(case.judged)) if one.there.n]
    ranked = sorted(known, key=lambda pair: pair[1].attacked.value)
    rows: list[tuple[Cell, ...]] = [(name, percent(one.there.value), *cells(one.clean), *cells(one.attacked)) for name, one in ranked]
    columns = [Column("label"), Column("prevalence", True), *BEFORE_AND_AFTER]
    rest = details(f"{count(len(rows) - ROWS, 'more label')}", table("The other labels", columns, rows[ROWS:])) if len(rows) > ROWS else ""
    return join([table("Accuracy by label, weakest first", columns, rows[:ROWS]), rest])


def _name(case: CaseView, label: int) -> str:
    names = (case.data.get("task") or {}).get("names") or []
    return str(names[label]) if label < len(names) else f"label {label}"


# Samples ----------------------------------------------------------------------------------------------------------------


def _samples(case: CaseView, most: int, room: int) -> Markup:
    if case.answers is None:
        return markup("<p>The task {kind} is not installed here, so its answers are not shown.</p>", kind=case.task)
    points, cards = image_points(case), []
    for one in choose(case, most):
        made = _card(case, one, points)
        if made is not None and len(made) <= room:
            cards.append(made)
            room -= len(made)
    if not cards:
        return Markup("")
    rule = "Selected by rule: of the broken samples those with the largest, the median and the smallest loss of the Jaccard index, then samples that held."
    return markup('<h4>Some samples</h4><p class="quiet">{rule}</p><div class="gallery wide">{cards}</div>', rule=rule, cards=join(cards))


def _card(case: CaseView, shown: Shown, points: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]) -> Markup | None:
    """One sample: the inputs where they are images, the true set, and the answered ones with what is wrong in them."""
    if case.answers is None:
        return None
    try:
        truth, clean, attacked = (one.numpy() for one in case.answers.unpack([shown.clean.wanted, shown.clean.given or "", shown.attacked.given or ""]))
    except (SparringError, ValueError):
        return None
    before, after = points.get((shown.attacked.attack, shown.clean["id"]), (None, None))
    pictures = (
        [picture(image_uri(before), "input", "the clean input"), picture(image_uri(after), "attacked input", "the attacked input")]
        if before is not None and after is not None
        else []
    )
    pairs: list[tuple[object, object]] = [
        ("truth", _set(case, truth, truth)),
        ("answer", _set(case, clean, truth)),
        ("under attack", _set(case, attacked, truth)),
        ("Jaccard index", change(shown.clean.quality, shown.attacked.quality)),
        ("right labels", change(_right(clean, truth), _right(attacked, truth))),
        ("size", f"{number(float(shown.attacked['size']))} of {number(float(shown.attacked.radius))}"),
        ("attack", shown.attacked.attack),
    ]
    tone = "broken" if shown.attacked.status == "broken" else "held"
    return markup(
        '<article class="card sample"><header><span class="mark {tone}">{rule}</span><code>{name}</code></header>{pictures}{terms}</article>',
        tone=tone, rule=shown.rule, name=shown.clean["id"], terms=terms(pairs),
        pictures=markup('<div class="shown image mask pair">{pictures}</div>', pictures=join(pictures)) if pictures else "",
    )  # fmt: skip


def _set(case: CaseView, answer: np.ndarray, truth: np.ndarray) -> Markup:
    """The labels of a set, then those that are missing in it and those that are too many."""
    if (answer < 0).all():
        return markup("{dash}", dash=DASH)
    wrong = [("missing", (truth == 1) & (answer == 0)), ("too many", (truth == 0) & (answer == 1)), ("not known", answer < 0)]
    said = "; ".join(f"{word}: {_list(case, places)}" for word, places in wrong if places.any())
    more = markup(' <span class="quiet">({said})</span>', said=said) if said else ""
    return markup("<b>{labels}</b>{more}", labels=_list(case, answer == 1) or "none", more=more)


def _list(case: CaseView, places: np.ndarray) -> str:
    names = [_name(case, place) for place in np.flatnonzero(places).tolist()]
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _right(answer: np.ndarray, truth: np.ndarray) -> float:
    return float((answer == truth)[truth >= 0].mean())
