"""Threat card: the abilities and goal of the adversary, and the threats that are not covered."""

import json

from sparring.report.markup import Markup, join, listing, markup, terms
from sparring.report.section import section
from sparring.report.view import CaseView, View
from sparring.report.wording import ACCESS, DASH, changes, goal, number, radius_of

UNITS = {"queries": "answers of the model", "steps": "steps of an attack", "seconds": "seconds"}

NOT_COVERED = (
    "Larger changes, and any other kind of change.",
    "Changes of an input on its way to the model: print, camera, compression.",
    "Tampering with training data, leaks of training data, and theft of the model.",
    "Attacks that were not run. An adversary may know a better one.",
)


@section(order=20, title="Threat")
def threat_card(view: View) -> Markup | None:
    """Show each distinct threat of the run once.

    Threats that differ in the radius alone share a card.
    """
    if not view.cases:
        return None
    different: dict[str, list[CaseView]] = {}
    for case in view.cases:
        different.setdefault(_apart_from_radius(case), []).append(case)
    cards = join(_card(cases) for cases in different.values())
    return markup('<div class="cards wide">{cards}</div><h3>Not covered</h3>{open}', cards=cards, open=listing(NOT_COVERED))


def _apart_from_radius(case: CaseView) -> str:
    """Equal for threats of one kind."""
    rest = {name: value for name, value in case.threat.items() if name not in ("say", "say_short")}
    radius = "one" if radius_of(case.threat) is not None else "per sample"
    return json.dumps([rest | {"space": case.threat.get("space", {}) | {"radius": radius}}, case.domain_kind], sort_keys=True)


def _card(cases: list[CaseView]) -> Markup:
    case = cases[0]
    threat, domain = case.threat, case.domain
    radii = sorted({radius for one in cases if (radius := radius_of(one.threat)) is not None})
    exactly = list(dict.fromkeys(str(one.threat.get("say") or one.threat.get("say_short") or DASH) for one in cases))
    titles = list(dict.fromkeys(str(one.threat.get("say_short") or threat.get("space", {}).get("kind", "threat")) for one in cases))
    clause = changes(threat, case.domain_kind, radii)
    pairs = [
        ("Allowed changes", f"{clause[0].upper()}{clause[1:]}."),
        ("Exactly", exactly[0] if len(exactly) == 1 else listing(exactly, "plain")),
        ("Input", str(domain) if domain else case.domain_kind or DASH),
        ("Goal", goal(threat)),
        ("Knowledge", ACCESS.get(str(threat.get("access")), str(threat.get("access")))),
        ("Budget", _budget(threat.get("budget") or {})),
        ("In transit", threat.get("channel") or "Nothing changes: the model receives exactly the attacked input."),
    ]
    return markup('<article class="card"><h3>{title}</h3>{terms}</article>', title=" · ".join(titles), terms=terms(pairs))


def _budget(budget: dict[str, float]) -> str:
    if not budget:
        return "No limit per sample beyond the settings of the attacks."
    return "At most " + " and ".join(f"{number(value)} {UNITS.get(name, name)}" for name, value in budget.items()) + " per sample and attack."
