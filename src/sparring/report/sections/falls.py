"""Falls: samples x attacks, grouped by the attack that broke them, and what each attack added."""

from typing import Any

import pandas as pd

from sparring.report.markup import Cell, Column, Markup, by_case, markup, table
from sparring.report.plots import COLOURS, SETTINGS, figure, key, svg
from sparring.report.section import section
from sparring.report.view import CaseView, View

STATES = {
    "proved": "proved",
    "unknown": "not proved",
    "held": "held",
    "broken": "broken",
    "wrong": "wrong without attack",
    "out_of_budget": "out of budget",
    "infeasible": "goal met, but not allowed",
    "error": "no verdict",
    "skipped": "not attacked: already broken or proved",
}


@section(order=60, title="Which attack broke which samples")
def falls(view: View) -> Markup | None:
    """Show which attack broke which samples, in one map per case."""
    shown = [case for case in view.cases if case.attacks and len(case.outcomes)]
    if not shown:
        return None
    return by_case([(case.name, markup("{picture}{table}", picture=_picture(case), table=_table(case))) for case in shown])


def _states(case: CaseView) -> pd.DataFrame:
    """Return a row per sample and a column per attack (clean first), grouped by the attack that broke it."""
    order = ["clean", *case.certifiers, *case.attacks]
    rows: Any = case.judged
    known = rows[rows.id.isin(case.outcomes.index)]
    states = known.pivot(index="id", columns="attack", values="status")[order].astype(str)
    states["clean"] = states["clean"].replace("broken", "wrong")
    stands = len(order)
    breaker = [
        0 if not found.clean else stands if found.fell_to is None else order.index(found.fell_to) for found in case.outcomes.loc[states.index].itertuples()
    ]
    return states.assign(breaker=breaker).sort_values(["breaker", *order], kind="stable").drop(columns="breaker")


def _picture(case: CaseView) -> Markup:
    import matplotlib
    from matplotlib.ticker import MaxNLocator

    states = _states(case)
    order = list(states.columns)
    kills = case.outcomes[case.outcomes.clean].fell_to.value_counts()
    gains = [int(kills.get(attack, 0)) for attack in order]
    with matplotlib.rc_context(SETTINGS):
        drawn = figure(7.4, 0.75 + 0.34 * len(order))
        cells, bars = drawn.subplots(1, 2, width_ratios=[4, 1], sharey=True, gridspec_kw={"wspace": 0.06})
        for row, attack in enumerate(order):
            for state, begin, length in _runs(states[attack].tolist()):
                colour = COLOURS["blank" if state == "skipped" else state if state in STATES else "error"]
                cells.broken_barh([(begin, length)], (row - 0.38, 0.76), facecolor=colour, linewidth=0)
        bars.barh(range(len(order)), gains, height=0.6, color=COLOURS["broken"], linewidth=0)
        for row, gain in enumerate(gains[1:], 1):
            bars.annotate(f"{gain:,}", (gain, row), (4, 0), textcoords="offset points", va="center")
        cells.set_yticks(range(len(order)), order)
        cells.set_ylim(len(order) - 0.5, -0.5)
        cells.set_xlim(0, len(states))
        cells.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        cells.set_xlabel("samples, grouped by the attack that broke them")
        bars.set_xlabel("newly broken")
        bars.set_xlim(0, max(1, *gains) * 1.3)
        bars.set_xticks([])
        for axes in (cells, bars):
            axes.spines[:].set_visible(False)
            axes.tick_params(length=0)
        description = "; ".join(f"{attack} newly broke {gain}" for attack, gain in zip(order[1:], gains[1:], strict=True))
        picture = svg(drawn, f"falls-{case.place}", f"Which attack broke which samples, {case.name}", f"{description}. The table below has the same numbers.")
    met = set(states.to_numpy().ravel())
    legend = key([("blank" if state == "skipped" else state, words) for state, words in STATES.items() if state in met])
    return markup("<figure>{legend}{picture}</figure>", legend=legend, picture=picture)


def _runs(states: list[str]) -> list[tuple[str, int, int]]:
    """(state, begin, length) of neighbours in the same state."""
    runs: list[tuple[str, int, int]] = []
    for place, state in enumerate(states):
        if runs and runs[-1][0] == state:
            runs[-1] = (state, runs[-1][1], runs[-1][2] + 1)
        else:
            runs.append((state, place, 1))
    return runs


def _table(case: CaseView) -> Markup:
    kills = case.outcomes[case.outcomes.clean].fell_to.value_counts()
    rows: list[tuple[Cell, ...]] = []
    for attack in (*case.certifiers, *case.attacks):
        status = case.judged[case.judged.attack == attack].status
        tried = int((status != "skipped").sum())
        counts = (int((status == one).sum()) for one in ("proved", "broken", "held", "out_of_budget", "infeasible", "error"))
        rows.append((attack, f"{tried:,}", *(f"{one:,}" for one in counts), f"{int(kills.get(attack, 0)):,}"))
    heads = ("samples tried", "proved", "broken", "held", "out of budget", "not allowed", "no verdict", "newly broken")
    return table("Results of each attack", [Column("attack"), *(Column(head, True) for head in heads)], rows)
