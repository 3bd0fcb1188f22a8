"""The view of a run that sections receive: the header, and per case the rows and stored points."""

import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import pandas as pd

from sparring.core.domain import Domain
from sparring.core.errors import SparringError
from sparring.core.rate import Rate
from sparring.core.registry import find
from sparring.core.task import Task
from sparring.metrics.band import certified_accuracy
from sparring.metrics.outcome import CLEAN, clean_accuracy, judged, outcomes, robust_accuracy
from sparring.records.record import Points, Record, aim_of
from sparring.report.wording import DASH, count, samples

LONGEST_ANSWER = 60
"""Number of characters shown of an answer that is not a class."""


class Stored(NamedTuple):
    """Represent the stored points of one attack."""

    attack: str
    points: Points


@dataclass(frozen=True)
class CaseView:
    """Represent one model on one data set under one threat.

    `model`, `data`, `threat`, `checks` and `cells` are as in run.json; `table` has one row for every sample under every
    attack, as in `Record.table`. domain: None where this installation does not know the kind of input.
    """

    place: int
    name: str
    model: dict[str, Any]
    data: dict[str, Any]
    threat: dict[str, Any]
    checks: list[dict[str, Any]]
    cells: list[dict[str, Any]]
    table: pd.DataFrame
    domain: Domain | None
    record: Record
    header: dict[str, Any] = field(default_factory=dict)

    @property
    def domain_kind(self) -> str:
        """Return the kind of the inputs, such as "image"."""
        return str(self.data.get("domain", {}).get("kind", ""))

    @cached_property
    def planned(self) -> list[str]:
        """Return the attacks of the plan, in order."""
        return [cell["attack"]["say"] for cell in self.cells if cell["attack"]["say"] != CLEAN and not cell["attack"].get("certificate")]

    @cached_property
    def certifiers(self) -> list[str]:
        """Return the certifiers that have judged at least one sample, in order."""
        seen = set(self.table.attack) if len(self.table) else set()
        return [cell["attack"]["say"] for cell in self.cells if cell["attack"].get("certificate") and cell["attack"]["say"] in seen]

    @property
    def contradictions(self) -> list[dict[str, Any]]:
        """Return the attacks that broke certified samples: {certificate, attack, ids, file}."""
        return [one for one in self.record.header.get("contradictions", []) if one["case"] == self.name]

    @cached_property
    def attacks(self) -> list[str]:
        """Return the attacks that have judged at least one sample, in order."""
        seen = set(self.table.attack) if len(self.table) else set()
        return [attack for attack in self.planned if attack in seen]

    @cached_property
    def controls(self) -> list[str]:
        """Return those of `attacks` that are controls, with which searches are compared."""
        return [cell["attack"]["say"] for cell in self.cells if cell["attack"].get("control") and cell["attack"]["say"] in self.attacks]

    @cached_property
    def judged(self) -> pd.DataFrame:
        """Return `metrics.outcome.judged` of the table."""
        return judged(self.table) if len(self.table) else self.table

    @cached_property
    def outcomes(self) -> pd.DataFrame:
        """Return `metrics.outcome.outcomes` of the judged samples; empty if there are none."""
        if not len(self.table):
            return pd.DataFrame({"wanted": [], "clean": [], "robust": [], "fell_to": []})
        return outcomes(self.judged)

    @cached_property
    def clean(self) -> Rate:
        """Return accuracy without attack."""
        return clean_accuracy(self.judged) if len(self.table) else Rate.of(0, 0)

    @cached_property
    def robust(self) -> Rate:
        """Return accuracy under all of `attacks` together."""
        return robust_accuracy(self.judged) if len(self.table) else Rate.of(0, 0)

    @cached_property
    def certified(self) -> Rate | None:
        """Return accuracy that is proved.

        None without certificates, or where an attack has contradicted one.
        """
        return certified_accuracy(self.judged) if self.certifiers and not self.contradictions else None

    @property
    def task(self) -> str:
        """Return the kind of task, such as "classes"."""
        return str((self.data.get("task") or {}).get("kind", "classes"))

    @cached_property
    def answers(self) -> Task | None:
        """Return the task, which names and unpacks answers; None where it is unknown here."""
        described = self.data.get("task") or {}
        try:
            return find("task", self.task).restore(described)
        except (SparringError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError):
            return None

    @property
    def aim(self) -> str:
        """Return the kind of harm that the case is about."""
        return aim_of(self.header)

    @property
    def planned_units(self) -> int:
        """Return how many units of account the plan has: samples, trials, records."""
        return int(self.header.get("n") or self.data.get("n", 0))

    @property
    def unit(self) -> str:
        """Return what one row of the record is about: "sample", "trial" or "record"."""
        return str((self.header.get("aim") or {}).get("unit", "sample"))

    def units(self, many: int) -> str:
        """Return a count of units in words: 1 trial, 20 images."""
        return samples(many, self.domain_kind) if self.unit == "sample" else count(many, self.unit)

    @property
    def missing(self) -> int:
        """Return how many units of the plan have no full verdict."""
        seen = self.judged.id.nunique() if len(self.table) else 0
        return max(0, self.planned_units - seen)

    def class_name(self, label: Any) -> str:
        """Return the name of a class as the table holds it.

        The table may hold null (nothing was asked), or -1 or an empty text (no answer).
        """
        if label is None or pd.isna(label):
            return DASH
        if self.task != "classes":
            return self._named(str(label))
        try:
            names, place = self.data.get("classes") or [], -1 if label == "" else int(label)
        except ValueError:
            return str(label)  # of an aim whose answers are words, such as "member"
        if place < 0:
            return "no answer"
        return str(names[place]) if place < len(names) else f"class {place}"

    def _named(self, packed: str) -> str:
        """An answer that is no class, in the words of its task; as it is packed where the task is unknown or the answer broken."""
        try:
            said = self.answers.named(packed) if self.answers else packed or "no answer"
        except (SparringError, ValueError):
            said = packed
        return said if len(said) <= LONGEST_ANSWER else f"{said[:LONGEST_ANSWER]}…"

    def stored(self) -> list[Stored]:
        """Return the points that were kept, attack by attack."""
        found = [Stored(cell["attack"]["say"], self.record.points(cell["key"])) for cell in self.cells if cell["attack"]["say"] != CLEAN]
        return [one for one in found if one.points.ids]


@dataclass(frozen=True)
class View:
    """Represent a run as the sections see it.

    `header` is the content of run.json.
    """

    header: dict[str, Any]
    cases: tuple[CaseView, ...]

    @classmethod
    def of(cls, record: Record) -> "View":
        """Read a run, except its stored points."""
        header = json.loads(json.dumps(record.header, default=str))
        rows: Any = record.table()  # what a frame gives when indexed by a mask, its types do not say
        cases = []
        for place, case in enumerate(header.get("cases", [])):
            own = rows[rows.case == case["name"]].reset_index(drop=True)
            said = case.get("checks") or []
            cases.append(
                CaseView(place, case["name"], case["model"], case["data"], case["threat"], said, case["cells"], own, _domain(case["data"]), record, case)
            )
        return cls(header, tuple(cases))

    def about(self, aim: str, section: str) -> "View":
        """Return the run with the cases of an aim, and those whose aim asks for the section."""
        chosen = (case for case in self.cases if case.aim == aim or section in (case.header.get("aim") or {}).get("sections", []))
        return replace(self, cases=tuple(chosen))

    @property
    def models(self) -> list[str]:
        """Return names of the models, each once."""
        return list(dict.fromkeys(str(case.model.get("name", "model")) for case in self.cases))


def _domain(data: dict[str, Any]) -> Domain | None:
    described = data.get("domain") or {}
    try:
        return find("domain", str(described.get("kind"))).restore(described)
    except (SparringError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError):  # a kind of another installation, or nonsense
        return None
