"""Transfer: how often points found on one network break another, a shaded table per attack."""

from typing import NamedTuple

from sparring.core.rate import Rate
from sparring.metrics.measures import controls_of
from sparring.metrics.outcome import CLEAN
from sparring.metrics.transfer import transfer_rate
from sparring.report.markup import Cell, Column, Markup, join, markup, table
from sparring.report.section import section
from sparring.report.view import CaseView, View
from sparring.report.wording import DASH, count, interval, percent, samples


class Shot(NamedTuple):
    """Hold how often an attack from a source broke a target, which may be the source itself."""

    attack: str
    source: str
    target: str
    rate: Rate
    own: bool


@section(order=35, title="Transfer", aim="transfer")
def transfer(view: View) -> Markup | None:
    """Show sources by targets, one table per attack and threat, with the control below."""
    threats = list(dict.fromkeys(str(case.threat.get("say_short")) for case in view.cases if len(case.table)))
    return join(_threat([case for case in view.cases if case.threat.get("say_short") == one and len(case.table)], len(threats) > 1) for one in threats)


def _threat(cases: list[CaseView], several: bool) -> Markup:
    shots = [shot for case in cases for shot in _shots(case)]
    controls = [_control(case) for case in cases]
    attacks = list(dict.fromkeys(one.attack for one in shots))
    about = cases[0].header
    lead = markup(
        "<p>Points are found on the network of the row and evaluated on the network of the column. A cell is the share broken of the {n} (of "
        "{asked}) that all {networks} classify correctly without attack; a fresh answer of the target decides. "
        "Below it is the 95{space}% interval. Values in brackets are not transfer: the target is the source or one of several sources. "
        "The control is a random change of the same size that uses no network.</p>",
        n=samples(cases[0].planned_units, cases[0].domain_kind), asked=f"{int(about.get('asked', 0)):,}",
        networks=count(len(about.get("networks", [])), "network"), space=Markup("&nbsp;"),
    )  # fmt: skip
    heading = markup("<h3>{threat}</h3>", threat=cases[0].threat.get("say_short")) if several else Markup("")
    tables = join(_matrix(attack, [one for one in shots if one.attack == attack], [case.model["name"] for case in cases], controls) for attack in attacks)
    return heading + lead + (_best(shots, attacks) or Markup("")) + tables


def _shots(case: CaseView) -> list[Shot]:
    """The attacks of a case that are no controls, counted in the rows of the record."""
    found = []
    for about in (cell["attack"] for cell in case.cells if cell["attack"].get("sources")):
        origin = "+".join(str(one.get("name")) for one in about["sources"])
        rate = transfer_rate(case.table[case.table.attack == about["say"]])
        found.append(Shot(str(about["inner"]), origin, case.model["name"], rate, bool(about.get("reference"))))
    return found


def _control(case: CaseView) -> Rate:
    said = [one for one in controls_of(case.header) if one != CLEAN]
    return transfer_rate(case.table[case.table.attack.isin(said)])


def _mean(shots: list[Shot]) -> float | None:
    """Mean rate over the cells that are transfers and have been judged."""
    values = [one.rate.value for one in shots if not one.own and one.rate.n]
    return sum(values) / len(values) if values else None


def _best(shots: list[Shot], attacks: list[str]) -> Markup | None:
    """One sentence: which attack travels best."""
    means = {attack: _mean([one for one in shots if one.attack == attack]) for attack in attacks}
    ranked = sorted(((mean, attack) for attack, mean in means.items() if mean is not None), key=lambda one: -one[0])
    if len(ranked) < 2 or percent(ranked[0][0]) == percent(ranked[-1][0]):
        return None
    return markup(
        "<p>Of {attacks}, <code>{best}</code> transfers best ({mean} on average) and <code>{worst}</code> worst ({least}).</p>",
        attacks=count(len(ranked), "attack"), best=ranked[0][1], mean=percent(ranked[0][0]), worst=ranked[-1][1], least=percent(ranked[-1][0]),
    )  # fmt: skip


def _matrix(attack: str, shots: list[Shot], targets: list[str], controls: list[Rate]) -> Markup:
    place = {(one.source, one.target): one for one in shots}
    rows: list[tuple[Cell, ...]] = []
    for source in dict.fromkeys(one.source for one in shots):
        mean = _mean([one for one in shots if one.source == source])
        rows.append((source, *(_cell(place[source, target].rate, place[source, target].own) for target in targets), DASH if mean is None else percent(mean)))
    judged = [one.value for one in controls if one.n]
    rows.append(("control", *(_cell(one, False) for one in controls), percent(sum(judged) / len(judged)) if judged else DASH))
    heads = [Column("found on"), *(Column(f"evaluated on {target}", True) for target in targets), Column("mean of transfers", True)]
    return markup('<div class="matrix">{table}</div>', table=table(attack, heads, rows))


def _cell(rate: Rate, own: bool) -> Markup:
    if not rate.n:
        return markup('<span class="shade">{dash}</span>', dash=DASH)
    value = percent(rate.value)
    return markup(
        '<span class="shade mistaken" style="--share:{share}"><b>{value}</b><br>{interval}</span>',
        share=round(rate.value, 3), value=f"({value})" if own else value, interval=interval(rate),
    )  # fmt: skip
