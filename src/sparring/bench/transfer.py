"""Transfer matrix: points found on one network, put to another, on the samples that every network gets right."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from sparring.attacks.attack import Attack
from sparring.attacks.evasion.transfer.transfer import Transfer
from sparring.bench.case import Case, Settings, code_of
from sparring.bench.evaluate import Listener, carry_out
from sparring.bench.run import Run
from sparring.bench.sets import read_attack
from sparring.core.bout import Bout
from sparring.core.dice import Dice
from sparring.core.errors import InputError, PlanError
from sparring.core.threat import Budget, Threat
from sparring.core.victim import Victim
from sparring.data.dataset import Data
from sparring.metrics.rate import Rate
from sparring.records.store import Store

Source = Victim | Sequence[Victim]
"""A network to take gradients from, or several together."""


class Cell(NamedTuple):
    """One attack from one source against one target. rate: share broken, with its Wilson interval. errors: points without a
    verdict, counted as not broken. own: the target is the source, or one of them, so this is no transfer."""

    attack: str
    source: str
    target: str
    rate: Rate
    errors: int
    own: bool


@dataclass(frozen=True)
class TransferMatrix:
    """cells: one for every attack, source and target. n: samples that every network gets right, to which all rates refer.
    asked: samples in the data. run: the record behind it, with one case a target."""

    cells: tuple[Cell, ...]
    n: int
    asked: int
    run: Run

    def table(self) -> pd.DataFrame:
        """One row a cell: attack, source, target, rate, low, high, n, errors, own."""
        rows = [
            {"attack": one.attack, "source": one.source, "target": one.target, "rate": one.rate.value, "low": one.rate.low, "high": one.rate.high,
             "n": one.rate.n, "errors": one.errors, "own": one.own} for one in self.cells
        ]  # fmt: skip
        return pd.DataFrame(rows)

    def rate(self, attack: str, source: str, target: str) -> Rate:
        """The rate of one cell."""
        for one in self.cells:
            if (one.attack, one.source, one.target) == (attack, source, target):
                return one.rate
        known = "; ".join(f"{one.attack} from {one.source} to {one.target}" for one in self.cells[:6])
        raise InputError(f"no cell {attack} from {source} to {target}: there are {known} ...")

    def save(self, folder: str | os.PathLike[str]) -> str:
        """Copy the record to a folder or fsspec URL, with the table as transfer.csv; `Run.open` reads it. Returns where."""
        store, record = Store(folder), self.run.record
        for cell in record.store.names("cells"):
            for inner in (f"cells/{cell}", f"cells/{cell}/points"):
                for name in record.store.names(inner):
                    if name.endswith((".parquet", ".npz")):
                        store.write(f"{inner}/{name}", record.store.read(f"{inner}/{name}"))
        store.write("transfer.csv", self.table().to_csv(index=False).encode())
        store.write("run.json", record.store.read("run.json"))
        return store.url

    def report(self, path: str | os.PathLike[str] | None = None) -> str:
        """Write the report, one offline HTML file; by default report.html in the folder of the run. Returns its path."""
        return self.run.report(path)


def transfer_matrix(
    sources: Sequence[Source], targets: Sequence[Victim], data: Data, threat: Threat, attacks: Sequence[str | Attack] = ("transfer",), *,
    seed: int = 0, batch: int = 250, out: str | os.PathLike[str] = "runs", listen: Listener | None = None,
) -> TransferMatrix:  # fmt: skip
    """Attack every source, put the points to every target, and let the judge decide; the same call continues an interrupted one.

    sources: victims that expose what the attacks need, or lists of victims for an ensemble. targets: victims of any
    kind; each is asked for its label once a point. data: samples that all of them take; only those that every network gets
    right are attacked and counted. threat: its access and budget are the target's; what is asked of a source is free.
    attacks: as in a plan, "pgd(steps=20)" or 'transfer(changes="mi+di")', without a surrogate: the source is it. Attacks
    other than `transfer` end when they broke the source, which is early for points that are to travel.
    seed, batch: as in `evaluate`. out: folder or URL under which the run folder is made, "memory://here" for none on disk.

    Raises UsageError before the first point is looked for.
    """
    groups = [_group(one) for one in sources]
    victims = _all_victims(groups, targets, data)
    chosen = [read_attack(one) if isinstance(one, str) else one for one in attacks]
    if not chosen:
        raise PlanError("a transfer matrix needs at least one attack")
    crafted = [_crafted(attack, group, threat) for attack in chosen for group in groups]
    said = [one.say() for one in crafted]
    if twice := {one for one in said if said.count(one) > 1}:
        raise PlanError(f"{twice.pop()} stands twice: give every source a name of its own, sp.victim(..., name=...)")
    right = _right_everywhere(victims, data, threat, seed)
    if not bool(right.any()):
        raise InputError(f"none of the {len(data)} samples is right on all of {', '.join(one.name for one in victims)}: no transfer can be counted")
    common = data if bool(right.all()) else data.rows(right.nonzero().squeeze(1))
    seen = threat.seeing("labels").take(right.nonzero().squeeze(1))
    names = [f"{target.name} · {threat.space.short()}" for target in targets]
    cases = [Case(name, target, common, seen, tuple(crafted)) for name, target in zip(names, targets, strict=True)]
    plan = {"transfer_matrix": {"sources": ["+".join(one.name for one in group) for group in groups], "targets": [one.name for one in targets],
            "attacks": [one.say() for one in chosen]}, "seed": seed, "batch": batch}  # fmt: skip
    run = carry_out(cases, out, plan, Settings(seed, batch, cascade=False), listen)
    about = [
        {"attack": one.inner.say(), "source": one.origin, "target": target.name, "case": name, "say": one.say(),
         "own": any(part.fingerprint == target.fingerprint for part in one.sources)}
        for one in crafted for name, target in zip(names, targets, strict=True)
    ]  # fmt: skip
    run.record.header["transfer"] = {"n": len(common), "asked": len(data), "networks": [one.name for one in victims], "cells": about}
    run.record.save_header()
    return TransferMatrix(_cells(run, about), len(common), len(data), run)


@dataclass(frozen=True)
class Crafted(Attack):
    """Points that an attack finds on its sources, put to the victim once, for a label. They are found once per sample, whoever asks."""

    sources: tuple[Victim, ...] = ()
    inner: Attack = field(default=None)  # type: ignore[assignment]
    found: dict[str, Tensor] = field(default_factory=dict, compare=False, repr=False)

    @property
    def origin(self) -> str:
        return "+".join(one.name for one in self.sources)

    def say(self) -> str:
        return f"{self.inner.say()} on {self.origin}"

    def describe(self) -> dict[str, Any]:
        hashes = [{"name": one.name, "sha256": one.fingerprint} for one in self.sources]
        return {**self.inner.describe(), "sources": hashes, "code": code_of(self.inner)}

    def run(self, bout: Bout) -> Tensor:
        keys = [_key(bout, row) for row in range(len(bout))]
        rows = torch.tensor([row for row, key in enumerate(keys) if key not in self.found], dtype=torch.int64, device=bout.rows.device)
        if len(rows):
            for row, point in zip(rows.tolist(), self._search(bout, rows), strict=True):
                self.found[keys[row]] = point
        bout.labels(torch.stack([self.found[key] for key in keys]).to(bout.x))
        return bout.best()

    def _search(self, bout: Bout, rows: Tensor) -> Tensor:
        """The points found on the sources for these rows; nothing of it is charged to the victim."""
        source, part = self.sources[0], bout.take(rows)
        threat = replace(bout.threat.take(part.rows), access="gradients", budget=Budget())
        with source.session():
            return on_sources(self.inner, self.sources).run(Bout.open(source, part.x, part.reference, threat, part.dice))


def on_sources(attack: Attack, sources: tuple[Victim, ...]) -> Attack:
    """The attack with the sources in the place of its surrogate, where it takes one."""
    return replace(attack, surrogates=sources, needs=frozenset({"labels"})) if isinstance(attack, Transfer) else attack


def _key(bout: Bout, row: int) -> str:
    """What the point of a row depends on: input, goal, radius and dice."""
    parts = [bout.x[row], bout.dice.keys[row], *(part[row] for part in bout.reference), bout.threat.space.radii(len(bout.ledger.margin))[int(bout.rows[row])]]
    return hashlib.sha256(b"".join(part.detach().cpu().contiguous().numpy().tobytes() for part in parts)).hexdigest()


def _group(source: Source) -> tuple[Victim, ...]:
    group: tuple[Victim, ...] = (source,) if isinstance(source, Victim) else tuple(source)
    if not group or not all(isinstance(one, Victim) for one in group):
        raise InputError(f"a source is a victim, sp.victim(model, domain), or a list of them; got {source!r}"[:200])
    return group


def _all_victims(groups: Sequence[tuple[Victim, ...]], targets: Sequence[Victim], data: Data) -> list[Victim]:
    """Every network once. InputError where one does not take the data, or two have one name."""
    if not groups or not targets:
        raise InputError(f"a transfer matrix needs sources and targets; got {len(groups)} and {len(targets)}")
    if not all(isinstance(one, Victim) for one in targets):
        raise InputError("the targets are victims: wrap models with sp.victim(model, domain)")
    found: dict[str, Victim] = {}
    for one in [*(victim for group in groups for victim in group), *targets]:
        found.setdefault(one.fingerprint, one)
        one.domain.check(data.x)
        if one.classes != targets[0].classes:
            raise InputError(
                f"{one.name} has {one.classes} classes, {targets[0].name} has {targets[0].classes}: the networks must agree on what they tell apart"
            )
    if len({one.fingerprint for one in targets}) < len(targets):
        raise InputError(f"a target is listed twice: {', '.join(one.name for one in targets)}")
    names = [one.name for one in found.values()]
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(f"two networks are called {twice.pop()!r}: give each a name of its own, sp.victim(model, domain, name=...)")
    if not isinstance(data.x, Tensor):
        raise InputError(f"a transfer matrix needs inputs that are numbers; the data is {data.domain.say()}")
    return list(found.values())


def _crafted(attack: Attack, group: tuple[Victim, ...], threat: Threat) -> Crafted:
    """The attack on these sources, checked."""
    first = group[0]
    if isinstance(attack, Transfer) and (attack.surrogates or attack.settings.get("surrogate")):
        raise PlanError(f"{attack.say()} brings its own surrogate: leave it out, in a matrix the sources are the surrogates")
    if len(group) > 1 and not isinstance(attack, Transfer):
        raise PlanError(f"{attack.name} works on one network, {' and '.join(one.name for one in group)} are {len(group)}: use transfer for an ensemble")
    on_sources(attack, group).check(first, threat.seeing("gradients"))
    return Crafted(attack.name, attack.search, frozenset({"labels"}), frozenset(), attack.cites, attack.control, sources=group, inner=attack)


def _right_everywhere(victims: Sequence[Victim], data: Data, threat: Threat, seed: int) -> Tensor:
    """bool [n]: right on every network as deployed, and not at the goal of the threat already."""
    reference = threat.goal.reference(data.y, Dice.of(seed, data.ids, data.y.device), victims[0].classes)
    right = torch.ones(len(data), dtype=torch.bool)
    for one in victims:
        with one.session():
            labels = torch.cat([one.label(one.domain.deploy(part, part)) for part in data.x.split(500)])
        right &= ((labels == data.y) & ~threat.goal.done(labels, reference)).cpu()
    return right


def _cells(run: Run, about: Sequence[dict[str, Any]]) -> tuple[Cell, ...]:
    counts = run.table().groupby(["case", "attack"]).status.value_counts()
    found = []
    for one in about:
        here: Any = counts.get((one["case"], one["say"]), pd.Series(dtype=int))
        n = int(here.drop("skipped", errors="ignore").sum())
        found.append(Cell(one["attack"], one["source"], one["target"], Rate.of(int(here.get("broken", 0)), n), int(here.get("error", 0)), one["own"]))
    return tuple(found)
