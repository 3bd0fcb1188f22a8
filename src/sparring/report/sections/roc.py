"""ROC curves of attacks on membership, with logarithmic axes."""

import numpy as np

from sparring.metrics.measures import controls_of
from sparring.metrics.membership import scores
from sparring.report.markup import Markup, by_case, markup
from sparring.report.plots import COLOURS, LINES, SETTINGS, figure, key, svg
from sparring.report.section import section
from sparring.report.view import CaseView, View


@section(order=50, title="Members found against false alarms", aim="membership")
def roc(view: View) -> Markup | None:
    """Draw one curve per attack; the region of few false alarms matters most."""
    shown = [case for case in view.cases if len(case.table)]
    return by_case([(case.name, _plot(case)) for case in shown]) if shown else None


def _plot(case: CaseView) -> Markup:
    import matplotlib
    from matplotlib.ticker import FuncFormatter, NullFormatter

    said = list(dict.fromkeys(case.table.attack))
    controls = controls_of(case.header)
    curves = {one: _curve(case, one) for one in said}
    with matplotlib.rc_context(SETTINGS):
        drawn = figure(5.6, 4.2)
        axes = drawn.add_subplot()
        least = min([1e-3, *(float(fpr[fpr > 0].min()) for fpr, _ in curves.values() if bool((fpr > 0).any()))])
        axes.plot([least, 1], [least, 1], color=COLOURS["quiet"], linewidth=0.9, linestyle=(0, (2, 3)))
        for turn, (name, (fpr, tpr)) in enumerate(curves.items()):
            style = (0, (4, 2)) if name in controls else "-"
            axes.step(np.maximum(fpr, least), np.maximum(tpr, least), where="post", color=COLOURS[f"line-{turn % LINES}"], linewidth=1.7, linestyle=style)
        axes.set(xscale="log", yscale="log", xlim=(least, 1), ylim=(least, 1.05), xlabel="false alarms among non-members", ylabel="members found")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
            axis.set_minor_formatter(NullFormatter())
        axes.grid()
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(length=0, pad=6)
        picture = svg(drawn, f"roc-{case.place}", f"ROC curves, {case.name}", "The numbers are in the tables under Result.")
    legend = key([(f"line-{turn % LINES}", f"{name}, a control" if name in controls else name) for turn, name in enumerate(curves)])
    note = "The dotted line is random guessing. If a blind control is above it, members and non-members differ by themselves, and every attack looks too good."
    return markup("<figure>{legend}{picture}</figure><p class='quiet'>{note}</p>", legend=legend, picture=picture, note=note)


def _curve(case: CaseView, said: str) -> tuple[np.ndarray, np.ndarray]:
    """False alarms and members found at every threshold, ascending."""
    members, others = scores(case.table[case.table.attack == said])
    steps = np.unique(np.concatenate([members, others]))[::-1]
    fpr = np.array([0.0, *(float((others >= one).mean()) for one in steps)]) if len(others) else np.zeros(1)
    tpr = np.array([0.0, *(float((members >= one).mean()) for one in steps)]) if len(members) else np.zeros(1)
    return fpr, tpr
