"""Copies: fidelity to the model against the number of queries."""

from sparring.metrics.extraction import copy_accuracy, fidelity
from sparring.metrics.measures import controls_of
from sparring.report.markup import Markup, by_case, markup
from sparring.report.plots import COLOURS, SETTINGS, figure, key, svg
from sparring.report.section import section
from sparring.report.view import CaseView, View


@section(order=50, title="Fidelity against queries", aim="extraction")
def copies(view: View) -> Markup | None:
    """Draw one point per copy, and the level that is reached without a query."""
    shown = [case for case in view.cases if len(case.table)]
    return by_case([(case.name, _plot(case)) for case in shown]) if shown else None


def _plot(case: CaseView) -> Markup:
    import matplotlib

    controls = controls_of(case.header)
    rows = {said: case.table[case.table.attack == said] for said in dict.fromkeys(case.table.attack)}
    copied = sorted((int(own.budget.iloc[0]), fidelity(own), copy_accuracy(own)) for said, own in rows.items() if said not in controls and fidelity(own).n)
    level = [fidelity(own) for said, own in rows.items() if said in controls and fidelity(own).n]
    with matplotlib.rc_context(SETTINGS):
        drawn = figure(6.2, 3.3)
        axes = drawn.add_subplot()
        if copied:
            queries = [one[0] for one in copied]
            axes.fill_between(queries, [one[1].low for one in copied], [one[1].high for one in copied], color=COLOURS["line-0"], alpha=0.16, linewidth=0)
            axes.plot(queries, [one[1].value for one in copied], color=COLOURS["line-0"], marker="o", linewidth=1.8)
            axes.plot(queries, [one[2].value for one in copied], color=COLOURS["line-1"], marker="s", linewidth=1.3, linestyle=(0, (4, 2)))
            axes.set_xscale("log")
            axes.set_xticks(queries, [f"{one:,}" for one in queries])
            axes.minorticks_off()
        for one in level:
            axes.axhline(one.value, color=COLOURS["quiet"], linewidth=1, linestyle=(0, (2, 3)))
        axes.set(ylim=(0, 1.04), xlabel="queries", ylabel="share of test samples")
        axes.grid(axis="y")
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(length=0, pad=6)
        picture = svg(drawn, f"copies-{case.place}", f"Fidelity against queries, {case.name}", "The numbers are in the tables under Result.")
    legend = key([("line-0", "agrees with the model"), ("line-1", "is correct"), ("quiet", "agrees with the model, without queries (no_victim)")])
    return markup("<figure>{legend}{picture}</figure>", legend=legend, picture=picture)
