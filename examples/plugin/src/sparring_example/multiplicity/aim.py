"""Multiplicity: answers that change if the model is trained again, equally well."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from sparring.aims.aim import Request, aim
from sparring.aims.case import Case, Cell, Progress, Settings, part_name
from sparring.aims.cells import attempt, blank, cells_of
from sparring.attacks.method import Method, methods_of
from sparring.core.code import code_of, code_of_subject
from sparring.core.errors import InputError, PlanError
from sparring.core.fit import Fit
from sparring.data.dataset import Data

from .retraining import Retraining, Training

ONCE = "once"
"""The cell of the first model, with which the others are compared."""


@dataclass(frozen=True)
class MultiplicityCase(Case):
    """Represent one fit on one training set, repeated in several ways, and test samples."""

    aim: ClassVar[str] = "multiplicity"

    name: str
    fit: Fit
    train: Data
    test: Data
    methods: tuple[Method, ...]
    seed: int

    @property
    def units(self) -> list[str]:
        return self.test.ids

    @property
    def subject(self) -> str:
        return str(self.fit)

    def check(self) -> None:
        if self.train.task.kind != self.test.task.kind:
            raise InputError(f"{self.name}: the training data holds {self.train.task}, the test data {self.test.task}: give a split of one data set")
        if shared := set(self.train.ids) & set(self.test.ids):
            raise InputError(f"{self.name}: {len(shared)} samples are in training and test data, {min(shared)} for one: give a split that keeps them apart")

    def cells(self, settings: Settings) -> list[Cell]:
        base = {"aim": self.aim, "fit": self.fit.describe(), "fit code": code_of(self.fit), "train": self.train.sha256, "test": self.test.sha256}
        base |= {"seed": settings.seed, "subject code": code_of_subject(self.test)}
        return cells_of(base, (ONCE, "trains one model, with which the others are compared"), self.methods, MultiplicityCase)

    def describe(self) -> dict[str, Any]:
        say = "nobody attacks: the same training is carried out again, with another seed or with a few samples fewer"
        return {
            "model": {"name": str(self.fit), "fit": self.fit.describe(), "task": self.test.task.describe()},
            "data": self.test.describe(),
            "train": self.train.describe(),
            "threat": {"kind": "multiplicity", "say": say, "say_short": "multiplicity"},
        }

    def carry_out(self, places: Tensor, progress: Progress) -> None:
        data = self.test.rows(places)
        for said in progress.cells:
            if progress.lacks(said, data.ids):
                method = next((one for one in self.methods if str(one) == said), None)
                progress.keep(said, part_name(places), self._rows(method, data, places, progress))
            statuses = [progress.of(said)[one][0] for one in data.ids]
            progress.done(said, len(data), statuses.count("broken"))

    def _rows(self, method: Method | None, data: Data, places: Tensor, progress: Progress) -> dict[str, list[Any]]:
        """Return one row per sample: the number of models of a method whose answer differs from the first."""
        work = Retraining(self.train, self.seed)

        def answers() -> list[Tensor]:
            trainings = method(work) if method else []
            return [self._answers(one, data, progress) for one in (Training(self.train, self.seed), *trainings)]

        found = attempt(answers)
        rows = blank(data.ids, places.tolist(), "error" if found.trouble else "held", found.trouble, models=0, differing=0)
        rows.update(wanted=data.task.pack(data.y), seconds=[found.seconds / len(data)] * len(data))
        if found.trouble:
            return rows
        first, *others = found.result
        criterion = data.task.wrong(first)  # what counts as another answer, the task knows
        differing = sum((criterion.met(one).long() for one in others), torch.zeros(len(data), dtype=torch.int64))
        rows.update(given=data.task.pack(first), quality=data.task.quality(first, data.y).tolist(), models=[len(others)] * len(data))
        rows.update(differing=differing.tolist(), status=["broken" if one else "held" for one in differing.tolist()])
        return rows

    def _answers(self, one: Training, data: Data, progress: Progress) -> Tensor:
        victim = self.fit.cached(one.data, one.seed, progress.record.store)
        with victim.session():
            return victim.answer(data.x).cpu()


@aim(
    "multiplicity",
    unit="sample",
    baseline=ONCE,
    controls=("same_seed",),
    metrics=("ambiguity", "ambiguity(models=2)"),
    keys=frozenset({"fit", "attacks"}),
    columns={"models": "int64", "differing": "int64"},
)
def multiplicity(request: Request) -> list[Case]:
    """Count the answers that another training of the same kind would change."""
    if request.train is None or not request.fits:
        raise PlanError("multiplicity needs a fit and data with a training split: add fit=mlp and data=digits")
    methods = tuple(methods_of("multiplicity", request.attacks))
    return [MultiplicityCase(f"{fit} · multiplicity", fit, request.train, request.data, methods, request.seed) for fit in request.fits]
