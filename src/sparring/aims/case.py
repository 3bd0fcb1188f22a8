"""The interface between the loop of a run and what an aim measures: cases, their cells, and what is on record of them."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

from sparring.aims.rows import Columns
from sparring.attacks.attack import BATCH
from sparring.core.errors import PlanError
from sparring.core.events import Listener
from sparring.records.record import Points, Record

POINTS = {"none": 0, "gallery": 6, "all": sys.maxsize}
"""How many broken (and as many standing) points each batch keeps."""

Known = dict[str, tuple[str, str]]
"""(status, note) of the units of a cell that are done, by id."""


@dataclass(frozen=True)
class Settings:
    """Say how a run is carried out.

    Attributes:
        seed: Of all random draws.
        batch: Units handled together.
        cascade: Whether an attack sees only what the earlier ones left standing.
        points: Which adversarial inputs to keep: "none", "gallery" or "all".
        shard: (k, n): do every n-th batch beginning with the k-th, counted from 0.
        self_check: Whether to re-evaluate adaptively where a check of the model fails (`diagnosis.reevaluate`).
    """

    seed: int = 0
    batch: int = BATCH
    cascade: bool = True
    points: str = "gallery"
    shard: tuple[int, int] = (0, 1)
    self_check: bool = True

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise PlanError(f"batch={self.batch}: give at least 1")
        if self.points not in POINTS:
            raise PlanError(f"points={self.points!r}: choose one of {', '.join(POINTS)}")
        if not 0 <= self.shard[0] < self.shard[1]:
            raise PlanError(f"shard {self.shard[0] + 1}/{self.shard[1]}: the first number must lie between 1 and {self.shard[1]}")


class Cell(NamedTuple):
    """Hold one method in one case.

    say: the method as it is written in a plan. key: address of its rows. about: plain JSON of the method.
    """

    say: str
    key: str
    about: dict[str, Any]


@dataclass(frozen=True)
class Progress:
    """Hold what is on record of one case, and put more there.

    Attributes:
        record: The record of the run.
        cells: All cells of the case by the method as it is written.
        settings: How the run is carried out.
        tell: Listens to what is done.
        known: Per key of a cell what became of the units that are done.
    """

    case: str
    record: Record
    cells: dict[str, Cell]
    settings: Settings
    tell: Listener
    known: dict[str, Known] = field(default_factory=dict)

    def of(self, said: str) -> Known:
        """Return what is known of a cell, by id."""
        key = self.cells[said].key
        if key not in self.known:
            self.known[key] = self.record.known(key)
        return self.known[key]

    def lacks(self, said: str, ids: Sequence[str]) -> bool:
        """Return whether any of these units is not on record in a cell."""
        known = self.of(said)
        return not all(one in known for one in ids)

    def keep(self, said: str, part: str, columns: Columns, points: Points | None = None) -> None:
        """Write the rows of one batch of a cell under the name of the batch.

        columns: as `rows.skipped` and `rows.fill` make them.
        """
        self.record.add_part(self.cells[said].key, part, columns, points)
        self.of(said).update(zip(columns["id"], zip(columns["status"], columns["note"], strict=True), strict=True))

    def done(self, said: str, samples: int, fell: int) -> None:
        """Report that a batch of a cell is on record."""
        self.tell("batch", {"case": self.case, "attack": said, "samples": samples, "fell": fell})


class Case(ABC):
    """Represent one subject under one threat, for one aim; frozen.

    The loop knows nothing else of an aim.
    """

    name: str
    aim: str

    @property
    @abstractmethod
    def units(self) -> Sequence[str]:
        """Return the ids of the units of account, in order: each cell has one row about each."""

    @property
    @abstractmethod
    def subject(self) -> str:
        """Return the name of the model that the case is about."""

    @property
    def task(self) -> str:
        """Return the kind of the answers that its rows hold."""
        return "classes"

    @abstractmethod
    def check(self) -> None:
        """Refuse what cannot work, before the first question to a victim; raises UsageError."""

    def ask_once(self) -> None:  # noqa: B027  (most cases have nothing to ask)
        """Make sure that the model answers at all, before a record is begun; raises LoadError."""

    @abstractmethod
    def cells(self, settings: Settings) -> list[Cell]:
        """Return the cells in the order in which they are carried out."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return plain JSON for the header: model, data, threat."""

    def examine(self, settings: Settings) -> dict[str, Any]:
        """Return what the header says of the subject itself, before any batch.

        {"checks": [...]} and, where there is one, a re-evaluation.
        """
        return {"checks": []}

    @abstractmethod
    def carry_out(self, places: Tensor, progress: Progress) -> None:
        """Carry out all cells on the units at these places, and put on record what is missing.

        places: int64 [n].
        """


def part_name(places: Tensor) -> str:
    """Return the name of the file of one batch."""
    return f"part-{int(places[0]):07d}-{int(places[-1]):07d}"
