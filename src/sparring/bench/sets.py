"""Named, versioned sets of attacks: data, tried in order, each only where it fits victim and threat."""

from typing import NamedTuple

from sparring.attacks.attack import Attack
from sparring.bench.expression import parse
from sparring.core.errors import NeedsError, PlanError, UnknownName
from sparring.core.registry import find
from sparring.core.threat import Threat
from sparring.core.victim import Victim, say_set


class Entry(NamedTuple):
    """An attack as written in a plan. unless: leave it out where the adversary may ask for this."""

    attack: str
    unless: str | None = None


SETS: dict[str, tuple[Entry, ...]] = {
    "default-1": (
        Entry('pgd(steps=20, loss="margin")'),
        Entry("apgd(steps=50)"),
        Entry("apgd_t(steps=50, targets=3)"),
        Entry("square(queries=500)"),
        Entry("hopskipjump(steps=10)", unless="scores"),
        Entry("coordinate"),
        Entry("greedy"),
        Entry("noise(tries=50)"),
    ),
    "control": (Entry("noise"),),
}
ALIASES = {"default": "default-1"}


def read_attack(text: str) -> Attack:
    """The configured attack written as `pgd(steps=50)`."""
    expression = parse(text)
    attack: Attack = find("attack", expression.name)
    if expression.arguments:
        raise PlanError(f"cannot read {text!r}: settings of an attack need their names, {expression.name}({next(iter(attack.defaults), 'key')}=...)")
    return attack.configure(**expression.settings)


def choose(written: str | list[str], victim: Victim, threat: Threat) -> tuple[Attack, ...]:
    """The attacks of a plan: the name of a set, from which those that do not fit are left out, or a list, all
    of which must fit. Raises UnknownName, PlanError or NeedsError."""
    listed = [written] if isinstance(written, str) else list(written)
    if wrong := [one for one in listed if not isinstance(one, str)]:
        raise PlanError(f"attacks are written as they are in a plan, such as 'pgd(steps=50)'; got {type(wrong[0]).__name__} {str(wrong[0])[:80]!r}")
    name = ALIASES.get(listed[0], listed[0]) if len(listed) == 1 else ""
    if name in SETS:
        seen = victim.exposes & threat.grants
        entries = [entry.attack for entry in SETS[name] if entry.unless not in seen]
        fitting = tuple(attack for attack in map(read_attack, entries) if not attack.misfit(victim, threat))
        if not fitting:
            raise NeedsError(f"no attack of the set {name} fits {threat.space.kind} with {say_set(seen)}")
        return fitting
    try:
        chosen = tuple(read_attack(text) for text in listed)
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
