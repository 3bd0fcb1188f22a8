"""Masks: their quality without attack and under it, by class, and some of them as pictures."""

import numpy as np
import pandas as pd

from sparring.core.errors import SparringError
from sparring.metrics.attacked_class_iou import attacked_class_iou
from sparring.metrics.attacked_dataset_iou import attacked_dataset_iou
from sparring.metrics.attacked_mean_iou import attacked_mean_iou
from sparring.metrics.attacked_pixel_accuracy import attacked_pixel_accuracy
from sparring.metrics.class_iou import class_iou
from sparring.metrics.dataset_iou import dataset_iou
from sparring.metrics.mask_counts import Counts, counts_of
from sparring.metrics.mean_iou import mean_iou
from sparring.metrics.outcome import CLEAN
from sparring.metrics.pixel_accuracy import pixel_accuracy
from sparring.report.before_after import BEFORE_AND_AFTER, Shown, cells, change, choose, image_points, lead, quality_table
from sparring.report.markup import Cell, Column, Markup, by_case, details, join, markup, table, terms
from sparring.report.pictures import colour_of, image_uri, legend, mask_uri, picture
from sparring.report.section import section
from sparring.report.view import CaseView, View
from sparring.report.wording import count, number, percent

CARDS = 12
"""Samples in a report, shared out to the cases; at least two each."""

BYTES = 1_500_000
"""Most bytes that the pictures of this section may take."""

ROWS = 25
"""Most classes that are shown unfolded, the weakest first."""

NAMED = 20
"""Most classes in the legend."""

WRONG_BEFORE, NEWLY_WRONG = "#8a94a0", "#d55e00"

MEASURES = (
    ("mean IoU per image", mean_iou, attacked_mean_iou),
    ("mean IoU over all images together", dataset_iou, attacked_dataset_iou),
    ("correct pixels", pixel_accuracy, attacked_pixel_accuracy),
)


@section(order=45, title="Masks")
def masks(view: View) -> Markup | None:
    """Show quality before and after, the classes, and some samples with truth and answers."""
    shown = [case for case in view.cases if case.task == "mask" and case.attacks and len(case.outcomes)]
    if not shown:
        return None
    note = (
        "IoU is intersection over union. Under attack, each image counts with the worst answer that any attack found. An attack stops as soon as it meets "
        "its goal, so an attack that continues may push these values lower. The 95 % intervals assume that the images are a random sample."
    )
    body = by_case([(case.name, _case(case, len(shown))) for case in shown])
    return markup('{body}<p class="quiet">{note}</p>', body=body, note=note)


def _case(case: CaseView, cases: int) -> Markup:
    quality = quality_table("Quality of the masks", case, MEASURES)
    return join([lead(case), quality, _classes(case), _samples(case, max(2, CARDS // cases), BYTES // cases)])


def _classes(case: CaseView) -> Markup:
    """Intersection over union of every class that occurs, the weakest under attack first."""
    counts = counts_of(case.judged[(case.judged.attack == CLEAN) & case.judged.id.isin(case.outcomes.index)])
    pixels = np.zeros(max(len(one.true) for one in counts), dtype=np.int64)
    for one in counts:
        pixels[: len(one.true)] += one.true
    whole = max(1, int(pixels.sum()))
    found = [(label, class_iou(case.judged, label), attacked_class_iou(case.judged, label)) for label in np.flatnonzero(pixels).tolist()]
    ranked = sorted(found, key=lambda one: (one[2].value, one[0]))
    rows: list[tuple[Cell, ...]] = [
        (_name(case, label), percent(int(pixels[label]) / whole), *cells(clean), *cells(attacked)) for label, clean, attacked in ranked
    ]
    columns = [Column("class"), Column("share of the pixels", True), *BEFORE_AND_AFTER]
    rest = details(f"{count(len(rows) - ROWS, 'more class', 'more classes')}", table("The other classes", columns, rows[ROWS:])) if len(rows) > ROWS else ""
    return join([table("IoU by class, weakest under attack first", columns, rows[:ROWS]), rest])


def _name(case: CaseView, label: int) -> str:
    names = (case.data.get("task") or {}).get("names") or []
    return str(names[label]) if label < len(names) else f"class {label}"


# Samples ----------------------------------------------------------------------------------------------------------------


def _samples(case: CaseView, most: int, room: int) -> Markup:
    if case.answers is None:
        return markup("<p>The task {kind} is not installed here, so its answers are not shown.</p>", kind=case.task)
    chosen, seen, cards = choose(case, most), set[int](), []
    points = image_points(case)
    for one in chosen:
        made = _card(case, one, points, seen)
        if made is not None and len(made) <= room:
            cards.append(made)
            room -= len(made)
    if not cards:
        return Markup("")
    classes = [(colour_of(label), _name(case, label)) for label in sorted(seen)[:NAMED] if label >= 0]
    more = [("", f"and {len(seen) - NAMED} more")] if len(seen) > NAMED else []
    void = [("", "does not count")] if -1 in seen else []
    key = join([legend([*classes, *more, *void]), legend([(NEWLY_WRONG, "newly wrong under attack"), (WRONG_BEFORE, "wrong before")])])
    rule = "Selected by rule: of the broken samples those with the largest, the median and the smallest loss of IoU, then samples that held."
    return markup('<h4>Some masks</h4><p class="quiet">{rule}</p>{key}<div class="gallery wide">{cards}</div>', rule=rule, key=key, cards=join(cards))


def _card(case: CaseView, shown: Shown, points: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]], seen: set[int]) -> Markup | None:
    """One sample: input, truth and answer above, the same under attack below; the classes that occur are added to `seen`."""
    packed = [shown.clean.wanted, shown.clean.given or "", shown.attacked.given or ""]
    if case.answers is None:
        return None
    try:
        truth, clean, attacked = (one.numpy() for one in case.answers.unpack(packed))
        counts = counts_of(pd.DataFrame({"wanted": packed[:1] * 2, "given": packed[1:]}))
    except (SparringError, ValueError):
        return None
    seen.update(*(np.unique(one).tolist() for one in (truth, clean, attacked)))
    colours = {label: colour_of(label) for label in seen if label >= 0}
    before, after = points.get((shown.attacked.attack, shown.clean["id"]), (None, None))
    wrong = np.where(truth < 0, 0, np.where(clean != truth, 1, 2) * (attacked != truth))
    pictures = [
        *([picture(image_uri(before), "input", "the clean input")] if before is not None else []),
        picture(mask_uri(truth, colours), "truth", f"true mask: {case.class_name(packed[0])}"),
        picture(mask_uri(clean, colours), "answer", f"answer to the clean input: {case.class_name(packed[1])}"),
        *([picture(image_uri(after), "attacked input", "the attacked input")] if after is not None else []),
        picture(mask_uri(wrong, {1: WRONG_BEFORE, 2: NEWLY_WRONG}), "mistakes", f"{percent(float((wrong == 2).mean()))} of the pixels are newly wrong"),
        picture(mask_uri(attacked, colours), "answer under attack", f"answer to the attacked input: {case.class_name(packed[2])}"),
    ]
    pairs: list[tuple[object, object]] = [
        ("mean IoU", change(shown.clean.quality, shown.attacked.quality)),
        ("correct pixels", change(*map(_right, counts))),
        ("size", f"{number(float(shown.attacked['size']))} of {number(float(shown.attacked.radius))}"),
        ("attack", shown.attacked.attack),
    ]
    tone = "broken" if shown.attacked.status == "broken" else "held"
    wide = "" if before is not None else " pair"
    return markup(
        '<article class="card sample"><header><span class="mark {tone}">{rule}</span><code>{name}</code></header>'
        '<div class="shown image mask{wide}">{pictures}</div>{terms}</article>',
        tone=tone, rule=shown.rule, name=shown.clean["id"], wide=wide, pictures=join(pictures), terms=terms(pairs),
    )  # fmt: skip


def _right(counts: Counts) -> float:
    return float(counts.both.sum() / max(1, counts.true.sum()))
