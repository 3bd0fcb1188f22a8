"""Trials: the accuracy of every trained model and of its clean twin."""

from sparring.metrics.measures import controls_of
from sparring.report.markup import Markup, by_case, markup
from sparring.report.plots import COLOURS, SETTINGS, figure, key, svg
from sparring.report.section import section
from sparring.report.view import CaseView, View


@section(order=50, title="Trials", aim="poisoning")
def trials(view: View) -> Markup | None:
    """Draw one dot per trained model, one line per method."""
    shown = [case for case in view.cases if len(case.table) and case.table.quality.notna().any()]
    return by_case([(case.name, _plot(case)) for case in shown]) if shown else None


def _plot(case: CaseView) -> Markup:
    import matplotlib
    from matplotlib.ticker import PercentFormatter

    said = list(dict.fromkeys(case.table.attack))
    controls = controls_of(case.header)
    with matplotlib.rc_context(SETTINGS):
        drawn = figure(6.6, 0.8 + 0.5 * len(said))
        axes = drawn.add_subplot()
        for turn, name in enumerate(said):
            own = case.table[(case.table.attack == name) & case.table.quality.notna()]
            colour = COLOURS["quiet"] if name in controls else COLOURS["broken"]
            axes.plot(own.quality, [turn] * len(own), color=colour, marker="o", linewidth=0, alpha=0.7, markersize=5, clip_on=False)
            if len(own):
                axes.plot([own.quality.mean()], [turn], color=COLOURS["ink"], marker="|", markersize=16, linewidth=0)
        axes.set_yticks(range(len(said)), said)
        axes.set_ylim(len(said) - 0.5, -0.5)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        axes.set_xlabel("accuracy on test data")
        axes.grid(axis="x")
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(length=0, pad=6)
        picture = svg(drawn, f"trials-{case.place}", f"Accuracy by trial, {case.name}", "The numbers are in the tables under Result.")
    legend = key([("broken", "trained on tampered data"), ("quiet", "clean twin and control"), ("ink", "mean")])
    return markup("<figure>{legend}{picture}</figure>", legend=legend, picture=picture)
