"""Model, data, machine and cost of the run."""

from typing import Any

from sparring.report.markup import Cell, Column, Markup, details, join, markup, table, terms
from sparring.report.section import section
from sparring.report.view import CaseView, View
from sparring.report.wording import DASH, count, duration, number, short


@section(order=30, title="Model, data, cost")
def sources(view: View) -> Markup | None:
    """Show which model, data and budget the numbers come from."""
    if not view.cases:
        return None
    models = {str(case.model.get("sha256")): case.model for case in view.cases}
    data = {str(case.data.get("sha256")): case.data for case in view.cases}
    cards = [*(_model(one) for one in models.values()), *(_data(one) for one in data.values()), _machine(view.header.get("environment") or {})]
    return markup('<div class="cards">{cards}</div>{costs}', cards=join(cards), costs=_costs(view.cases))


def _card(title: str, name: object, pairs: list[tuple[object, object]]) -> Markup:
    kept = [(word, value) for word, value in pairs if value not in (None, "")]
    return markup('<article class="card"><p class="eyebrow">{title}</p><h3>{name}</h3>{terms}</article>', title=title, name=name, terms=terms(kept))


def _hash(value: object) -> Markup | None:
    return markup('<code title="{all}">{some}</code>', all=value, some=str(value)[:12]) if value else None


def _model(model: dict[str, Any]) -> Markup:
    rest = {word: value for word, value in model.items() if word not in ("name", "sha256", "adapter", "exposes", "task")}
    pairs: list[tuple[object, object]] = [
        ("Hash", _hash(model.get("sha256"))),
        ("Input format", model.get("adapter")),
        ("Exposes", ", ".join(model.get("exposes") or [])),
        ("Answers", _answers(model.get("task") or {})),
        *((word, number(value) if isinstance(value, int | float) else str(value)) for word, value in rest.items() if value is not None),
    ]
    return _card("Model", model.get("name", "model"), pairs)


def _answers(task: dict[str, Any]) -> str:
    """What the model answers, in words: "10 classes"."""
    kind = str(task.get("kind", ""))
    if kind == "classes" and task.get("classes"):
        return f"{task['classes']:,} classes"
    settings = ", ".join(f"{name} {value}" for name, value in task.items() if name != "kind" and value is not None)
    return f"{kind} ({settings})" if settings else kind


def _data(data: dict[str, Any]) -> Markup:
    classes = [str(name) for name in data.get("classes") or []]
    pairs: list[tuple[object, object]] = [
        ("Samples", number(data.get("n"))),
        ("Hash", _hash(data.get("sha256"))),
        ("Classes", f"{len(classes):,}: {short(classes, 6)}" if classes else None),
        ("Licence", data.get("licence")),
        ("Source", data.get("source")),
    ]
    return _card("Data", data.get("name", "data"), pairs)


def _machine(environment: dict[str, Any]) -> Markup:
    cores, threads = environment.get("cores"), environment.get("threads")
    pairs: list[tuple[object, object]] = [
        ("Device", environment.get("device")),
        ("Processor", environment.get("processor")),
        ("Cores", f"{cores}, {count(threads, 'thread')} used" if cores and threads else cores),
    ]
    return _card("Machine", environment.get("system") or "not recorded", pairs)


COSTS = tuple(Column(head, True) for head in ("samples", "forwards each", "backwards each", "queries each", "time", "samples per second"))


def _costs(cases: tuple[CaseView, ...]) -> Markup:
    """Per attack; where there are several cases, first per case."""
    cases = tuple(case for case in cases if len(case.table))
    if not cases:
        return Markup("")
    tables = [
        (case.name, table(f"Cost per attack: {case.name}" if len(cases) > 1 else "Cost per attack", [Column("attack"), *COSTS], _parts(case))) for case in cases
    ]
    if len(cases) == 1:
        return tables[0][1]
    overview = table("Cost per case", [Column("case"), *COSTS], [(case.name, *_cost(case.table, case.outcomes.shape[0])) for case in cases])
    return overview + details("Cost per attack", join(one for _, one in tables), kind="fold")


def _parts(case: CaseView) -> list[tuple[Cell, ...]]:
    found = case.table.groupby("attack", sort=False)
    rows = [(str(attack), *_cost(part, int((part.status != "skipped").sum()))) for attack, part in found]
    return [*rows, ("altogether", *_cost(case.table, case.outcomes.shape[0]))]


def _cost(rows: Any, n: int) -> tuple[Cell, ...]:
    """The cells under COSTS of rows that concern n samples."""
    if n == 0:
        return ("0", *[DASH] * (len(COSTS) - 1))
    seconds = float(rows.seconds.sum())
    each = (f"{int(rows[what].sum()) / n:,.1f}" for what in ("forwards", "backwards", "queries"))
    return f"{n:,}", *each, duration(seconds), f"{n / seconds:,.0f}" if seconds > 0 else DASH
