"""`@attack_set`: one file adds a named, versioned list of attacks, tried in order, each only where it fits victim and threat."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sparring.core.registry import everything, is_ours, origin, register, warn_of_plugin


class Entry(NamedTuple):
    """Represent an attack as written in a plan.

    unless: leave it out where the adversary may ask for this ("gradients", "scores"), or where the attack of this name
    stands in the set and fits.
    """

    attack: str
    unless: str | None = None


@dataclass(frozen=True)
class AttackSet:
    """Represent a registered set.

    name: with its version, because what a set holds never changes. aliases: shorter names, which may move to a newer
    version; each aim has its own. cites: paper and official code where the set is theirs. aim: the kind of harm.
    """

    name: str
    entries: tuple[Entry, ...]
    aliases: tuple[str, ...] = ()
    cites: str = ""
    aim: str = "evasion"


def attack_set(name: str, *, aliases: tuple[str, ...] = (), cites: str = "", aim: str = "evasion") -> Callable[[Callable[[], Iterable[Entry]]], AttackSet]:
    """Register what a function without arguments returns as a set of attacks; see `AttackSet`."""

    def enter(made: Callable[[], Iterable[Entry]]) -> AttackSet:
        found = AttackSet(name, tuple(made()), aliases, cites, aim)
        object.__setattr__(found, "__doc__", made.__doc__)
        object.__setattr__(found, "__module__", made.__module__)
        return register("set", name)(found)

    return enter


def known_sets(aim: str = "evasion") -> dict[str, AttackSet]:
    """Return all sets of an aim by their names and then by their aliases.

    A plugin cannot take an alias away from one of our sets: it keeps its name only, with a warning.

    Raises:
        ValueError: Where two of our sets claim one name.
    """
    found: dict[str, AttackSet] = {name: one for name, one in everything("set").items() if one.aim == aim}
    for one in sorted(found.values(), key=lambda one: not is_ours(origin(one))):
        for alias in one.aliases:
            if alias not in found:
                found[alias] = one
            elif is_ours(origin(one)):
                raise ValueError(f"two sets of attacks are called {alias!r}: {found[alias].name} and {one.name}")
            else:
                warn_of_plugin(origin(one), f"the set {one.name} of {origin(one)} is not called {alias}, as {found[alias].name} is: give it another alias")
    return found


def written_in(aim: str, listed: Sequence[Any]) -> list[Any]:
    """Return what stands in a set of an aim where its name is all that is listed; else the list."""
    only = listed[0] if len(listed) == 1 else ""
    chosen = known_sets(aim).get(only) if isinstance(only, str) else None
    return list(listed) if chosen is None else [entry.attack for entry in chosen.entries]
