"""Values: answers against the truth, without attack and under it, and the largest shifts."""

from typing import Any

import numpy as np
import pandas as pd

from sparring.metrics.attacked_mae import attacked_mae
from sparring.metrics.mae import mae
from sparring.metrics.outcome import CLEAN
from sparring.metrics.value_answers import worst_answers
from sparring.report.markup import Cell, Column, Markup, by_case, join, markup, table
from sparring.report.plots import COLOURS, SETTINGS, figure, key, svg
from sparring.report.section import section
from sparring.report.view import CaseView, View
from sparring.report.wording import MINUS, number, samples

ROWS = 10
"""Samples in the table."""

MOST = 400
"""Most samples in the plot; of more samples, every k-th is shown."""


@section(order=45, title="Values")
def values(view: View) -> Markup | None:
    """Show truth against answers as a plot, and the largest shifts as a table."""
    shown = [case for case in view.cases if case.task == "values" and len(case.outcomes)]
    if not shown:
        return None
    return by_case([(case.name, _case(case)) for case in shown])


def _case(case: CaseView) -> Markup:
    found = worst_answers(case.judged, "shift")
    found = found[np.isfinite(found["shift"])]
    if not len(found):
        return markup("<p>There are no answers to show.</p>")
    moved = np.abs(np.stack(list(found["answer"])) - np.stack(list(found["before"])))
    output = int(moved.max(0).argmax())
    return join([_lead(case, found), _picture(case, found, output), _table(case, found, output), _note(case, found)])


def _lead(case: CaseView, found: pd.DataFrame) -> Markup:
    clean, attacked = mae(case.judged), attacked_mae(case.judged)
    begin = markup(
        "The mean absolute error on {samples} is <b>{clean}</b> without attack", samples=samples(clean.n, case.domain_kind), clean=number(clean.value)
    )
    if not case.attacks:
        return markup("<p>{begin}.</p>", begin=begin)
    return markup(
        "<p>{begin} and at least <b>{attacked}</b> under attack. The largest shift of an answer is <b>{shift}</b>.</p>",
        begin=begin, attacked=number(attacked.value), shift=number(float(found["shift"].max())),
    )  # fmt: skip


def _note(case: CaseView, found: pd.DataFrame) -> Markup:
    """Say what these numbers leave open, with the counts of this case."""
    stopped = int((found.status == "broken").sum() - ((found.status == "broken") & (found.attack == CLEAN)).sum())
    rows: Any = case.judged
    wrong = int(((rows.attack == CLEAN) & (rows.status == "broken")).sum())
    parts = [
        *([f"{samples(stopped, case.domain_kind)} met the goal, where the search stops: a longer search might move them further."] if stopped else []),
        *([f"{samples(wrong, case.domain_kind)} were wrong without attack and were not attacked."] if wrong and case.attacks else []),
    ]
    return markup('<p class="quiet">{said}</p>', said=" ".join(parts)) if parts else Markup("")


def _tolerance(case: CaseView, output: int) -> float | None:
    given = (case.data.get("task") or {}).get("tolerance")
    return None if given is None else float(given[output]) if isinstance(given, list) else float(given)


def _picture(case: CaseView, found: pd.DataFrame, output: int) -> Markup:
    import matplotlib

    shown = found.iloc[:: max(1, -(-len(found) // MOST))]
    truth, before, after = (np.array([one[output] for one in shown[name]]) for name in ("truth", "before", "answer"))
    fell, attacked = (shown.status == "broken").to_numpy(), (shown.attack != CLEAN).to_numpy()
    which = "" if len(found.truth.iloc[0]) == 1 else f" of output {output}"
    tolerance = _tolerance(case, output)
    with matplotlib.rc_context(SETTINGS):
        drawn = figure(7.4, 4.4)
        axes = drawn.subplots()
        low, high = float(min(truth.min(), before.min(), after.min())), float(max(truth.max(), before.max(), after.max()))
        room = 0.04 * (high - low or 1.0)
        ends = np.array([low - room, high + room])
        if tolerance is not None:
            axes.fill_between(ends, ends - tolerance, ends + tolerance, color=COLOURS["grid"], alpha=0.45, linewidth=0, zorder=0)
        axes.plot(ends, ends, color=COLOURS["quiet"], linewidth=0.9, zorder=1)
        for chosen, colour in ((fell & attacked, "broken"), (attacked & ~fell, "held")):
            axes.vlines(truth[chosen], before[chosen], after[chosen], color=COLOURS[colour], linewidth=0.9, alpha=0.7, zorder=2)
            axes.plot(truth[chosen], after[chosen], color=COLOURS[colour], linewidth=0, marker="o", markersize=3.8, zorder=4)
        hollow = {"markerfacecolor": COLOURS["paper"], "linewidth": 0, "marker": "o", "markersize": 3.6, "markeredgewidth": 0.8, "zorder": 3}
        axes.plot(truth, before, color=COLOURS["ink"], **hollow)
        axes.plot(truth[fell & ~attacked], before[fell & ~attacked], color=COLOURS["wrong"], linewidth=0, marker="x", markersize=4.2, zorder=4)
        axes.set_xlim(*ends)
        axes.set_ylim(*ends)
        axes.set_xlabel(f"truth{which}")
        axes.set_ylabel(f"answer{which}")
        axes.grid(True)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
        axes.tick_params(length=0, pad=4)
        description = f"{len(shown)} samples. The table below lists the largest shifts."
        picture = svg(drawn, f"values-{case.place}", f"Answers against the truth, {case.name}", description)
    legend = [
        ("ink", "answer without attack"),
        *([("wrong", "wrong without attack, not attacked")] if (fell & ~attacked).any() else []),
        *([("broken", "furthest answer under attack, goal met")] if (fell & attacked).any() else []),
        *([("held", "furthest answer under attack, goal not met")] if (attacked & ~fell).any() else []),
        *([("grid", f"within the tolerance of {number(tolerance)}")] if tolerance is not None else []),
    ]
    return markup("<figure>{legend}{picture}</figure>", legend=key(legend), picture=picture)


def _table(case: CaseView, found: pd.DataFrame, output: int) -> Markup:
    ranked = found[found.attack != CLEAN].sort_values("shift", ascending=False, kind="stable").head(ROWS)
    if not len(ranked):
        return markup("<p>No attack moved an answer.</p>") if case.attacks else Markup("")
    rows: list[tuple[Cell, ...]] = [
        (
            str(row["id"]),
            *(number(float(row[name][output])) for name in ("truth", "before", "answer")),
            f"{row['answer'][output] - row['before'][output]:+.4g}".replace("-", MINUS),
            number(float(row["size"])),
            str(row["attack"]).partition("(")[0],
        )
        for row in ranked.to_dict("records")
    ]
    numeric = ("truth", "before", "after", "shift", "size of the change")
    several = f", output {output}" if len(found.truth.iloc[0]) > 1 else ""
    return table(f"Largest shifts{several}", [Column("sample"), *(Column(head, True) for head in numeric), Column("attack")], rows)
