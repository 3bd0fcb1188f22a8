"""Poisoning: tampering with training data to make the trained model worse."""

from dataclasses import dataclass
from typing import Any, ClassVar

from scipy.stats import binomtest
from torch import Tensor

from sparring.aims.aim import Request, aim
from sparring.aims.case import Case, Cell, Progress, Settings, part_name
from sparring.aims.cells import attempt, blank, cells_of
from sparring.attacks.method import Method, methods_of
from sparring.attacks.poisoning.workshop import Workshop
from sparring.core.code import code_of, code_of_subject
from sparring.core.errors import InputError, PlanError
from sparring.core.fit import Fit
from sparring.core.rng import number_of
from sparring.core.victim import Victim
from sparring.data.dataset import Data
from sparring.threats.tampering import LabelTampering

TWIN = "clean"
"""Name of the cell of the clean twins: models trained on unchanged data with the same seeds."""

SIGNIFICANT = 0.05
"""Level of the exact McNemar test that decides whether a poisoned model is worse than its clean twin."""


@dataclass(frozen=True)
class PoisoningCase(Case):
    """Represent one fit on one training set under one kind of tampering, in several trials.

    Trials differ in their seed.
    """

    aim: ClassVar[str] = "poisoning"

    name: str
    fit: Fit
    train: Data
    test: Data
    threat: LabelTampering
    methods: tuple[Method, ...]
    trials: int

    @property
    def units(self) -> list[str]:
        return [f"trial/{one:04d}" for one in range(self.trials)]

    @property
    def subject(self) -> str:
        return str(self.fit)

    def check(self) -> None:
        if self.trials < 1:
            raise PlanError(f"trials={self.trials}: give at least 1")
        if self.train.task.kind != "classes" or self.test.task.kind != "classes":
            raise InputError(f"{self.name}: poisoning flips labels between classes, but the data holds {self.train.task}")
        if shared := set(self.train.ids) & set(self.test.ids):
            raise InputError(f"{self.name}: {len(shared)} samples are in both training and test data, such as {min(shared)}: give a split that separates them")
        if self.threat.most(len(self.train)) == 0 and self.threat.share > 0:
            raise PlanError(f"{self.name}: {self.threat.label} of {len(self.train)} samples is less than one label: increase the share")

    def cells(self, settings: Settings) -> list[Cell]:
        base = {
            "aim": self.aim,
            "fit": self.fit.describe(),
            "fit code": code_of(self.fit),
            "train": self.train.sha256,
            "test": self.test.sha256,
            "seed": settings.seed,
            "subject code": code_of_subject(self.test),
        }
        twin = cells_of(base, (TWIN, "trains on the clean data with the same seed"), (), PoisoningCase)
        return twin + cells_of({**base, "threat": self.threat.describe()}, None, self.methods, PoisoningCase)

    def describe(self) -> dict[str, Any]:
        return {
            "model": {"name": str(self.fit), "fit": self.fit.describe(), "task": self.train.task.describe()},
            "data": self.test.describe(),
            "train": self.train.describe(),
            "threat": {**self.threat.describe(), "say": str(self.threat), "say_short": self.threat.label},
        }

    def carry_out(self, places: Tensor, progress: Progress) -> None:
        trials = places.tolist()
        ids = [self.units[place] for place in trials]
        for said in progress.cells:
            if progress.lacks(said, ids):
                rows = [self._trial(said, trial, progress) for trial in trials]
                progress.keep(said, part_name(places), {name: [row[name][0] for row in rows] for name in rows[0]})
            statuses = [progress.of(said)[one][0] for one in ids]
            progress.done(said, len(ids), statuses.count("broken"))

    def _trial(self, said: str, trial: int, progress: Progress) -> dict[str, list[Any]]:
        """Return the row of one trial: the model trained on tampered data against its clean twin."""
        seed = number_of(f"{progress.settings.seed} trial {trial}") % 2**31
        row = blank([self.units[trial]], [trial], "held", test_n=len(self.test), radius=0.0 if said == TWIN else self.threat.share, size=0.0)
        method = next((one for one in self.methods if str(one) == said), None)
        work = Workshop(self.train, self.threat.most(len(self.train)), f"{progress.settings.seed} trial {trial}")
        changed = attempt(lambda: method(work) if method else self.train)
        if changed.trouble:
            row.update(status=["error"], note=[changed.trouble], seconds=[changed.seconds])
            return row
        if not self.threat.inside(self.train, changed.result):
            row.update(status=["infeasible"], note=["the attack changed more than the threat allows"], size=[self.threat.size(self.train, changed.result)])
            return row
        files = progress.record.store
        trained = attempt(lambda: (self.fit.cached(changed.result, seed, files), self.fit.cached(self.train, seed, files)))
        row["seconds"] = [changed.seconds + trained.seconds]
        if trained.trouble:
            row.update(status=["error"], note=[trained.trouble])
            return row
        poisoned, clean = (self._right(victim) for victim in trained.result)
        lost, won = int((clean & ~poisoned).sum()), int((poisoned & ~clean).sum())
        worse = lost > won and binomtest(lost, lost + won).pvalue < SIGNIFICANT
        right, before = float(poisoned.double().mean()), float(clean.double().mean())
        row.update(quality=[right], margin=[right - before], size=[self.threat.size(self.train, changed.result)], status=["broken" if worse else "held"])
        row["note"] = [f"{lost} test samples lost and {won} won against the clean twin" if method else ""]
        return row

    def _right(self, victim: Victim) -> Tensor:
        """bool [n]: which test samples the model gets right."""
        with victim.session():
            return (victim.answer(self.test.x) == self.test.y).cpu()


@aim(
    "poisoning",
    unit="trial",
    baseline=TWIN,
    controls=("random_flip",),
    metrics=("trained_accuracy", "accuracy_drop", "damaged"),
    sections=("trials",),
    keys=frozenset({"fit", "threat", "attacks", "trials"}),
    threat="tampering",
    columns={"test_n": "int64"},
)
def poisoning(request: Request) -> list[Case]:
    """Tamper with training data so that the trained model is worse than its clean twin."""
    if request.train is None or not request.fits or not request.threats:
        raise PlanError("poisoning needs a fit, training data and a threat: add fit=mlp and threat='labels 0.1', and data with a training split")
    methods = tuple(methods_of("poisoning", request.attacks))
    return [
        PoisoningCase(f"{fit} · {threat.label}", fit, request.train, request.data, threat, methods, request.trials)
        for fit in request.fits
        for threat in request.threats
    ]
