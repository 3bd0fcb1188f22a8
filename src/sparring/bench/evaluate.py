"""One evaluation carried out: cases x cells x batches, from the attack over the judge to the record."""

import datetime
import functools
import hashlib
import inspect
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparring.attacks.attack import BATCH, Attack
from sparring.attacks.loop import climb
from sparring.bench.environment import environment
from sparring.bench.run import Run
from sparring.core.bout import Bout, Cost
from sparring.core.dice import Dice, number_of
from sparring.core.errors import InputError, NeedsError, PlanError, SparringError
from sparring.core.threat import Reference, Threat
from sparring.core.victim import Victim
from sparring.data.dataset import Data
from sparring.judge.doctor import examine
from sparring.judge.judge import Status, Verdicts, judge
from sparring.metrics.outcome import CLEAN, STANDS
from sparring.records.record import Points, Record, key_of
from sparring.records.store import Store
from sparring.threats.goals import Untargeted

Listener = Callable[[str, dict[str, Any]], None]
"""Called with the name of an event and its details; the command line draws them."""

POINTS = {"none": 0, "gallery": 6, "all": sys.maxsize}
"""How many broken (and as many standing) points each batch keeps."""


@dataclass(frozen=True)
class Case:
    """One model on one data set under one threat, and the attacks to try in order."""

    name: str
    victim: Victim
    data: Data
    threat: Threat
    attacks: tuple[Attack, ...]

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
        self.threat.space.radii(len(self.data))
        self.threat.goal.reference(self.data.y[:0], Dice.of(0, []), self.victim.classes)

    def clean_threat(self) -> Threat:
        """Is the prediction right at all? No change, any other class counts."""
        return replace(self.threat.at(0.0), goal=Untargeted())

    def cell_keys(self, seed: int, cascade: bool) -> dict[str, str]:
        """Address of each attack's rows, by the attack as written. The clean rows come first. In a
        cascade an attack sees what the earlier ones left, so its key contains theirs."""
        base = {"model": self.victim.describe(), "domain": self.victim.domain.describe(), "data": self.data.sha256, "seed": seed}
        keys = {CLEAN: key_of({**base, "attack": CLEAN, "threat": [self.threat.goal.describe()]})}
        for attack in self.attacks:
            earlier = list(keys.values())[1:] if cascade else []
            what = {"attack": attack.describe(), "code": code_of(attack), "threat": self.threat.describe(), "earlier": earlier}
            keys[attack.say()] = key_of({**base, **what})
        return keys


@functools.cache
def _source_hash(search: Any) -> str:
    sources = [inspect.getsource(sys.modules[place]) for place in (search.__module__, climb.__module__, Bout.__module__)]
    return hashlib.sha256("".join(sources).encode()).hexdigest()[:16]


def code_of(attack: Attack) -> str:
    """A hash of the code that searches: the attack's file, the loop and the bout."""
    return _source_hash(attack.search)


@dataclass(frozen=True)
class Settings:
    """How to carry an evaluation out. seed: of all dice. batch: samples searched together. cascade:
    an attack sees only what the earlier ones left. points: which adversarial inputs to keep ("none",
    "gallery", "all"). shard: (k, n), do every n-th batch beginning with the k-th, counted from 0."""

    seed: int = 0
    batch: int = BATCH
    cascade: bool = True
    points: str = "gallery"
    shard: tuple[int, int] = (0, 1)

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise PlanError(f"batch={self.batch}: must be at least 1")
        if self.points not in POINTS:
            raise PlanError(f"points={self.points!r}: choose one of {', '.join(POINTS)}")
        if not 0 <= self.shard[0] < self.shard[1]:
            raise PlanError(f"shard {self.shard[0] + 1}/{self.shard[1]}: the first number runs from 1 to the second")


def carry_out(
    cases: Sequence[Case], out: str | os.PathLike[str], plan: dict[str, Any], settings: Settings, listen: Listener | None = None
) -> Run:
    """Evaluate all cases into a run folder under `out`, or go on with the one that is there.

    A run is addressed by what it computes, so the same call continues it: finished batches are
    read, not computed. Raises UsageError before the first question; an attack that fails becomes
    rows of status "error" and the run goes on.
    """
    tell = listen or (lambda event, details: None)
    for case in cases:
        case.check()
    keys = [case.cell_keys(settings.seed, settings.cascade) for case in cases]
    identity = key_of([keys, [case.name for case in cases]])
    record = _begin(Store(out).inner(f"{identity[:6]}-{_slug(cases[0].victim.name)}"), identity, cases, keys, plan)
    header = record.header
    batches = [torch.arange(len(case.data)).split(settings.batch)[settings.shard[0] :: settings.shard[1]] for case in cases]
    total = sum(len(rows) * len(cells) for case, cells in zip(batches, keys, strict=True) for rows in case)
    tell("started", {"record": record.store.url, "total": total, "cases": len(cases)})
    try:
        for case, cells, described, chunks in zip(cases, keys, header["cases"], batches, strict=True):
            tell("case", {"case": case.name})
            if not described["checks"]:
                described["checks"] = [check.describe() for check in examine(case.victim, case.data, case.threat)]
                record.save_header()
            done = {cell: set(record.rows(cell).id) for cell in cells.values()}
            for rows in chunks:
                _evaluate_batch(case, cells, rows, record, done, settings, tell)
        header["status"] = "done" if _complete(record) else "partial"
    except KeyboardInterrupt:
        header["status"] = "interrupted"
        raise
    except Exception as error:
        header.update(status="failed", error=f"{type(error).__name__}: {error}")
        raise
    finally:
        header["ended"] = _now()
        record.save_header()
    tell("ended", {"status": header["status"]})
    return Run(record)


def _evaluate_batch(
    case: Case, cells: dict[str, str], rows: Tensor, record: Record, done: dict[str, set[str]], settings: Settings, tell: Listener
) -> None:
    """All attacks of a case on one batch of samples, each written as soon as it is judged."""
    data, victim = case.data.rows(rows), case.victim
    name = f"part-{int(rows[0]):07d}-{int(rows[-1]):07d}"
    threat = case.threat.take(rows)
    reference = threat.goal.reference(data.y, Dice.of(settings.seed, data.ids), victim.classes)
    already = threat.goal.done(data.y, reference)
    standing = ["the label is the target" if one else "" for one in already.tolist()]
    for attack in (None, *case.attacks):
        said = attack.say() if attack else CLEAN
        cell = cells[said]
        if not set(data.ids) <= done[cell]:
            began = time.monotonic()
            todo = torch.tensor([place for place, note in enumerate(standing) if not note], dtype=torch.int64)
            with victim.session(number_of(f"{settings.seed} {cell} {name}")):
                verdicts, cost = _attack(case, attack, data.rows(todo), threat.take(todo), reference.take(todo), settings.seed)
            columns = _rows_of(data, rows, todo, threat, reference, verdicts, cost, standing, time.monotonic() - began)
            record.add_part(cell, name, columns, _chosen(data.rows(todo), verdicts, POINTS[settings.points]) if attack else None)
        frame = record.rows(cell).set_index("id").loc[data.ids]
        for place, (status, note) in enumerate(zip(frame.status, frame.note, strict=True)):
            fell = status not in STANDS and not standing[place]
            if fell and (settings.cascade or attack is None):
                standing[place] = f"broken by {said}" if attack else "wrong without attack"
        tell("batch", {"case": case.name, "attack": said, "samples": len(data), "fell": int((frame.status == Status.BROKEN).sum())})


def _attack(
    case: Case, attack: Attack | None, data: Data, threat: Threat, reference: Reference, seed: int
) -> tuple[Verdicts, Cost]:
    """Search and judge; an attack that fails for a reason of its own yields verdicts "error"."""
    if attack is None:
        threat = case.clean_threat()
        reference = threat.goal.reference(data.y, Dice.of(seed, data.ids), case.victim.classes)
    bout = Bout.open(case.victim, data.x, reference, threat, Dice.of(seed, data.ids))
    problem = ""
    if attack and len(bout):
        try:
            attack.run(bout)
        except SparringError:
            raise
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
    spent = bout.ledger.spent & ~bout.ledger.broken
    verdicts = judge(case.victim, data.x, bout.best(), reference, threat, spent) if len(bout) else _no_verdicts(data)
    if problem:
        status = [one if one is Status.BROKEN else Status.ERROR for one in verdicts.status]
        verdicts = verdicts._replace(status=status, note=[problem if one is Status.ERROR else "" for one in status])
    return verdicts, bout.ledger.cost


def _no_verdicts(data: Data) -> Verdicts:
    nothing = torch.zeros(0)
    return Verdicts([], data.x, nothing.long(), nothing.double(), nothing.double(), [])


def _rows_of(
    data: Data, rows: Tensor, todo: Tensor, threat: Threat, reference: Reference, verdicts: Verdicts, cost: Cost, standing: list[str], seconds: float
) -> dict[str, list[Any]]:
    """The columns of `records.record.ROW` for one batch; samples not in `todo` are skipped, with the reason."""
    count, place_of = len(data), {place: turn for turn, place in enumerate(todo.tolist())}

    def spread(values: Sequence[Any] | Tensor, otherwise: Any) -> list[Any]:
        listed = values.tolist() if isinstance(values, Tensor) else list(values)
        return [listed[place_of[place]] if place in place_of else otherwise for place in range(count)]

    targeted = reference.sign < 0
    return {
        "id": data.ids,
        "position": rows.tolist(),
        "label": data.y.tolist(),
        "target": [target if hit else None for target, hit in zip(reference.anchor.tolist(), targeted.tolist(), strict=True)],
        "status": [str(one) for one in spread(verdicts.status, Status.SKIPPED)],
        "predicted": spread(verdicts.predicted, None),
        "margin": spread(verdicts.margin, None),
        "size": spread(verdicts.size, None),
        "radius": threat.space.radii(count).tolist(),
        "queries": spread(cost.queries, 0),
        "forwards": spread(cost.forwards, 0),
        "backwards": spread(cost.backwards, 0),
        "seconds": [seconds / max(1, len(todo)) if place in place_of else 0.0 for place in range(count)],
        "note": [standing[place] or note for place, note in enumerate(spread(verdicts.note, ""))],
    }


def _chosen(data: Data, verdicts: Verdicts, most: int) -> Points | None:
    """The points to keep: of the broken ones the smallest and the one in the middle first."""
    broken = [place for place, status in enumerate(verdicts.status) if status is Status.BROKEN]
    others = [place for place, status in enumerate(verdicts.status) if status is not Status.BROKEN]
    ranked = sorted(broken, key=lambda place: float(verdicts.size[place]))
    spread = [ranked[int(turn)] for turn in np.linspace(0, len(ranked) - 1, min(most, len(ranked)))]
    places = sorted({*spread, *(others if most == sys.maxsize else others[: most // 3])})
    if not places:
        return None
    rows, domain = torch.tensor(places), data.domain
    return Points([data.ids[place] for place in places], domain.pack(data.x[rows]), domain.pack(verdicts.points[rows]))


def _begin(store: Store, identity: str, cases: Sequence[Case], keys: list[dict[str, str]], plan: dict[str, Any]) -> Record:
    """The header of a new run, or of the one that is there, marked as running."""
    described = []
    for case, cells in zip(cases, keys, strict=True):
        attacks = {attack.say(): attack.describe() for attack in case.attacks}
        clean = {"name": CLEAN, "settings": {}, "cites": ""}
        described.append(
            {
                "name": case.name,
                "model": case.victim.describe(),
                "data": case.data.describe(),
                "threat": {**case.threat.describe(), "say": case.threat.space.say(), "say_short": case.threat.space.short()},
                "checks": [],
                "cells": [{"key": key, "attack": {**attacks.get(said, clean), "say": said}} for said, key in cells.items()],
            }
        )
    record = Record(store, {})
    header = {"schema": 1, "id": identity, "status": "running", "started": _now(), "ended": None, "resumed": 0}
    if store.exists("run.json"):
        old = Record.open(store.url).header
        header.update(started=old["started"], resumed=old["resumed"] + 1)
        for new, known in zip(described, old["cases"], strict=True):
            new["checks"] = known["checks"]
    header.update(command=" ".join(sys.argv), plan=plan, environment=environment(), cases=described, gate=[], warnings=[])
    record.header = header
    record.save_header()
    return record


def finish(record: Record) -> None:
    """Write whether all rows of all cells are there."""
    record.header["status"] = "done" if _complete(record) else "partial"
    record.save_header()


def _complete(record: Record) -> bool:
    return all(len(record.rows(cell["key"])) == case["data"]["n"] for case in record.header["cases"] for cell in case["cells"])


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name.lower()).strip("-")[:40] or "run"


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
