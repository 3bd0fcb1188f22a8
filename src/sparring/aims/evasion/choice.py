"""Which attacks and certifiers a plan asks for: names of sets, lists, or all that fit."""

from collections.abc import Sequence

from sparring.attacks.attack import Attack, read_attack
from sparring.attacks.attack_set import known_sets
from sparring.certification.certifier import Certifier
from sparring.certification.certify import fitting
from sparring.core.errors import NeedsError, PlanError, UnknownName
from sparring.core.expression import parse
from sparring.core.registry import find
from sparring.core.threat import Threat
from sparring.core.victim import Victim, say_set


def choose_certifiers(written: str | Certifier | Sequence[str | Certifier], victim: Victim, threat: Threat) -> tuple[Certifier, ...]:
    """Return the certifiers of a plan, which all fit.

    written: "default" for all that fit, "none", or a list. Raises UnknownName, PlanError or NeedsError.
    """
    listed = [written] if isinstance(written, str | Certifier) else list(written)
    if listed == ["default"]:
        return tuple(fitting(victim, threat))
    if listed in ([], ["none"]):
        return ()
    chosen = tuple(read_certifier(one) if isinstance(one, str) else one for one in listed)
    for one in chosen:
        one.check(victim, threat)
    said = [str(one) for one in chosen]
    if twice := {one for one in said if said.count(one) > 1}:
        raise PlanError(f"the certifier {twice.pop()} is listed twice: change a setting, or leave one out")
    return chosen


def read_certifier(text: str) -> Certifier:
    """Return the configured certifier written as `network(effort="thorough")`."""
    expression = parse(text)
    found: Certifier = find("certifier", expression.name)
    if expression.arguments:
        raise PlanError(f"cannot read {text!r}: name the settings of a certifier, {expression.name}({next(iter(found.defaults), 'key')}=...)")
    return found.configure(**expression.settings)


def choose(written: str | Attack | Sequence[str | Attack], victim: Victim, threat: Threat) -> tuple[Attack, ...]:
    """Return the attacks of a plan, which all fit.

    written: the name of a set, from which those that do not fit are left out, or a list, all of which must fit; in Python a configured `Attack` may
    stand beside the names. Raises UnknownName, PlanError or NeedsError.
    """
    listed = [written] if isinstance(written, str | Attack) else list(written)
    if wrong := [one for one in listed if not isinstance(one, str | Attack)]:
        raise PlanError(f"write attacks as in a plan, such as 'pgd(steps=50)'; got {type(wrong[0]).__name__} {str(wrong[0])[:80]!r}")
    only = listed[0] if len(listed) == 1 else ""
    if isinstance(only, str) and (chosen_set := known_sets().get(only)):
        seen = victim.exposes & threat.grants
        read = [(entry, read_attack(entry.attack)) for entry in chosen_set.entries]
        fit = {attack.name for _, attack in read if not attack.misfit(victim, threat)}
        fitting = tuple(attack for entry, attack in read if attack.name in fit and entry.unless not in seen | fit)
        if not fitting:
            if reason := threat.goal.misfit(victim.task, victim.name):
                raise NeedsError(reason)
            raise NeedsError(f"no attack of the set {chosen_set.name} fits {threat.space.kind} with {say_set(seen)}")
        return fitting
    try:
        chosen = tuple(one if isinstance(one, Attack) else read_attack(one) for one in listed)
    except UnknownName as error:
        if error.kind != "attack":
            raise
        raise PlanError(f"{error}; sets: {', '.join(known_sets())}") from error
    said = [str(attack) for attack in chosen]
    if twice := {one for one in said if said.count(one) > 1}:
        raise PlanError(f"the attack {twice.pop()} is listed twice: change a setting, or leave one out")
    for attack in chosen:
        attack.check(victim, threat)
    return chosen
