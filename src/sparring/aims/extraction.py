"""Extraction: a copy of the model, made from its answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from sparring.aims.aim import Request, aim
from sparring.aims.case import Case, Cell, Progress, Settings, check_data, confirm, part_name
from sparring.aims.cells import attempt, blank, cells_of
from sparring.attacks.extraction.probe import ExtractionProbe
from sparring.attacks.method import Method, methods_of
from sparring.core.code import code_of, code_of_subject
from sparring.core.errors import InputError, PlanError
from sparring.core.fit import Fit
from sparring.core.victim import Victim
from sparring.data.dataset import Data


@dataclass(frozen=True)
class ExtractionCase(Case):
    """Represent one model, a pool of inputs, a fit for the copy, and test samples."""

    aim: ClassVar[str] = "extraction"

    name: str
    victim: Victim
    pool: Data
    test: Data
    fit: Fit
    methods: tuple[Method, ...]
    seed: int

    @property
    def units(self) -> list[str]:
        return self.test.ids

    @property
    def subject(self) -> str:
        return self.victim.name

    def check(self) -> None:
        for part in (self.pool, self.test):
            if part.task.kind != self.victim.task.kind or part.task.kind != "classes":
                raise InputError(f"{self.name}: extraction needs a classifier, but the model answers {self.victim.task} and the data holds {part.task}")
            check_data(self.name, self.victim, part)
        if shared := set(self.pool.ids) & set(self.test.ids):
            raise InputError(f"{self.name}: {len(shared)} samples are in both pool and test data, such as {min(shared)}: give a split that separates them")

    def cells(self, settings: Settings) -> list[Cell]:
        model = {name: value for name, value in self.victim.describe().items() if name != "name"}
        base = {"aim": self.aim, "model": model, "fit": self.fit.describe(), "fit code": code_of(self.fit), "seed": settings.seed}
        base["subject code"] = code_of_subject(self.test, self.victim)
        return cells_of({**base, "pool": self.pool.sha256, "test": self.test.sha256}, None, self.methods, ExtractionCase)

    def ask_again(self, progress: Progress) -> None:
        def again(ids: list[str]) -> dict[str, Sequence[Any]]:
            data = self.test.rows([self.test.ids.index(one) for one in ids])
            return {"wanted": self.victim.task.pack(_answer(self.victim, data))}

        for said in (one for one in progress.cells if progress.of(one)):
            confirm(self.name, self.victim, progress, said, again)

    def describe(self) -> dict[str, Any]:
        say = (
            f"the adversary has {len(self.pool)} inputs like the training data, queries the model about some of them "
            f"and trains a copy ({self.fit}) on the answers"
        )
        return {
            "model": self.victim.describe(),
            "data": self.test.describe(),
            "pool": self.pool.describe(),
            "fit": self.fit.describe(),
            "threat": {"kind": "extraction", "say": say, "say_short": "extraction"},
        }

    def carry_out(self, places: Tensor, progress: Progress) -> None:
        data, task = self.test.rows(places), self.victim.task
        for method in self.methods:
            said = str(method)
            if progress.lacks(said, data.ids):
                probe = ExtractionProbe(self.victim, self.pool, lambda data: self.fit.cached(data, self.seed, progress.record.store), self.seed)
                copy = attempt(lambda method=method, probe=probe: method(probe))
                rows = blank(data.ids, places.tolist(), "error" if copy.trouble else "held", copy.trouble, budget=probe.queries)
                rows["seconds"] = [copy.seconds / len(data)] * len(data)
                rows["queries"] = _shared(probe.queries, places.tolist(), len(self.test))
                if not copy.trouble:
                    theirs, ours = _answer(self.victim, data), _answer(copy.result, data)
                    agree = (theirs == ours) & task.answered(theirs)
                    rows.update(wanted=task.pack(theirs), given=task.pack(ours), quality=task.quality(ours, data.y).tolist())
                    rows["status"] = ["broken" if one else "held" for one in agree.tolist()]
                progress.keep(said, part_name(places), rows)
            statuses = [progress.of(said)[one][0] for one in data.ids]
            progress.done(said, len(data), statuses.count("broken"))


def _shared(queries: int, places: list[int], count: int) -> list[int]:
    """Return the share of the rows at these places in the queries for one copy; those of all `count` rows add up to `queries`.

    One copy answers all test samples, so its queries belong to no single one of them.
    """
    return [(place + 1) * queries // count - place * queries // count for place in places]


def _answer(victim: Victim, data: Data) -> Tensor:
    with victim.session():
        return victim.answer(data.x).cpu()


@aim(
    "extraction",
    unit="sample",
    baseline="no_victim",
    controls=("no_victim",),
    metrics=("fidelity", "copy_accuracy"),
    sections=("copies",),
    keys=frozenset({"model", "fit", "attacks"}),
    columns={"budget": "int64"},
)
def extraction(request: Request) -> list[Case]:
    """Copy a model from its answers."""
    if not request.victims or request.train is None:
        raise PlanError("extraction needs a model, and data with a training split for the queries: add model=... and data=digits")
    if not request.fits:
        raise PlanError("extraction needs a fit, which trains the copy: add fit=mlp")
    methods = tuple(methods_of("extraction", request.attacks))
    return [
        ExtractionCase(f"{victim.name} · copied by {fit}", victim, request.train, request.data, fit, methods, request.seed)
        for victim in request.victims
        for fit in request.fits
    ]
