"""Compass: errors of a model that answers angles by direction, without attack and under attack."""

from typing import Any

import numpy as np
import pandas as pd
import torch

import sparring_example.circle as circle
from sparring.report.markup import Column, Markup, by_case, markup, table
from sparring.report.plots import COLOURS, SETTINGS, figure, key, svg
from sparring.report.section import section
from sparring.report.view import CaseView, View

SECTORS = 8


@section(order=42, title="Errors by direction")
def compass(view: View) -> Markup | None:
    """Draw the mean error by the true direction, for cases whose model answers an angle."""
    shown = [case for case in view.cases if case.task == "angle" and len(case.outcomes)]
    return by_case([(case.name, _case(case)) for case in shown]) if shown else None


def errors(case: CaseView) -> pd.DataFrame:
    """Return per sample the sector of its true direction, and its errors in degrees.

    The errors are that without attack, and that under the attack that broke it.
    """
    rows: Any = case.judged
    clean = rows[rows.attack == "clean"].set_index("id")
    broken = rows[(rows.attack != "clean") & (rows.status == "broken")].drop_duplicates("id").set_index("id")
    truth = _degrees(clean.wanted)
    after = broken.given.reindex(clean.index).fillna(clean.given)
    sector = ((truth + 180 / SECTORS) % 360 // (360 / SECTORS)).astype(int)
    return pd.DataFrame({"sector": sector, "clean": _apart(clean.given, truth), "attacked": _apart(after, truth)}, index=clean.index)


def _degrees(packed: Any) -> np.ndarray:
    return np.array([float(one) if one else np.nan for one in packed])


def _apart(packed: Any, truth: np.ndarray) -> np.ndarray:
    return circle.apart(torch.from_numpy(_degrees(packed)), torch.from_numpy(truth)).numpy()


def _case(case: CaseView) -> Markup:
    found = errors(case).groupby("sector").agg(n=("clean", "size"), clean=("clean", "mean"), attacked=("attacked", "mean"))
    rows = [(f"{360 // SECTORS * sector}°", f"{int(n):,}", f"{clean:.1f}°", f"{attacked:.1f}°") for sector, n, clean, attacked in found.itertuples()]
    columns = [Column("true direction, within 22.5°"), Column("samples", True), Column("mean error", True), Column("mean error under attack", True)]
    legend = key([("held", "without attack"), ("broken", "under the attack that broke the sample")])
    return markup(
        '<figure style="max-width: 24rem">{legend}{picture}</figure>{table}',
        legend=legend,
        picture=_plot(case, found),
        table=table("Errors by direction", columns, rows),
    )


def _plot(case: CaseView, found: pd.DataFrame) -> Markup:
    import matplotlib
    from matplotlib.ticker import MaxNLocator

    turned = np.deg2rad(360 / SECTORS * np.asarray(found.index))
    with matplotlib.rc_context(SETTINGS):
        drawn = figure(3.6, 3.6)
        axes = drawn.add_subplot(projection="polar")
        axes.bar(turned, found.attacked, width=0.6, color=COLOURS["broken"], alpha=0.5)
        axes.bar(turned, found.clean, width=0.35, color=COLOURS["held"])
        axes.set_thetagrids(range(0, 360, 45))
        axes.yaxis.set_major_locator(MaxNLocator(3))
        axes.yaxis.set_major_formatter("{x:.0f}°")
        return svg(drawn, f"compass-{case.place}", f"Mean error by true direction, {case.name}", "The numbers are in the table below.")
