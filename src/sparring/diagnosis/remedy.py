"""`@remedy` registers attacks that an adaptive adversary would try if a check has failed."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple, cast

from sparring.attacks.attack import Attack, read_attack
from sparring.attacks.losses import NamedLoss, loss_of
from sparring.core.registry import everything, register
from sparring.core.rng import Rng
from sparring.core.signature import check_signature
from sparring.core.victim import Victim
from sparring.diagnosis.doctor import Subject
from sparring.diagnosis.probe import ascent_of


class Trying(NamedTuple):
    """Represent one attack of a remedy.

    victim: the model it searches on; None is the deployed model.
    """

    label: str
    attack: Attack
    victim: Victim | None


@dataclass(frozen=True)
class Remedy:
    """Represent a registered remedy.

    order: the place in which it is tried, lower first. attempts: from the subject to the attacks, one after the other; none where the remedy
    does not apply. only_if_doubtful: left out where no check is bad and no remedy before it broke anything.
    """

    name: str
    order: int
    attempts: Callable[[Subject], Iterable[Trying]]
    only_if_doubtful: bool = False


def remedy(name: str, *, order: int, only_if_doubtful: bool = False) -> Callable[[Callable[[Subject], Iterable[Trying]]], Remedy]:
    """Register a function `(subject) -> attacks to try` as a remedy; see `Remedy`."""

    def enter(attempts: Callable[[Subject], Iterable[Trying]]) -> Remedy:
        check_signature("remedy", attempts, ("subject",), settings=False)
        made = Remedy(name, order, attempts, only_if_doubtful)
        object.__setattr__(made, "__doc__", attempts.__doc__)
        object.__setattr__(made, "__module__", attempts.__module__)
        return register("remedy", name)(made)

    return enter


def remedies() -> list[Remedy]:
    """Return all registered remedies in the order in which they are tried."""
    return sorted(everything("remedy").values(), key=lambda one: (one.order, one.name))


def fitting(subject: Subject, *texts: str) -> list[Attack]:
    """Return those of the attacks that fit the subject."""
    return [one for one in map(read_attack, texts) if one.misfit(subject.victim, subject.threat) is None]


def margin_of_the_goal(subject: Subject) -> list[Attack]:
    """Return PGD on the goal's own margin, where the usual losses do not know the goal."""
    wanted = subject.threat.goal.freeze(subject.y, subject.task, Rng.of(subject.seed, range(len(subject)), subject.y.device))
    usual = cast(NamedLoss, loss_of("ce")).fits(type(wanted))
    return [ascent_of("margin of the goal", restarts=2)] if fitting(subject, "pgd") and not usual else []
