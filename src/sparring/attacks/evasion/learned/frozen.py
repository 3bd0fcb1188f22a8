"""Tensors learned across samples, frozen, with a hash and a file, and the attack that holds them."""

import json
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Set
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from sparring.attacks.attack import Attack
from sparring.core.domain import Batch, Domain
from sparring.core.errors import InputError, LoadError, NeedsError, PlanError
from sparring.core.fingerprint import digest
from sparring.core.goal import Criterion
from sparring.core.problem import Problem
from sparring.core.registry import find
from sparring.core.rng import Rng
from sparring.core.task import Task
from sparring.core.threat import Threat
from sparring.core.victim import Victim, say_set

HEADER = "sparring"
"""Key of the description in the header of a file."""


class Fooled(NamedTuple):
    """Hold a fooling rate.

    hits: samples that met the goal. n: samples that were right without attack and did not meet it already.
    """

    hits: int
    n: int

    @property
    def value(self) -> float:
        """Return the share in [0, 1]; NaN of none."""
        return self.hits / self.n if self.n else math.nan

    def __str__(self) -> str:
        return f"{self.value:.1%} of {self.n}"


@dataclass(frozen=True, eq=False)
class Frozen(ABC):
    """Hold what was learned across samples, frozen.

    tensors: what was learned, by name. about: plain JSON that says how and on what, with the shares fooled.

    trained, held_out: share of the samples that were right without attack and are not any more (or reach the target),,
    of what was trained on and of what was not; one try a sample.
    """

    tensors: dict[str, Tensor]
    about: dict[str, Any]

    kind: ClassVar[str]

    @cached_property
    def sha256(self) -> str:
        """Return a hash of everything that decides the points."""
        return digest(
            self.kind, json.dumps(self.about, sort_keys=True), *(part for name in sorted(self.tensors) for part in (name, *_bytes(self.tensors[name])))
        )

    @property
    def trained(self) -> Fooled:
        """Return the share fooled of the samples trained on."""
        return Fooled(*self.about["trained"])

    @property
    def held_out(self) -> Fooled:
        """Return the share fooled of the samples held out."""
        return Fooled(*self.about["held_out"])

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it to a safetensors file; `load` of the same class reads it."""
        where = Path(path)
        header = {HEADER: json.dumps({"kind": self.kind, **self.about}, sort_keys=True)}
        where.write_bytes(safetensors.torch.save({name: one.detach().cpu().contiguous() for name, one in self.tensors.items()}, header))
        return where

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote. Raises LoadError for anything else."""
        try:
            with safetensors.safe_open(str(path), framework="pt") as file:  # type: ignore[no-untyped-call]
                about = json.loads((file.metadata() or {}).get(HEADER, "{}"))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        except (safetensors.SafetensorError, OSError, ValueError) as error:
            raise LoadError(f"{path} cannot be read as a safetensors file: {error}") from error
        kind = about.pop("kind", None) if isinstance(about, dict) else None
        if kind != cls.kind:
            raise LoadError(f"{path} holds {f'a learned {kind}' if kind else 'nothing that was learned here'}, not a learned {cls.kind}")
        return cls(tensors, about)

    def misfit(self, victim: Victim, threat: Threat) -> str | None:
        """Return why what was learned says nothing about this victim under this threat.

        None where it may.
        """
        if self.about["domain"] != describe_domain(victim.domain):
            return f"this {self.kind} was learned for other inputs than those of {victim.name} ({victim.domain}): learn one for these"
        task = task_of(self.about)
        if (task.kind, task.score_shape) != (victim.task.kind, victim.task.score_shape):
            return f"this {self.kind} was learned for {task}, {victim.name} answers {victim.task}: learn one for these"
        if self.about["threat"]["space"]["kind"] != threat.space.kind:
            return f"this {self.kind} was learned under {self.about['threat']['space']['kind']}, the threat is {threat.space.kind}: learn one for it"
        return None

    @abstractmethod
    def attack(self) -> "Carrier":
        """Return the attack that applies it, sample by sample."""

    def rate(self, victim: Victim, x: Any, y: Any, threat: Threat, *, seed: int = 0, **settings: Any) -> Fooled:
        """Return the share of initially right samples that meet the goal under `attack(**settings)`.

        seed: of the rng of the attack. Samples whose label is the target do not count.
        """
        return fooled(self.attack().configure(**settings), victim, x, y, threat, seed)


@dataclass(frozen=True)
class Carrier(Attack):
    """Represent an attack that applies something frozen by search(problem, learned, **settings)."""

    learned: Frozen | None = None

    @cached_property
    def defaults(self) -> dict[str, Any]:
        return {name: value for name, value in Attack.defaults.func(self).items() if name != "learned"}

    def run(self, problem: Problem) -> Batch:
        def search(own: Problem, **settings: Any) -> Batch:
            return self.search(own, self.learned, **settings)

        return Attack(self.name, search, self.needs, self.uses, self.cites, self.control, self.tasks, self.settings).run(problem)

    def misfit(self, victim: Victim, threat: Threat) -> str | None:
        found = super().misfit(victim, threat)
        return found or (self.learned.misfit(victim, threat) if self.learned else None)

    def check(self, victim: Victim, threat: Threat) -> None:
        if complaint := self.misfit(victim, threat):
            raise NeedsError(complaint)

    def __str__(self) -> str:
        """Return the attack as written in a plan, with the first digits of the hash, which tells differently trained ones apart."""
        told = {"sha256": self.learned.sha256[:10] if self.learned else "", **self.settings}
        return f"{self.name}({', '.join(f'{name}={value!r}' for name, value in told.items())})"

    def describe(self) -> dict[str, Any]:
        """Return the description of every attack, with the hash and origin of what was learned."""
        return {**super().describe(), "learned": {"sha256": self.learned.sha256, **self.learned.about} if self.learned else {}}


class Lesson:
    """Hold samples to learn from, checked and split into those trained on and those held out.

    Rows are those that are right without attack and do not meet the goal already; the others teach nothing.
    """

    def __init__(self, victim: Victim, x: Any, y: Any, threat: Threat, held_out: float, seed: int, tasks: Set[str] = frozenset()):
        if tasks and victim.task.kind not in tasks:
            raise NeedsError(f"this is learned for {say_set(frozenset(tasks))}; {victim.name} answers {victim.task}: try sp.universal, which fits every task")
        if not 0 <= held_out < 1:
            raise PlanError(f"held_out={held_out}: give the share of samples not to be trained on, at least 0 and below 1")
        if isinstance(threat.space.radius, Tensor):
            raise PlanError("one thing is learned for all samples: give the threat one radius")
        self.x = victim.domain.check(x)
        if not isinstance(self.x, Tensor):
            raise NeedsError(f"learning needs inputs that are numbers; {victim.name} takes {victim.domain}")
        self.y = victim.task.check(y, len(self.x)).to(self.x.device)
        self.victim, self.threat, self.seed = victim, threat, seed
        self.rng = Rng.of(seed, range(len(self.x)), self.x.device)
        self.criterion: Criterion = threat.goal.freeze(self.y, victim.task, self.rng)
        order = torch.randperm(len(self.x), generator=torch.Generator().manual_seed(seed)).to(self.x.device)
        held = round(held_out * len(self.x))
        self.held = order[:held].sort().values
        with victim.session(seed):
            good = victim.task.right(victim.answer(self.x), self.y) & ~self.criterion.met(victim.task.as_answer(self.y))
        rows = order[held:]
        self.rows = rows[good[rows]].sort().values
        if not len(self.rows):
            raise InputError("no sample to learn from: none of those trained on is right without attack and away from the target")

    def batches(self, size: int, generator: torch.Generator) -> list[Tensor]:
        """Return the rows to train on in a new order, in pieces."""
        return list(self.rows[torch.randperm(len(self.rows), generator=generator).to(self.rows.device)].split(max(size, 1)))

    def region(self, rows: Tensor) -> Any:
        """Return the region of these rows."""
        return self.threat.space.around(self.x[rows], self.victim.domain)

    def refer(self, rows: Tensor) -> Criterion:
        """Return the criterion of these rows."""
        return self.criterion.take(rows)

    def about(self, **more: Any) -> dict[str, Any]:
        """Return where it was learned, for the record."""
        packed = (self.x.detach().cpu().contiguous().numpy().tobytes(), self.y.cpu().numpy().tobytes())
        return {
            "domain": describe_domain(self.victim.domain),
            **({"classes": self.victim.classes} if self.victim.task.kind == "classes" else {"task": self.victim.task.describe()}),
            "threat": self.threat.describe(),
            "victim": {"name": self.victim.name, "sha256": self.victim.fingerprint},
            "samples": {"n": len(self.x), "held_out": len(self.held), "sha256": digest(*packed)},
            "seed": self.seed,
            **more,
        }

    def graded(self, made: Frozen, most: int | None = None) -> Any:
        """Return the same with its shares fooled written into `about`.

        They are of the rows trained on and of those held out, the first `most` of each.
        """
        counts = {}
        for name, rows in (("trained", self.rows), ("held_out", self.held)):
            rows = rows[:most]
            threat = self.threat.take(rows)
            counts[name] = list(fooled(made.attack(), self.victim, self.x[rows], self.y[rows], threat, self.seed)) if len(rows) else [0, 0]
        return replace(made, about={**made.about, **counts})


def fooled(attack: Attack, victim: Victim, x: Any, y: Any, threat: Threat, seed: int) -> Fooled:
    """Return how many samples that are right without the attack it fools, by the deployed model."""
    x = victim.domain.check(x)
    y = victim.task.check(y, len(x)).to(x.device)
    rng = Rng.of(seed, range(len(x)), x.device)
    points = victim.domain.deploy(attack(victim, x, y, threat, rng), x)
    criterion, region = threat.goal.freeze(y, victim.task, rng), threat.space.around(x, victim.domain)
    with victim.session(seed):
        counts = victim.task.right(victim.answer(x), y) & ~criterion.met(victim.task.as_answer(y))
        hit = criterion.met(victim.answer(points)) & region.inside(points) & counts
    return Fooled(int(hit.sum()), int(counts.sum()))


def task_of(about: dict[str, Any]) -> Task:
    """Return the task for which something was learned, from its description."""
    described = about["task"] if "task" in about else {"kind": "classes", "classes": about["classes"]}
    return find("task", described["kind"]).restore(described)


def describe_domain(domain: Domain) -> dict[str, Any]:
    """Return the kind of the inputs, whatever form they are deployed in."""
    return {name: value for name, value in domain.describe().items() if name != "deployed"}


def _bytes(tensor: Tensor) -> tuple[str, bytes]:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return f"{tensor.dtype} {tuple(tensor.shape)}", flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
