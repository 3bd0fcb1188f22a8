"""Transfer matrix: points found on one network and evaluated on another."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from sparring.aims.case import Settings
from sparring.aims.evasion.case import EvasionCase
from sparring.attacks.attack import Attack, read_attack
from sparring.attacks.evasion.transfer.transfer import Transfer
from sparring.attacks.loop import iterate
from sparring.bench.evaluate import carry_out
from sparring.bench.run import Run
from sparring.core.code import code_of
from sparring.core.domain import Domain
from sparring.core.errors import InputError, PlanError
from sparring.core.events import Listener
from sparring.core.problem import Problem
from sparring.core.rate import Rate
from sparring.core.rng import Rng
from sparring.core.threat import Budget, Threat
from sparring.core.victim import Victim
from sparring.data.dataset import Data
from sparring.models.wanted import listed_of, victim_of
from sparring.records.store import Store
from sparring.tasks.classes import of_classes

Source = Victim | Sequence[Victim]
"""A network to take gradients from, or several together."""


class Cell(NamedTuple):
    """Hold one attack from one source against one target.

    Attributes:
        attack: The attack as written.
        source: The name of the source.
        target: The name of the target.
        rate: Share broken, with its Wilson interval.
        errors: Points without a verdict, counted as not broken.
        own: Whether the target is the source, or one of them, so that this is no transfer.
    """

    attack: str
    source: str
    target: str
    rate: Rate
    errors: int
    own: bool


@dataclass(frozen=True)
class TransferMatrix:
    """Hold how often each attack from each source breaks each target.

    Attributes:
        cells: One for every attack, source and target.
        n: Samples that every network gets right, to which all rates refer.
        asked: Samples in the data.
        run: The record behind it, with one case per target.
    """

    cells: tuple[Cell, ...]
    n: int
    asked: int
    run: Run

    def table(self) -> pd.DataFrame:
        """Return one row per cell: attack, source, target, rate, low, high, n, errors, own."""
        rows = [
            {"attack": one.attack, "source": one.source, "target": one.target, "rate": one.rate.value, "low": one.rate.low, "high": one.rate.high,
             "n": one.rate.n, "errors": one.errors, "own": one.own} for one in self.cells
        ]  # fmt: skip
        return pd.DataFrame(rows)

    def rate(self, attack: str, source: str, target: str) -> Rate:
        """Return the rate of one cell."""
        for one in self.cells:
            if (one.attack, one.source, one.target) == (attack, source, target):
                return one.rate
        known = "; ".join(f"{one.attack} from {one.source} to {one.target}" for one in self.cells[:6])
        raise InputError(f"no cell {attack} from {source} to {target}; the cells include {known} ...")

    def save(self, folder: str | os.PathLike[str]) -> str:
        """Copy the record to a folder or fsspec URL, with the table as transfer.csv.

        `Run.open` reads it. Returns the folder or URL.
        """
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
        """Write the report, one offline HTML file, and return its path.

        By default it is report.html in the folder of the run.
        """
        return self.run.report(path)


def transfer_matrix(
    sources: Sequence[Source], targets: Sequence[Victim], data: Data, threat: Threat, attacks: Sequence[str | Attack] = ("transfer",), *,
    seed: int = 0, batch: int = 250, out: str | os.PathLike[str] = "runs", listen: Listener | None = None,
) -> TransferMatrix:  # fmt: skip
    """Attack every source, evaluate the points on every target, and let the judge decide.

    The same call continues an interrupted run.

    Args:
        sources: Victims that expose what the attacks need, or lists of victims for an ensemble.
        targets: Victims of any kind; each is asked for its label once per point.
        data: Samples that all of them take; only those that every network gets right are attacked and counted.
        threat: Its access and budget are the target's; queries to a source are free.
        attacks: As in a plan, "pgd(steps=20)" or 'transfer(changes="mi+di")', without a surrogate: the source takes its place. Attacks
            other than `transfer` end when they broke the source, which is early for points that are to travel.
        seed: As in `evaluate`.
        batch: As in `evaluate`.
        out: Folder or URL under which the run folder is made, "memory://here" for none on disk.
        listen: Called with (event, details).

    Returns:
        A `TransferMatrix` with one cell for every attack, source and target.

    Raises:
        UsageError: before the first point is looked for, where something does not fit.
    """
    groups = [_group(one, data.domain) for one in sources]
    targets = [victim_of(one, data.domain, "a target") for one in targets]
    victims = _all_victims(groups, targets, data)
    chosen = [read_attack(one) if isinstance(one, str) else one for one in attacks]
    if not chosen:
        raise PlanError("a transfer matrix needs at least one attack")
    crafted = [_crafted(attack, group, threat) for attack in chosen for group in groups]
    said = [str(one) for one in crafted]
    if twice := {one for one in said if said.count(one) > 1}:
        raise PlanError(f"two sources are called {twice.pop()}: give every source its own name, sp.victim(..., name=...)")
    right = _right_everywhere(victims, data, threat, seed)
    if not bool(right.any()):
        raise InputError(f"none of the {len(data)} samples is classified correctly by all of {', '.join(one.name for one in victims)}: use other samples")
    common = data if bool(right.all()) else data.rows(right.nonzero().squeeze(1))
    seen = threat.seeing("labels").take(right.nonzero().squeeze(1))
    names = [f"{target.name} · {threat.space.label}" for target in targets]
    cases = [EvasionCase(name, target, common, seen, tuple(crafted)) for name, target in zip(names, targets, strict=True)]
    plan = {"transfer_matrix": {"sources": ["+".join(one.name for one in group) for group in groups], "targets": [one.name for one in targets],
            "attacks": [str(one) for one in chosen]}, "seed": seed, "batch": batch}  # fmt: skip
    run = carry_out(cases, out, plan, Settings(seed, batch, cascade=False), listen)
    about = [
        {"attack": str(one.inner), "source": one.origin, "target": target.name, "case": name, "say": str(one),
         "own": any(part.fingerprint == target.fingerprint for part in one.sources)}
        for one in crafted for name, target in zip(names, targets, strict=True)
    ]  # fmt: skip
    run.record.header["transfer"] = {"n": len(common), "asked": len(data), "networks": [one.name for one in victims], "cells": about}
    run.record.save_header()
    return TransferMatrix(_cells(run, about), len(common), len(data), run)


@dataclass(frozen=True)
class Crafted(Attack):
    """Evaluate points that an attack finds on its sources once on the victim.

    They are found once per sample, whoever asks.
    """

    sources: tuple[Victim, ...] = ()
    inner: Attack = field(default=None)  # type: ignore[assignment]
    found: dict[str, Tensor] = field(default_factory=dict, compare=False, repr=False)

    @property
    def origin(self) -> str:
        """Return the names of the sources, joined by +."""
        return "+".join(one.name for one in self.sources)

    def __str__(self) -> str:
        return f"{self.inner} on {self.origin}"

    def describe(self) -> dict[str, Any]:
        hashes = [{"name": one.name, "sha256": one.fingerprint} for one in self.sources]
        return {**self.inner.describe(), "sources": hashes, "code": code_of(self.inner, iterate, Problem)}

    def run(self, problem: Problem) -> Tensor:
        keys = [_key(problem, row) for row in range(len(problem))]
        rows = torch.tensor([row for row, key in enumerate(keys) if key not in self.found], dtype=torch.int64, device=problem.rows.device)
        if len(rows):
            for row, point in zip(rows.tolist(), self._search(problem, rows), strict=True):
                self.found[keys[row]] = point
        problem.answers(torch.stack([self.found[key] for key in keys]).to(problem.x))
        return problem.best()

    def _search(self, problem: Problem, rows: Tensor) -> Tensor:
        """Return the points found on the sources for these rows, at no cost to the victim."""
        source, part = self.sources[0], problem.take(rows)
        threat = replace(problem.threat.take(part.rows), access="gradients", budget=Budget())
        with source.session():
            return on_sources(self.inner, self.sources).run(Problem.open(source, part.x, part.criterion, threat, part.rng))


def on_sources(attack: Attack, sources: tuple[Victim, ...]) -> Attack:
    """Return the attack with the sources as its surrogate, if it takes one."""
    return replace(attack, surrogates=sources, needs=frozenset({"labels"})) if isinstance(attack, Transfer) else attack


def _key(problem: Problem, row: int) -> str:
    """Return everything that decides the point of a row: input, goal, radius and rng."""
    parts = [
        problem.x[row],
        problem.rng.keys[row],
        *(part[row] for part in of_classes(problem.criterion)),
        problem.threat.space.radii(len(problem.ledger.loss))[int(problem.rows[row])],
    ]
    return hashlib.sha256(b"".join(part.detach().cpu().contiguous().numpy().tobytes() for part in parts)).hexdigest()


def _group(source: Any, domain: Domain) -> tuple[Victim, ...]:
    """A source, one victim or several that are attacked together. A pair (model, domain) is one victim."""
    group = tuple(victim_of(one, domain, "a source") for one in listed_of(source))
    if not group:
        raise InputError("a source is an empty list: give a victim, sp.victim(model, domain), or a list of victims")
    return group


def _all_victims(groups: Sequence[tuple[Victim, ...]], targets: Sequence[Victim], data: Data) -> list[Victim]:
    """Every network once. InputError where one does not take the data, or two have one name."""
    if not groups or not targets:
        raise InputError(f"a transfer matrix needs sources and targets, got {len(groups)} and {len(targets)}")
    found: dict[str, Victim] = {}
    for one in [*(victim for group in groups for victim in group), *targets]:
        found.setdefault(one.fingerprint, one)
        one.domain.check(data.x)
        if one.classes != targets[0].classes:
            raise InputError(f"{one.name} has {one.classes} classes, {targets[0].name} has {targets[0].classes}: use networks with the same classes")
    if len({one.fingerprint for one in targets}) < len(targets):
        raise InputError(f"a target is listed twice: {', '.join(one.name for one in targets)}")
    names = [one.name for one in found.values()]
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(f"two networks are called {twice.pop()!r}: give each its own name, sp.victim(model, domain, name=...)")
    if not isinstance(data.x, Tensor):
        raise InputError(f"a transfer matrix needs numerical inputs, the data is {data.domain}")
    return list(found.values())


def _crafted(attack: Attack, group: tuple[Victim, ...], threat: Threat) -> Crafted:
    """Return the attack on these sources, after checks."""
    first = group[0]
    if isinstance(attack, Transfer) and (attack.surrogates or attack.settings.get("surrogate")):
        raise PlanError(f"{attack} names its own surrogate: leave it out, because the sources of a matrix are the surrogates")
    if len(group) > 1 and not isinstance(attack, Transfer):
        raise PlanError(f"{attack.name} attacks one network, the source {' and '.join(one.name for one in group)} has {len(group)}: use transfer")
    on_sources(attack, group).check(first, threat.seeing("gradients"))
    return Crafted(attack.name, attack.search, frozenset({"labels"}), frozenset(), attack.cites, attack.control, sources=group, inner=attack)


def _right_everywhere(victims: Sequence[Victim], data: Data, threat: Threat, seed: int) -> Tensor:
    """bool [n]: right on every network as deployed, and not at the goal of the threat already."""
    criterion = threat.goal.freeze(data.y, victims[0].task, Rng.of(seed, data.ids, data.y.device))
    right = torch.ones(len(data), dtype=torch.bool)
    for one in victims:
        with one.session():
            labels = torch.cat([one.label(one.domain.deploy(part, part)) for part in data.x.split(500)])
        right &= ((labels == data.y) & ~criterion.met(labels)).cpu()
    return right


def _cells(run: Run, about: Sequence[dict[str, Any]]) -> tuple[Cell, ...]:
    counts = run.table().groupby(["case", "attack"]).status.value_counts()
    found = []
    for one in about:
        here: Any = counts.get((one["case"], one["say"]), pd.Series(dtype=int))
        n = int(here.drop("skipped", errors="ignore").sum())
        found.append(Cell(one["attack"], one["source"], one["target"], Rate.of(int(here.get("broken", 0)), n), int(here.get("error", 0)), one["own"]))
    return tuple(found)
