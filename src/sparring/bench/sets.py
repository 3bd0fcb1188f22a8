"""Named, versioned sets of attacks: data, tried in order, each only where it fits victim and threat."""

from collections.abc import Sequence
from typing import NamedTuple

from sparring.attacks.attack import Attack
from sparring.bench.expression import parse
from sparring.certification.certifier import Certifier
from sparring.certification.certify import fitting
from sparring.core.errors import NeedsError, PlanError, UnknownName
from sparring.core.registry import find
from sparring.core.threat import Threat
from sparring.core.victim import Victim, say_set


class Entry(NamedTuple):
    """An attack as written in a plan. unless: leave it out where the adversary may ask for this ("gradients", "scores"),
    or where the attack of this name stands in the set and fits."""

    attack: str
    unless: str | None = None


LABELS_AND_OTHERS = (
    Entry("hopskipjump(steps=10)", unless="scores"),
    Entry("coordinate"),
    Entry("greedy"),
    Entry("sigma_zero"),
    Entry("sparse_rs(queries=1000)"),
    Entry("sparse_rs_patch(queries=1000)"),
    Entry("spatial_grid"),
    Entry("stadv"),
    Entry("recoloradv"),
    Entry("corruption"),
)
"""For those who see only labels, and for spaces that are no balls."""

SQUARES = ("square", "square_l2", "square_l1")

SETS: dict[str, tuple[Entry, ...]] = {
    # Cheap first, the later ones on what is nearly there; how they were chosen: design/cascade.md.
    "fast-1": (
        Entry('pgd(steps=10, loss="pm", step_size=1.0, decay="cosine", random_start=false)'),
        Entry("odi(steps=20, restarts=2, warm=true, within=1.0)"),
        Entry("apgd_l1_t(steps=40, targets=3, within=1.0)"),
        Entry('apgd_t(steps=40, order="linearised", targets=3, within=1.0)', unless="apgd_l1_t"),
        *(Entry(f"{square}(queries=200, warm=true, within=1.0)") for square in SQUARES),
        Entry("odi(steps=20, restarts=6, warm=true, within=0.3)"),
        *(Entry(f"{square}(queries={queries}, warm=true, within={within})") for queries, within in ((500, 0.4), (3000, 0.2)) for square in SQUARES),
        *(Entry(f"{square}(queries=1000)", unless="gradients") for square in SQUARES),
        *LABELS_AND_OTHERS,
        Entry("noise(tries=20)"),
    ),
    # AutoAttack (Croce, Hein 2020, arXiv:2003.01690; for L1 arXiv:2103.01208) with the budgets of github.com/fra31/auto-attack.
    "standard-1": (
        Entry("apgd_l1"),
        Entry("apgd", unless="apgd_l1"),
        Entry("apgd_l1_t"),
        Entry("apgd_t", unless="apgd_l1_t"),
        Entry("fab_t"),
        *(Entry(f"{square}(queries=5000)") for square in SQUARES),
    ),
    "plus-1": (
        Entry("apgd_l1"),
        Entry("apgd(restarts=5)", unless="apgd_l1"),
        Entry('apgd_l1(loss="dlr")'),
        Entry('apgd(restarts=5, loss="dlr")', unless="apgd_l1"),
        Entry("fab(restarts=5)"),
        *(Entry(f"{square}(queries=5000)") for square in SQUARES),
        Entry("apgd_l1_t(targets=9)"),
        Entry("apgd_t", unless="apgd_l1_t"),
        Entry("fab_t"),
    ),
    "rand-1": (
        Entry("apgd_l1(restarts=1, draws=20)"),
        Entry("apgd(draws=20)", unless="apgd_l1"),
        Entry('apgd_l1(restarts=1, loss="dlr", draws=20)'),
        Entry('apgd(loss="dlr", draws=20)', unless="apgd_l1"),
    ),
    "control": (Entry("noise"),),
}
ALIASES = {
    "default": "fast-1",
    "fast": "fast-1",
    "standard": "standard-1",
    "autoattack": "standard-1",
    "plus": "plus-1",
    "rand": "rand-1",
    "exhaustive": "exhaustive-1",
}

SETS["exhaustive-1"] = (
    *(entry for entry in SETS["fast-1"] if entry not in LABELS_AND_OTHERS and "noise" not in entry.attack),
    *SETS["standard-1"],
    Entry("odi(steps=50, restarts=20, warm=true)"),
    Entry("multi_targeted(steps=50, targets=9)"),
    *(Entry(f"{square}(queries=5000, warm=true, restarts=2)") for square in SQUARES),
    *LABELS_AND_OTHERS,
    Entry("noise(tries=100)"),
)


def read_attack(text: str) -> Attack:
    """The configured attack written as `pgd(steps=50)`."""
    expression = parse(text)
    attack: Attack = find("attack", expression.name)
    if expression.arguments:
        raise PlanError(f"cannot read {text!r}: settings of an attack need their names, {expression.name}({next(iter(attack.defaults), 'key')}=...)")
    return attack.configure(**expression.settings)


def choose_certifiers(written: str | Certifier | Sequence[str | Certifier], victim: Victim, threat: Threat) -> tuple[Certifier, ...]:
    """The certifiers of a plan: "default" for all that fit, "none", or a list, all of which must fit. Raises UnknownName, PlanError or NeedsError."""
    listed = [written] if isinstance(written, str | Certifier) else list(written)
    if listed == ["default"]:
        return tuple(fitting(victim, threat))
    if listed in ([], ["none"]):
        return ()
    chosen = tuple(read_certifier(one) if isinstance(one, str) else one for one in listed)
    for one in chosen:
        one.check(victim, threat)
    said = [one.say() for one in chosen]
    if twice := {one for one in said if said.count(one) > 1}:
        raise PlanError(f"the certifier {twice.pop()} is listed twice: change a setting, or leave one out")
    return chosen


def read_certifier(text: str) -> Certifier:
    """The configured certifier written as `network(effort="thorough")`."""
    expression = parse(text)
    found: Certifier = find("certifier", expression.name)
    if expression.arguments:
        raise PlanError(f"cannot read {text!r}: settings of a certifier need their names, {expression.name}({next(iter(found.defaults), 'key')}=...)")
    return found.configure(**expression.settings)


def choose(written: str | Attack | Sequence[str | Attack], victim: Victim, threat: Threat) -> tuple[Attack, ...]:
    """The attacks of a plan: the name of a set, from which those that do not fit are left out, or a list, all
    of which must fit; in Python a configured `Attack` may stand beside the names. Raises UnknownName, PlanError or NeedsError."""
    listed = [written] if isinstance(written, str | Attack) else list(written)
    if wrong := [one for one in listed if not isinstance(one, str | Attack)]:
        raise PlanError(f"attacks are written as they are in a plan, such as 'pgd(steps=50)'; got {type(wrong[0]).__name__} {str(wrong[0])[:80]!r}")
    only = listed[0] if len(listed) == 1 else ""
    name = ALIASES.get(only, only) if isinstance(only, str) else ""
    if name in SETS:
        seen = victim.exposes & threat.grants
        read = [(entry, read_attack(entry.attack)) for entry in SETS[name]]
        fit = {attack.name for _, attack in read if not attack.misfit(victim, threat)}
        fitting = tuple(attack for entry, attack in read if attack.name in fit and entry.unless not in seen | fit)
        if not fitting:
            raise NeedsError(f"no attack of the set {name} fits {threat.space.kind} with {say_set(seen)}")
        return fitting
    try:
        chosen = tuple(one if isinstance(one, Attack) else read_attack(one) for one in listed)
    except UnknownName as error:
        if error.kind != "attack":
            raise
        raise PlanError(f"{error}; sets: {', '.join([*SETS, *ALIASES])}") from error
    said = [attack.say() for attack in chosen]
    if twice := {one for one in said if said.count(one) > 1}:
        raise PlanError(f"the attack {twice.pop()} is listed twice: change a setting, or leave one out")
    for attack in chosen:
        attack.check(victim, threat)
    return chosen
