"""Measures: the metrics of an aim for every attack, with baseline and controls."""

from dataclasses import replace

from sparring.core.registry import everything
from sparring.metrics.measures import Measure, controls_of, measures
from sparring.report.gates import gate
from sparring.report.markup import RATE_COLUMNS, Cell, Column, Markup, bar, by_case, join, markup, table, terms
from sparring.report.section import section
from sparring.report.view import CaseView, View
from sparring.report.wording import DASH, duration, interval, percent


@section(order=15, title="Result", aim=None)
def measures_of_aims(view: View) -> Markup | None:
    """Show the settings and one table per metric, for cases that are not about evasion."""
    shown = [case for case in view.cases if case.aim != "evasion" and len(case.table)]
    return gate(replace(view, cases=tuple(shown))) + by_case([(case.name, _case(case)) for case in shown]) if shown else None


def _case(case: CaseView) -> Markup:
    found = measures(case.header, case.table)
    names = list(dict.fromkeys(one.metric for one in found))
    tables = join(_table(case, name, [one for one in found if one.metric == name]) for name in names)
    facts: list[tuple[object, object]] = [
        ("Aim", case.aim),
        ("Adversary", sentence(str(case.threat.get("say") or "")) or DASH),
        ("Model", case.model.get("name") or DASH),
        ("Data", f"{case.data.get('name')}, {case.units(case.planned_units)} measured"),
        ("Compared with", ", ".join(controls_of(case.header)) or DASH),
        ("Time in methods", duration(float(case.table.seconds.sum()))),
    ]
    return terms(facts) + tables


def _table(case: CaseView, name: str, found: list[Measure]) -> Markup:
    rows: list[tuple[Cell, ...]] = []
    for one in found:
        bars = bar(one.rate) if one.rate.n and one.rate.value >= 0 else Markup("")
        rows.append((one.cell or "all together", one.role or DASH, percent(one.rate.value), interval(one.rate), bars, f"{one.rate.n:,}"))
    heads = [Column("method"), Column("role"), Column("value", True), *RATE_COLUMNS[1:], Column("of", True)]
    said = (getattr(everything("metric").get(name.split("(")[0]), "__doc__", None) or "").strip().split("\n", 1)[0]
    meaning = sentence(said.removeprefix("Return ").replace("`", ""))
    return markup("<h3>{name}</h3><p>{said}</p>{table}", name=name.replace("_", " "), said=meaning, table=table(name, heads, rows, quiet=True))


def sentence(text: str) -> str:
    """Return a text with a capital letter in front and a full stop behind."""
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}" if text else ""
