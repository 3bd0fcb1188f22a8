"""What a plan comes to: cases, each a model, data, threat and attacks; and how to carry them out."""

import functools
import hashlib
import importlib
import inspect
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sparring.attacks.attack import BATCH, Attack
from sparring.attacks.loop import climb
from sparring.certification.certifier import Certifier
from sparring.core.bout import Bout
from sparring.core.dice import Dice
from sparring.core.errors import InputError, LoadError, NeedsError, PlanError, SparringError
from sparring.core.threat import Threat
from sparring.core.victim import Victim
from sparring.data.dataset import Data
from sparring.judge.doctor import Finding, trust
from sparring.judge.remedies import second_look
from sparring.metrics.outcome import CLEAN
from sparring.records.record import key_of
from sparring.threats.goals import Untargeted

POINTS = {"none": 0, "gallery": 6, "all": sys.maxsize}
"""How many broken (and as many standing) points each batch keeps."""


@dataclass(frozen=True)
class Case:
    """One model on one data set under one threat, the certifiers to ask and then the attacks to try, in order."""

    name: str
    victim: Victim
    data: Data
    threat: Threat
    attacks: tuple[Attack, ...]
    certifiers: tuple[Certifier, ...] = ()

    def __post_init__(self) -> None:
        """Controls go last, wherever they were written: a sample fell to a search, if to any."""
        object.__setattr__(self, "attacks", tuple(sorted(self.attacks, key=lambda attack: attack.control)))

    def check(self) -> None:
        """Refuse what cannot work, before the first question to the victim."""
        if self.victim.domain.describe()["kind"] != self.data.domain.kind:
            raise InputError(f"{self.name}: the model takes {self.victim.domain.say()}, the data is {self.data.domain.say()}")
        self.victim.domain.check(self.data.x)
        if int(self.data.y.max()) >= self.victim.classes:
            raise InputError(f"{self.name}: labels go up to {int(self.data.y.max())} but the model has {self.victim.classes} classes")
        if not self.attacks:
            raise NeedsError(f"{self.name}: no attack to run")
        for attack in self.attacks:
            attack.check(self.victim, self.threat)
        for certifier in self.certifiers:
            certifier.check(self.victim, self.threat)
        self.threat.space.around(self.data.x, self.victim.domain)
        self.threat.goal.reference(self.data.y, Dice.of(0, self.data.ids), self.victim.classes)

    def ask_once(self) -> None:
        """The model answers about two samples, or LoadError says why not: the first question of all, before a record is begun."""
        with self.victim.session():
            try:
                self.victim.label(self.data.x[:2])
            except SparringError:
                raise
            except Exception as error:  # the user's model may raise anything
                said = str(error).strip().splitlines() or [""]
                raise LoadError(f"{self.victim.name} cannot take {self.data.domain.say()}: {type(error).__name__}: {said[0]}") from error

    def clean_threat(self) -> Threat:
        """Is the prediction right at all? No change, any other class counts."""
        return replace(self.threat.at(0.0), goal=Untargeted())

    def second_look(self, findings: Sequence[Finding], seed: int) -> dict[str, Any] | None:
        """What the remedies find, in plain JSON, where a check failed and gradients may be asked for; else None."""
        steep = {"project", "ascend", "sample"} <= self.threat.space.offers()
        if trust(findings) != "unreliable" or not steep or "gradients" not in self.victim.exposes & self.threat.grants:
            return None
        return second_look(self.victim, self.data, self.threat, seed=seed).describe()

    def describe(self, cells: dict[str, str]) -> dict[str, Any]:
        """Plain JSON for the header. cells: as `cell_keys` gives them."""
        attacks = {CLEAN: {"name": CLEAN, "settings": {}, "cites": ""}, **{one.say(): one.describe() for one in (*self.certifiers, *self.attacks)}}
        return {
            "name": self.name,
            "model": self.victim.describe(),
            "data": self.data.describe(),
            "threat": {**self.threat.describe(), "say": self.threat.space.say(), "say_short": self.threat.space.short()},
            "checks": [],
            "cells": [{"key": key, "attack": {**attacks[said], "say": said}} for said, key in cells.items()],
        }

    def cell_keys(self, seed: int, cascade: bool) -> dict[str, str]:
        """Address of each attack's rows, by the attack as written. The clean rows come first, then those of the certifiers. In a
        cascade an attack sees what the earlier ones left, so its key contains theirs."""
        model = {name: value for name, value in self.victim.describe().items() if name != "name"}
        base = {"model": model, "domain": self.victim.domain.describe(), "data": self.data.sha256, "seed": seed}
        keys = {CLEAN: key_of({**base, "attack": CLEAN, "threat": [self.threat.goal.describe()]})}
        for certifier in self.certifiers:
            what = {
                "certifier": certifier.describe(),
                "code": code_of(certifier, self.threat),
                "threat": self.threat.describe(),
                "earlier": list(keys.values()),
            }
            keys[certifier.say()] = key_of({**base, **what})
        proofs = [keys[certifier.say()] for certifier in self.certifiers]
        for attack in self.attacks:
            before = [other.say() for other in self.attacks[: self.attacks.index(attack)] if not other.control]
            earlier = [*proofs, *(keys[said] for said in before)] if cascade and not attack.control else []
            what = {"attack": attack.describe(), "code": code_of(attack, self.threat), "threat": self.threat.describe(), "earlier": earlier}
            keys[attack.say()] = key_of({**base, **what})
        return keys


def code_of(method: Attack | Certifier, threat: Threat | None = None) -> str:
    """A hash of the code that searches or proves: the files of attack, loop, bout, space and goal, and all of the package that they import."""
    begin = method.search if isinstance(method, Attack) else method.prove, climb, Bout, *((type(threat.space), type(threat.goal)) if threat else ())
    found = sorted({source for one in begin for source in _sources(one.__module__)})
    return hashlib.sha256("".join(found).encode()).hexdigest()[:16]


@functools.cache
def _sources(module: str) -> frozenset[str]:
    """The source of a module and of all modules of this package that it imports, directly or not."""
    sources, waiting = {}, [module]
    while waiting:
        name = waiting.pop()
        if name not in sources:
            file = inspect.getsourcefile(importlib.import_module(name))
            sources[name] = Path(file).read_text(encoding="utf-8") if file else name
            waiting += re.findall(r"^\s*from (sparring\.[\w.]+) import", sources[name], re.MULTILINE)
    return frozenset(sources.values())


@dataclass(frozen=True)
class Settings:
    """How to carry an evaluation out. seed: of all dice. batch: samples searched together. cascade:
    an attack sees only what the earlier ones left. points: which adversarial inputs to keep ("none",
    "gallery", "all"). shard: (k, n), do every n-th batch beginning with the k-th, counted from 0. doubt: where a check
    of the model fails, take a second look (`judge.remedies`)."""

    seed: int = 0
    batch: int = BATCH
    cascade: bool = True
    points: str = "gallery"
    shard: tuple[int, int] = (0, 1)
    doubt: bool = True

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise PlanError(f"batch={self.batch}: must be at least 1")
        if self.points not in POINTS:
            raise PlanError(f"points={self.points!r}: choose one of {', '.join(POINTS)}")
        if not 0 <= self.shard[0] < self.shard[1]:
            raise PlanError(f"shard {self.shard[0] + 1}/{self.shard[1]}: the first number runs from 1 to the second")
