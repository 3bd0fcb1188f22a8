"""What sections about one task show alike: measures before and after an attack, and samples that are chosen by rule."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sparring.core.rate import Rate
from sparring.metrics.outcome import CLEAN
from sparring.report.markup import Cell, Column, Markup, bar, markup, table
from sparring.report.view import CaseView
from sparring.report.wording import interval, percent, wish

BEFORE_AND_AFTER = (
    Column("without attack", True),
    Column("95 % interval", True),
    Column("bar", hidden=True),
    Column("under attack", True),
    Column("95 % interval", True),
    Column("bar", hidden=True),
)

Measure = tuple[str, Callable[[pd.DataFrame], Rate], Callable[[pd.DataFrame], Rate]]
"""A name, and the metric without and under attack."""


class Shown(NamedTuple):
    """Represent a sample to show: by which rule, its clean row and the row of the attack."""

    rule: str
    clean: Any
    attacked: Any


def lead(case: CaseView) -> Markup:
    """Return what counts as wrong, or what the adversary wants, as a paragraph."""
    mistake = str(case.threat.get("goal", {}).get("mistake") or "")
    right = f"An answer counts as wrong if {mistake}. " if mistake and not wish(case.threat) else ""
    wanted = f"The goal of the adversary: {wish(case.threat)}. " if wish(case.threat) else ""
    return markup("<p>{right}{wanted}</p>", right=right, wanted=wanted) if right or wanted else Markup("")


def quality_table(caption: str, case: CaseView, measures: Sequence[Measure]) -> Markup:
    """Return a table of measures without and under attack."""
    rows = [(name, *cells(clean(case.judged)), *cells(attacked(case.judged))) for name, clean, attacked in measures]
    return table(caption, [Column("measure"), *BEFORE_AND_AFTER], rows)


def cells(rate: Rate) -> tuple[Cell, Cell, Cell]:
    """Return a rate as three of the cells under `BEFORE_AND_AFTER`."""
    return percent(rate.value), interval(rate), bar(rate)


def choose(case: CaseView, most: int) -> list[Shown]:
    """Pick at most `most` samples by rule; samples with a stored input are preferred."""
    clean: Any = case.judged[case.judged.attack == CLEAN].set_index("id", drop=False)
    stored = {(one.attack, name) for one in case.stored() for name in one.points.ids}
    broken, held = list[Shown](), list[Shown]()
    for name, found in case.outcomes.iterrows():
        rows: Any = case.judged[(case.judged.id == name) & (case.judged.attack != CLEAN)]
        if not found.clean:
            continue
        fell = rows[(rows.attack == found.fell_to) & (rows.status == "broken")]
        tried = rows[rows.status.isin(["held", "out_of_budget"]) & ~rows.attack.isin(case.controls)]
        if len(fell):
            broken.append(Shown("broken", clean.loc[name], fell.iloc[0]))
        elif found.robust and len(tried):
            held.append(Shown("held", clean.loc[name], tried.loc[tried.quality.fillna(2.0).idxmin()]))
    broken, held = ([one for one in found if (one.attacked.attack, one.clean["id"]) in stored] or found for found in (broken, held))
    broken.sort(key=lambda one: (one.attacked.quality - one.clean.quality, one.clean["id"]))
    places = {len(broken) - 1: "smallest loss", len(broken) // 2: "median loss", 0: "largest loss"} if broken else {}
    fell = [broken[place]._replace(rule=places[place] if len(broken) > 1 else "broken") for place in sorted(places)]
    held.sort(key=lambda one: (one.attacked.quality - one.clean.quality, one.clean["id"]))
    return [*fell[: max(1, most - min(2, len(held)))], *held[: max(most - len(fell), min(1, len(held)))][:3]][:most]


def image_points(case: CaseView) -> dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]:
    """Return inputs before and after by (attack, id), [channels, height, width] in [0, 1].

    It is empty where inputs are no images.
    """
    if case.domain is None or case.domain_kind != "image":
        return {}
    about = case.domain.describe()
    low, span = float(about["low"]), float(about["high"]) - float(about["low"])
    found = {}
    for stored in case.stored():
        before, after = (np.asarray(case.domain.unpack(one), dtype=np.float64) for one in (stored.points.before, stored.points.after))
        for place, name in enumerate(stored.points.ids):
            found[stored.attack, name] = (before[place] - low) / span, (after[place] - low) / span
    return found


def change(before: float, after: float) -> Markup:
    """Return a share before and after an attack."""
    return markup('{before} <span aria-label="becomes">→</span> <b>{after}</b>', before=percent(float(before)), after=percent(float(after)))
