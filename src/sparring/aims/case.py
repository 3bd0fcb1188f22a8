"""The interface between the loop of a run and an aim: cases, their cells and their recorded rows."""

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

from sparring.aims.rows import Columns
from sparring.attacks.attack import BATCH
from sparring.core.errors import InputError, PlanError, RecordError
from sparring.core.events import Listener
from sparring.core.victim import Victim
from sparring.data.dataset import Data
from sparring.models.class_names import check_classes
from sparring.records.record import Points, Record

POINTS = {"none": 0, "gallery": 6, "all": sys.maxsize}
"""Number of broken points that each batch keeps, and of unbroken ones."""

ANSWERED = ("held", "broken", "scored")
"""Statuses of rows that hold what a model answered."""

ASKED_AGAIN = 16
"""Samples about which a model is asked again, before a record of it is continued."""

Known = dict[str, tuple[str, str]]
"""Maps ids of finished units of a cell to (status, note)."""


@dataclass(frozen=True)
class Settings:
    """Say how a run is carried out.

    Attributes:
        seed: Seed of all random draws.
        batch: Number of units per batch.
        cascade: Whether an attack runs only on samples that earlier attacks did not break.
        points: Which adversarial inputs to keep: "none", "gallery" or "all".
        shard: (k, n): process every n-th batch beginning with the k-th, counted from 0.
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

    say: the method as written in a plan. key: address of its rows. about: plain JSON of the method.
    """

    say: str
    key: str
    about: dict[str, Any]


@dataclass(frozen=True)
class Progress:
    """Read and write the recorded rows of one case.

    Attributes:
        record: The record of the run.
        cells: All cells of the case by the method as it is written.
        settings: How the run is carried out.
        tell: Receives an event per finished batch.
        known: Per key of a cell, the status of the finished units.
    """

    case: str
    record: Record
    cells: dict[str, Cell]
    settings: Settings
    tell: Listener
    known: dict[str, Known] = field(default_factory=dict)

    def of(self, said: str) -> Known:
        """Return the finished units of a cell, by id."""
        key = self.cells[said].key
        if key not in self.known:
            self.known[key] = self.record.known(key)
        return self.known[key]

    def lacks(self, said: str, ids: Sequence[str]) -> bool:
        """Return whether a cell lacks the row of any of these units."""
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


def check_data(case: str, victim: Victim, data: Data) -> None:
    """Refuse data that does not fit the model, before the first query.

    Raises:
        InputError: Where inputs or true answers are not those of the model; it names the case.
    """
    if victim.domain.describe()["kind"] != data.domain.kind:
        raise InputError(f"{case}: the model takes {victim.domain}, but the data is {data.domain}: give data of the kind that the model takes")
    victim.domain.check(data.x)
    if len(set(data.ids)) < len(data):
        raise InputError(f"{case}: a sample is in the data twice: give every sample once")
    if victim.task.kind != data.task.kind:
        raise InputError(f"{case}: the model answers {victim.task}, but the data holds {data.task}: give model and data the same task=")
    check_classes(victim, data.classes, case)
    try:
        victim.task.check(data.y, len(data))
    except InputError as error:
        raise InputError(f"{case}: the data does not fit what the model answers: {error}") from error


def confirm(case: str, victim: Victim, progress: Progress, said: str, again: Callable[[list[str]], dict[str, Sequence[Any]]]) -> None:
    """Ask a model whose fingerprint is not complete about some recorded rows again.

    Args:
        case: Name of the case.
        victim: The model.
        progress: What is on record; nothing is asked where this has no rows.
        said: The cell whose rows the model decides by itself.
        again: Returns columns of the rows of some units as the model gives them now; numbers may differ by rounding.

    Raises:
        RecordError: Where the model answers otherwise than the record says, or the record has nothing to ask about.
    """
    if not any(progress.of(one) for one in progress.cells) or victim.complete:
        return
    cure = "write another out=, or give the model a fingerprint= if it answers at random"
    rows = progress.record.rows(progress.cells[said].key)
    told = rows[rows.status.isin(ANSWERED)][:ASKED_AGAIN]
    if told.empty:
        raise RecordError(f"{case}: {victim.name} cannot be compared with the record, which holds no answer of {said}: {cure}")
    columns = again(told.id.tolist())
    wrong = [one for place, one in enumerate(told.id) if not all(_same(told[name].iloc[place], now[place]) for name, now in columns.items())]
    if wrong:
        raise RecordError(
            f"{case}: the model answers {len(wrong)} of {len(told)} recorded samples otherwise than before, such as {wrong[0]}, so the record is about "
            f"another model: {cure}"
        )


def refuse_unknown(case: str, progress: Progress, said: str, models: Iterable[Victim]) -> None:
    """Refuse to continue a cell whose rows depend on models that cannot be hashed completely.

    It is for models whose answers no row holds, so that they cannot be asked again.
    """
    for one in models if progress.of(said) else ():
        if not one.complete:
            raise RecordError(f"{case}: {one.name} holds what cannot be hashed, so it may not be the model of the recorded rows of {said}: write another out=")


def _same(before: Any, now: Any) -> bool:
    if isinstance(before, float) and isinstance(now, float):
        return math.isclose(before, now, rel_tol=1e-3, abs_tol=1e-4) or (math.isnan(before) and math.isnan(now))
    return before == now


class Case(ABC):
    """Represent one subject under one threat, for one aim; frozen.

    The loop of a run uses an aim only through this class.
    """

    name: str
    aim: str

    @property
    @abstractmethod
    def units(self) -> Sequence[str]:
        """Return the ids of the units, in order: each cell has one row per unit."""

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
        """Raise UsageError for a case that cannot work, before the first query."""

    def ask_once(self) -> None:  # noqa: B027  (most cases have nothing to ask)
        """Check that the model answers, before a record is created; raises LoadError if not."""

    def ask_again(self, progress: Progress) -> None:
        """Refuse to continue a record of another model with the same fingerprint.

        Models that cannot be hashed completely are refused; an aim that can ask them about recorded rows does so instead, see `confirm`.
        """
        for said in progress.cells:
            refuse_unknown(self.name, progress, said, [one for one in vars(self).values() if isinstance(one, Victim)])

    @abstractmethod
    def cells(self, settings: Settings) -> list[Cell]:
        """Return the cells in the order in which they run."""

    def notes(self) -> list[str]:
        """Return warnings about what is odd and prevents nothing, each with the likely cure."""
        return []

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return plain JSON for the header: model, data, threat."""

    def examine(self, settings: Settings) -> dict[str, Any]:
        """Return the findings about the subject for the header, before any batch.

        {"checks": [...]} and, where there is one, a re-evaluation.
        """
        return {"checks": []}

    @abstractmethod
    def carry_out(self, places: Tensor, progress: Progress) -> None:
        """Run all cells on the units at these places, and record the missing rows.

        places: int64 [n].
        """


def part_name(places: Tensor) -> str:
    """Return the name of the file of one batch."""
    return f"part-{int(places[0]):07d}-{int(places[-1]):07d}"
