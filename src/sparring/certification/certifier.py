"""`@certifier` registers a method that proves samples robust under a threat."""

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from sparring.certification.certificate import Certificate
from sparring.core.configured import Configured
from sparring.core.errors import NeedsError, UnknownName
from sparring.core.foreign import ours
from sparring.core.registry import register
from sparring.core.rng import Rng
from sparring.core.signature import check_signature
from sparring.core.threat import Threat
from sparring.core.victim import Victim, say_set

Misfit = Callable[[Victim, Threat], str]
"""Why it cannot certify this victim under this threat, in words with the cure; an empty string where it can."""


class Limit(NamedTuple):
    """Hold the kinds of space or of victim that a certifier supports.

    otherwise: the reason, with the cure, that is given for all others.
    """

    kinds: tuple[type, ...]
    otherwise: str


@dataclass(frozen=True)
class Certifier(Configured):
    """Represent a registered certifier with its settings.

    prove: (victim, x, y, threat, rng, *, seconds, **settings) -> one `Certificate` a sample; seconds is the limit a sample,
    None for none. statistical: its answers hold with a confidence below 1. by_default: is it asked where nobody names
    certifiers? renamed: settings by the names that they had before, which are understood with a warning.
    tasks: kinds of task about whose answers it proves things.
    """

    name: str
    prove: Callable[..., Sequence[Certificate]]
    misfit: Misfit
    cites: str
    order: int
    statistical: bool
    by_default: bool = True
    settings: dict[str, Any] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    tasks: frozenset[str] = frozenset({"classes"})

    quoted: ClassVar[bool] = False

    def __call__(self, victim: Victim, x: Tensor, y: Tensor, threat: Threat, rng: Rng, *, seconds: float | None = None) -> list[Certificate]:
        return list(self.prove(victim, x, y, threat, rng, seconds=seconds, **self.settings))

    def check(self, victim: Victim, threat: Threat) -> None:
        """Raise NeedsError where the certifier does not fit."""
        if reason := self.misfit(victim, threat):
            raise NeedsError(f"{self.name} cannot certify {victim.name} under {threat.space.label}: {reason}")

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """Return its settings and their defaults."""
        parameters = inspect.signature(self.prove).parameters.values()
        return {one.name: one.default for one in parameters if one.kind is one.KEYWORD_ONLY and one.name != "seconds"}

    def configure(self, **settings: Any) -> "Certifier":
        """Return the same certifier with these settings; an unknown one names the nearest."""
        for old in [name for name in settings if name in self.renamed]:
            warnings.warn(f"the setting {old}= of {self.name} is now called {self.renamed[old]}=", DeprecationWarning, stacklevel=2)
            settings[self.renamed[old]] = settings.pop(old)
        for name in settings:
            if name not in self.defaults:
                raise UnknownName(f"setting of {self.name}", name, self.defaults, hint=ours(name, self.defaults))
        return replace(self, settings={**self.settings, **settings})

    def describe(self) -> dict[str, Any]:
        """Return plain JSON for the record and its keys."""
        return {"name": self.name, "settings": self.filled, "cites": self.cites, "certificate": True, "statistical": self.statistical}


def certifier(
    name: str,
    misfit: Misfit | None = None,
    *,
    cites: str,
    spaces: Limit | None = None,
    victims: Limit | None = None,
    order: int = 50,
    statistical: bool = False,
    by_default: bool = True,
    renamed: Mapping[str, str] | None = None,
    tasks: Set[str] = frozenset({"classes"}),
) -> Callable[[Callable[..., Sequence[Certificate]]], Certifier]:
    """Register `prove` as a certifier; if several fit, a lower `order` runs first.

    spaces, victims: the kinds that it supports; all kinds if left out. misfit: returns why it refuses one of these kinds, or an empty string.
    """

    def enter(prove: Callable[..., Sequence[Certificate]]) -> Certifier:
        check_signature("certifier", prove, ("victim", "x", "y", "threat", "rng"))

        def fits(victim: Victim, threat: Threat) -> str:
            if victim.task.kind not in tasks:
                return f"it certifies {say_set(frozenset(tasks))} only, but the model answers {victim.task}"
            for limit, given in ((spaces, threat.space), (victims, victim)):
                if limit and not isinstance(given, limit.kinds):
                    return limit.otherwise
            return misfit(victim, threat) if misfit else ""

        made = Certifier(name, prove, fits, cites, order, statistical, by_default, renamed=renamed or {}, tasks=frozenset(tasks))
        register("certifier", name)(made)
        return made

    return enter
