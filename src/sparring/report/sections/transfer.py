"""Transfer: what points found on one network do to another, one shaded table an attack."""

from typing import Any

from sparring.core.rate import Rate
from sparring.report.markup import Cell, Column, Markup, join, markup, table
from sparring.report.section import section
from sparring.report.view import View
from sparring.report.wording import DASH, count, interval, percent, samples


@section(order=35, title="Transfer", shows="transfer")
def transfer(view: View) -> Markup | None:
    """Show sources by targets, for runs of `transfer_matrix`."""
    about = view.header.get("transfer")
    if not about or not about.get("cells"):
        return None
    rates = _rates(view, about["cells"])
    kind = view.cases[0].domain_kind if view.cases else ""
    attacks = list(dict.fromkeys(one["attack"] for one in about["cells"]))
    lead = markup(
        "<p>Points are looked for on the network of the row, and put to that of the column. A cell is the share that fell of the {n}, out of "
        "{asked}, that all {networks} get right without attack; whether a point fell is decided by a fresh answer of the target. "
        "Below it is the 95{space}% interval. In brackets: the source is the target, or one of several, which is no transfer.</p>",
        n=samples(int(about["n"]), kind), asked=f"{int(about['asked']):,}", networks=count(len(about["networks"]), "network"), space=Markup("&nbsp;"),
    )  # fmt: skip
    found = [one for one in (_best(about["cells"], rates, attacks),) if one]
    return lead + join(found) + join(_matrix(attack, [one for one in about["cells"] if one["attack"] == attack], rates) for attack in attacks)


def _rates(view: View, cells: list[dict[str, Any]]) -> dict[tuple[str, str], Rate]:
    """The rate broken by (case, attack as written), counted in the rows of the record."""
    tables = {case.name: case.table for case in view.cases}
    found = {}
    for one in cells:
        rows: Any = tables.get(one["case"])
        own = rows[(rows.attack == one["say"]) & (rows.status != "skipped")] if rows is not None and len(rows) else []
        found[one["case"], one["say"]] = Rate.of(int((own.status == "broken").sum()), len(own)) if len(own) else Rate.of(0, 0)  # type: ignore[union-attr]
    return found


def _mean(cells: list[dict[str, Any]], rates: dict[tuple[str, str], Rate]) -> float | None:
    """Mean rate over the cells that are transfers and have been judged."""
    values = [rates[one["case"], one["say"]].value for one in cells if not one["own"] and rates[one["case"], one["say"]].n]
    return sum(values) / len(values) if values else None


def _best(cells: list[dict[str, Any]], rates: dict[tuple[str, str], Rate], attacks: list[str]) -> Markup | None:
    """One sentence: which attack travels best."""
    means = {attack: _mean([one for one in cells if one["attack"] == attack], rates) for attack in attacks}
    ranked = sorted(((mean, attack) for attack, mean in means.items() if mean is not None), key=lambda one: -one[0])
    if len(ranked) < 2 or percent(ranked[0][0]) == percent(ranked[-1][0]):
        return None
    return markup(
        "<p>Of {attacks}, <code>{best}</code> travels best, {mean} on average; <code>{worst}</code> least, {least}.</p>",
        attacks=count(len(ranked), "attack"), best=ranked[0][1], mean=percent(ranked[0][0]), worst=ranked[-1][1], least=percent(ranked[-1][0]),
    )  # fmt: skip


def _matrix(attack: str, cells: list[dict[str, Any]], rates: dict[tuple[str, str], Rate]) -> Markup:
    sources, targets = (list(dict.fromkeys(one[side] for one in cells)) for side in ("source", "target"))
    place = {(one["source"], one["target"]): one for one in cells}
    rows: list[tuple[Cell, ...]] = []
    for source in sources:
        shown = [_cell(rates[one["case"], one["say"]], one["own"]) for one in (place[source, target] for target in targets)]
        mean = _mean([one for one in cells if one["source"] == source], rates)
        rows.append((source, *shown, DASH if mean is None else percent(mean)))
    heads = [Column("found on"), *(Column(f"put to {target}", True) for target in targets), Column("mean of transfers", True)]
    return markup('<div class="matrix">{table}</div>', table=table(attack, heads, rows))


def _cell(rate: Rate, own: bool) -> Markup:
    if not rate.n:
        return markup('<span class="shade">{dash}</span>', dash=DASH)
    value = percent(rate.value)
    return markup(
        '<span class="shade mistaken" style="--share:{share}"><b>{value}</b><br>{interval}</span>',
        share=round(rate.value, 3), value=f"({value})" if own else value, interval=interval(rate),
    )  # fmt: skip
