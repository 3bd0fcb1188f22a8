"""Curve: accuracy against the radius, with its interval as a band."""

import json
from collections.abc import Iterator
from typing import NamedTuple

from sparring.core.rate import Rate
from sparring.metrics.band import band_at
from sparring.report.markup import Column, Markup, details, join, markup, table
from sparring.report.plots import COLOURS, LINES, SETTINGS, figure, key, svg
from sparring.report.section import section
from sparring.report.view import CaseView, View
from sparring.report.wording import DASH, interval, percent, radius_of

MARKERS = "osD^vP"
BETWEEN = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


class Point(NamedTuple):
    """Hold the rates at one radius.

    rate: what attacks left; certified: what is proved, None where no certifier ran.
    """

    radius: float
    rate: Rate
    certified: Rate | None


@section(order=50, title="Accuracy against the radius")
def curve(view: View) -> Markup | None:
    """Draw one plot per data set and kind of change, with one line per model."""
    plots = [_plot(place, what, lines) for place, (what, lines) in enumerate(_panels(view))]
    if not plots:
        return None
    note = (
        "Marks are measured. Lines between them only guide the eye, and the shaded area is the 95 % interval at each mark. Dashed lines show accuracy "
        "under attack, thin solid lines certified accuracy; robust accuracy lies between the two."
    )
    return markup('{plots}<p class="quiet">{note}</p>', plots=join(plots), note=note)


def _panels(view: View) -> Iterator[tuple[str, dict[str, list[Point]]]]:
    """What is varied, and the lines: cases that differ in nothing but model and radius."""
    panels: dict[str, dict[str, list[CaseView]]] = {}
    for case in view.cases:
        if case.attacks and len(case.outcomes) and radius_of(case.threat) is not None:
            space = {**case.threat.get("space", {}), "radius": None}
            same = [case.data.get("name"), case.data.get("sha256"), space, case.threat.get("goal"), case.threat.get("access"), case.threat.get("budget")]
            panels.setdefault(json.dumps(same, sort_keys=True), {}).setdefault(str(case.model.get("sha256")), []).append(case)
    for models in panels.values():
        first = next(iter(models.values()))[0]
        yield f"{first.threat.get('space', {}).get('kind', '')} on {first.data.get('name', 'the data')}", _lines(models)


def _lines(models: dict[str, list[CaseView]]) -> dict[str, list[Point]]:
    lines: dict[str, list[Point]] = {}
    for cases in models.values():
        name = str(cases[0].model.get("name", "model"))
        while name in lines:
            name += "'"
        measured: dict[float, Point] = {}
        for case in cases:
            for point in _points(case):
                measured.setdefault(point.radius, point)
        lines[name] = [measured[radius] for radius in sorted(measured)]
    return lines


def _points(case: CaseView) -> Iterator[Point]:
    """The band at the radius of a case, at none, and where distances were searched for at radii between."""
    radius = radius_of(case.threat) or 0.0
    yield Point(radius, case.robust, case.certified)
    if radius:
        yield Point(0.0, case.clean, None if case.certified is None else case.clean)
    if radius and case.threat.get("minimal"):
        for share in BETWEEN:
            found = band_at(case.judged, share * radius)
            yield Point(share * radius, found.empirical, found.certified if case.certified is not None else None)


def _plot(place: int, what: str, lines: dict[str, list[Point]]) -> Markup:
    import matplotlib
    from matplotlib.ticker import PercentFormatter

    with matplotlib.rc_context(SETTINGS):
        drawn = figure(7.4, 3.3)
        axes = drawn.add_subplot()
        for turn, points in enumerate(lines.values()):
            colour = COLOURS[f"line-{turn % LINES}"]
            radii = [point.radius for point in points]
            axes.fill_between(radii, [one.rate.low for one in points], [one.rate.high for one in points], color=colour, alpha=0.16, linewidth=0)
            axes.plot(radii, [one.rate.value for one in points], color=colour, linewidth=1.8, linestyle=(0, (4, 2)), zorder=3)
            axes.plot(
                radii, [one.rate.value for one in points], color=colour, linewidth=0, marker=MARKERS[turn % len(MARKERS)], markersize=6, zorder=4, clip_on=False
            )
            proved = [(point.radius, point.certified.value) for point in points if point.certified is not None]
            if proved:
                axes.plot(*zip(*proved, strict=True), color=colour, linewidth=1.2, marker="_", markersize=9, zorder=4, clip_on=False)
            if len(lines) == 1 and len(points) < 6:
                for point in points:
                    axes.annotate(f"{100 * point.rate.value:.1f} %", (point.radius, point.rate.value), (7, 6), textcoords="offset points", zorder=5)
        axes.set_ylim(0, 1.04)
        axes.set_xlim(left=0)
        axes.margins(x=0.08)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        axes.set_xlabel("radius of the change")
        axes.set_ylabel("accuracy")
        axes.grid(axis="y")
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(length=0, pad=6)
        description = "; ".join(f"{name}: " + ", ".join(f"{percent(one.rate.value)} at {one.radius:g}" for one in points) for name, points in lines.items())
        picture = svg(drawn, f"curve-{place}", f"Accuracy against the radius, {what}", description)
    legend = key([(f"line-{turn % LINES}", name) for turn, name in enumerate(lines)]) if len(lines) > 1 else ""
    rows = [
        (
            name,
            f"{one.radius:g}",
            DASH if one.certified is None else percent(one.certified.value),
            percent(one.rate.value),
            interval(one.rate),
            f"{one.rate.n:,}",
        )
        for name, points in lines.items()
        for one in points
    ]
    columns = [Column("model"), *(Column(head, True) for head in ("radius", "proved", "not broken", "95 % interval", "samples"))]
    numbers = details("The numbers of this plot", table(f"Accuracy against the radius, {what}", columns, rows))
    return markup("<figure><figcaption>{what}</figcaption>{legend}{picture}</figure>{numbers}", what=what, legend=legend, picture=picture, numbers=numbers)
