"""What `@attack` makes of a search function: something to call, to configure and to find by name."""

import inspect
import math
from collections.abc import Callable, Set
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, get_args, get_type_hints

import torch
from torch import Tensor

from sparring.attacks.reach import reachable
from sparring.core.bout import Bout
from sparring.core.dice import Dice, number_of
from sparring.core.domain import Batch
from sparring.core.errors import NeedsError, PlanError, UnknownName
from sparring.core.labels import check_labels
from sparring.core.registry import everything, find, register
from sparring.core.threat import Threat
from sparring.core.victim import Victim, say_set

BATCH = 250
"""Samples searched together; 100 to 250 measured fastest on CPUs."""

EVERY: dict[str, Any] = {"within": 0.0}
"""Settings of every attack. within: where above 0, only samples are attacked whose margin lacks at most so many times what
the attacks before in a cascade have gained over the clean input (`reach.reachable`)."""


@dataclass(frozen=True)
class Attack:
    """A registered attack with its settings.

    search: (bout, **settings) -> points. needs: what the victim must expose and the threat grant.
    uses: which methods of the region it calls. cites: paper and official code. control: not a search but
    what searches are compared with; it takes no part in a cascade and meets every sample that is right.
    """

    name: str
    search: Callable[..., Batch]
    needs: frozenset[str]
    uses: frozenset[str]
    cites: str
    control: bool = False
    settings: dict[str, Any] = field(default_factory=dict)

    def __call__(
        self,
        victim: Victim,
        x: Any,
        y: Any,
        threat: Threat,
        dice: Dice | None = None,
        *,
        batch: int = BATCH,
        **settings: Any,
    ) -> Batch:
        """Search for points that meet the goal of the threat and return them; the judge decides
        whether they did.

        x: a batch of the victim's domain. y: int64 [n], true classes. dice: keyed by sample;
        made from the positions 0 ... n - 1 and seed 0 if left out. batch: samples searched together.
        settings: the attack's own. Returns points shaped like x. Raises InputError or NeedsError
        before the first question to the victim.
        """
        if batch < 1:
            raise PlanError(f"batch={batch}: at least one sample is searched at a time")
        chosen = self.configure(**settings)
        chosen.check(victim, threat)
        x = victim.domain.check(x)
        y = check_labels(y, len(x), victim.classes).to(x.device if isinstance(x, Tensor) else "cpu")
        dice = Dice.of(0, range(len(x)), y.device) if dice is None else dice
        threat.space.around(x, victim.domain)
        threat.goal.reference(y, dice, victim.classes)
        points = x.clone() if isinstance(x, Tensor) else x.copy()
        with victim.session():
            for rows in torch.arange(len(x), device=y.device).split(batch):
                part = threat.take(rows)
                reference = part.goal.reference(y[rows], dice.take(rows), victim.classes)
                bout = Bout.open(victim, x[rows], reference, part, dice.take(rows))
                points[rows] = chosen.run(bout)
        return points

    def run(self, bout: Bout) -> Batch:
        """Search inside an open bout. Each attack, whatever its settings, has dice of its own."""
        settings = {**EVERY, **self.settings}
        own = replace(bout, dice=bout.dice.draw(number_of(self.name)))
        if within := settings["within"]:
            own = own.take(reachable(own, within))
        if len(own):
            self.search(own, **{name: value for name, value in settings.items() if name not in EVERY})
        return bout.best()

    @property
    def resumes(self) -> bool:
        """Does it begin from what earlier attacks left?"""
        return bool(self.settings.get("warm") or self.settings.get("within"))

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """The settings of this attack and their defaults, in the order of the paper's signature."""
        parameters = list(inspect.signature(self.search).parameters.values())[1:]
        return {parameter.name: parameter.default for parameter in parameters}

    def configure(self, **settings: Any) -> "Attack":
        """The same attack with these settings; an unknown one names the nearest."""
        for name, value in settings.items():
            known = {**self.defaults, **EVERY}
            if name not in known:
                raise UnknownName(f"setting of {self.name}", name, known)
            default = known[name]
            number = isinstance(default, int | float) and not isinstance(default, bool)
            if number and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise PlanError(f"{self.name}({name}={value!r}): give a number, the default is {default!r}")
            if isinstance(default, str) and not isinstance(value, str):
                raise PlanError(f"{self.name}({name}={value!r}): give a name, the default is {default!r}")
            if name == "loss":
                find("loss", str(value))
            if value not in (choices := get_args(get_type_hints(self.search).get(name)) or (value,)):
                raise UnknownName(f"{name} of {self.name}", str(value), map(str, choices))
            if number and isinstance(default, int):
                if not (float(value) >= 0 and float(value).is_integer()):
                    raise PlanError(f"{self.name}({name}={value!r}): give a whole number of at least 0")
                settings[name] = int(value)
            elif number and not 0 <= float(value) < math.inf:
                raise PlanError(f"{self.name}({name}={value!r}): give a number of at least 0")
        return replace(self, settings={**self.settings, **settings})

    def misfit(self, victim: Victim, threat: Threat) -> str | None:
        """Why this attack cannot be run on that victim under that threat; None where it can."""
        if missing := self.needs - victim.exposes:
            return f"{self.name} needs {say_set(missing)}; this victim exposes {say_set(victim.exposes)}"
        if missing := self.needs - threat.grants:
            return f"{self.name} needs {say_set(missing)}; the threat grants {threat.access} only"
        if missing := self.uses - threat.space.offers():
            return f"{self.name} needs {say_set(missing)} of the space; {threat.space.kind} does not offer it"
        return None

    def check(self, victim: Victim, threat: Threat) -> None:
        """Raise NeedsError, naming attacks that would fit, where this one does not."""
        if complaint := self.misfit(victim, threat):
            fitting = [name for name, other in everything("attack").items() if not other.misfit(victim, threat)]
            raise NeedsError(f"{complaint}: try {', '.join(fitting) or 'another threat'}")

    def say(self) -> str:
        """The attack as it is written in a plan: pgd(steps=50)."""
        return f"{self.name}({', '.join(f'{name}={value!r}' for name, value in self.settings.items())})" if self.settings else self.name

    def describe(self) -> dict[str, Any]:
        """Plain JSON with every setting filled in."""
        return {"name": self.name, "settings": {**self.defaults, **self.settings}, "cites": self.cites, "control": self.control}

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        return (inspect.getdoc(self.search) or "").split("\n", 1)[0]


def attack(*, needs: Set[str], uses: Set[str] = frozenset(), cites: str, control: bool = False) -> Callable[[Callable[..., Batch]], Attack]:
    """Register a search function `(bout, *, settings) -> points` as an attack under its own name; see `Attack`."""

    def enter(search: Callable[..., Batch]) -> Attack:
        made = Attack(search.__name__, search, frozenset(needs), frozenset(uses), cites, control)
        object.__setattr__(made, "__doc__", search.__doc__)
        object.__setattr__(made, "__module__", search.__module__)
        return register("attack", made.name)(made)

    return enter
