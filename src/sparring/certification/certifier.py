"""`@certifier`: one file adds a way to prove that nothing within a threat breaks a sample."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from torch import Tensor

from sparring.certification.certificate import Certificate
from sparring.core.dice import Dice
from sparring.core.errors import NeedsError, UnknownName
from sparring.core.registry import register
from sparring.core.threat import Threat
from sparring.core.victim import Victim

Misfit = Callable[[Victim, Threat], str]
"""Why it cannot certify this victim under this threat, in words with the cure; an empty string where it can."""


@dataclass(frozen=True)
class Certifier:
    """A registered certifier with its settings. prove: (victim, x, y, threat, dice, *, seconds, **settings) -> one `Certificate` a sample;
    seconds is the limit a sample, None for none. statistical: its answers hold with a confidence below 1. by_default: is it
    asked where nobody names certifiers?"""

    name: str
    prove: Callable[..., Sequence[Certificate]]
    misfit: Misfit
    cites: str
    order: int
    statistical: bool
    by_default: bool = True
    settings: dict[str, Any] = field(default_factory=dict)

    def __call__(self, victim: Victim, x: Tensor, y: Tensor, threat: Threat, dice: Dice, *, seconds: float | None = None) -> list[Certificate]:
        return list(self.prove(victim, x, y, threat, dice, seconds=seconds, **self.settings))

    def check(self, victim: Victim, threat: Threat) -> None:
        """NeedsError where it does not fit."""
        if reason := self.misfit(victim, threat):
            raise NeedsError(f"{self.name} cannot certify {victim.name} under {threat.space.short()}: {reason}")

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """Its settings and their defaults."""
        parameters = inspect.signature(self.prove).parameters.values()
        return {one.name: one.default for one in parameters if one.kind is one.KEYWORD_ONLY and one.name != "seconds"}

    def configure(self, **settings: Any) -> "Certifier":
        """The same certifier with these settings; an unknown one names the nearest."""
        for name in settings:
            if name not in self.defaults:
                raise UnknownName(f"setting of {self.name}", name, self.defaults)
        return replace(self, settings={**self.settings, **settings})

    def describe(self) -> dict[str, Any]:
        """Plain JSON for the record and its keys."""
        return {"name": self.name, "settings": {**self.defaults, **self.settings}, "cites": self.cites, "certificate": True, "statistical": self.statistical}

    def say(self) -> str:
        """As it is written in a plan."""
        return f"{self.name}({', '.join(f'{name}={value}' for name, value in self.settings.items())})" if self.settings else self.name


def certifier(
    name: str, misfit: Misfit, *, cites: str, order: int = 50, statistical: bool = False, by_default: bool = True
) -> Callable[[Callable[..., Sequence[Certificate]]], Certifier]:
    """Register `prove` as a certifier. Lower `order` is asked first where several fit."""

    def enter(prove: Callable[..., Sequence[Certificate]]) -> Certifier:
        made = Certifier(name, prove, misfit, cites, order, statistical, by_default)
        register("certifier", name)(made)
        return made

    return enter
