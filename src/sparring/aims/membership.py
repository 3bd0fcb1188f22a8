"""Membership: can it be told from the model whether a record was in its training data?"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from sparring.aims.aim import Request, aim
from sparring.aims.case import Case, Cell, Progress, Settings, part_name
from sparring.aims.cells import attempt, blank, cells_of
from sparring.attacks.membership.probe import Probe
from sparring.attacks.method import Method, methods_of
from sparring.core.code import code_of, code_of_subject
from sparring.core.errors import InputError, PlanError
from sparring.core.fit import Fit
from sparring.core.rng import Rng
from sparring.core.victim import Victim
from sparring.data.dataset import Data
from sparring.records.store import Store

MEMBER, OUTSIDER = "member", "non-member"
PARTS = (0.4, 0.8)
"""Where the data is divided: below the first a record is a member, below the second it is none, above it is background."""


@dataclass(frozen=True)
class MembershipCase(Case):
    """Represent one fit on one data set, some of whose records are members.

    The target is trained on a random part of the records, and attacks are asked which.
    """

    aim: ClassVar[str] = "membership"

    name: str
    fit: Fit
    data: Data
    methods: tuple[Method, ...]
    seed: int

    @cached_property
    def parts(self) -> tuple[Data, Data, Data]:
        """Return members, non-members and background.

        Each record goes by a random number of its own.
        """
        drawn = Rng.of(self.seed, self.data.ids).draw("membership").uniform(1, dtype=torch.float64).squeeze(1)
        inside, beside = drawn < PARTS[0], (drawn >= PARTS[0]) & (drawn < PARTS[1])
        return tuple(self.data.rows(chosen.nonzero().squeeze(1)) for chosen in (inside, beside, drawn >= PARTS[1]))  # type: ignore[return-value]

    @cached_property
    def records(self) -> Data:
        """Return the records that are asked about, members and others in the order of the data."""
        drawn = {one: True for part in self.parts[:2] for one in part.ids}
        return self.data.rows(torch.tensor([place for place, one in enumerate(self.data.ids) if one in drawn]))

    @property
    def units(self) -> list[str]:
        return self.records.ids

    @property
    def subject(self) -> str:
        return str(self.fit)

    def check(self) -> None:
        if self.data.task.kind != "classes" or not isinstance(self.data.x, Tensor):
            raise InputError(f"{self.name}: membership needs numerical inputs with classes, but the data holds {self.data.domain.kind} with {self.data.task}")
        if min(len(part) for part in self.parts) < 8:
            raise InputError(f"{self.name}: {len(self.data)} records are too few to divide into members, non-members and background: give at least 50")

    def cells(self, settings: Settings) -> list[Cell]:
        base = {"aim": self.aim, "fit": self.fit.describe(), "fit code": code_of(self.fit), "data": self.data.sha256, "seed": settings.seed}
        base["subject code"] = code_of_subject(self.data)
        return cells_of(base, None, self.methods, MembershipCase)

    def describe(self) -> dict[str, Any]:
        say = "the adversary has the scores of the model and records with their true answers, and decides which records were used in training"
        return {
            "model": {"name": str(self.fit), "fit": self.fit.describe(), "task": self.data.task.describe()},
            "data": self.data.describe(),
            "threat": {"kind": "membership", "say": say, "say_short": "membership"},
            "members": len(self.parts[0]),
        }

    def carry_out(self, places: Tensor, progress: Progress) -> None:
        data = self.records.rows(places)
        members = set(self.parts[0].ids)
        wanted = [MEMBER if one in members else OUTSIDER for one in data.ids]
        for method in self.methods:
            said = str(method)
            if progress.lacks(said, data.ids):
                victim = self._target(progress.record.store)
                with victim.session():
                    found = attempt(lambda victim=victim, method=method: _checked(method(Probe(victim, data, self.parts[2])), data))
                rows = blank(data.ids, places.tolist(), "error" if found.trouble else "scored", found.trouble, score=None)
                rows.update(wanted=wanted, seconds=[found.seconds / len(data)] * len(data))
                rows["queries"] = [0 if method.control else 1] * len(data)
                if not found.trouble:
                    rows["score"] = found.result.tolist()
                progress.keep(said, part_name(places), rows)
            progress.done(said, len(data), 0)

    def _target(self, files: Store) -> Victim:
        return self.fit.cached(self.parts[0], self.seed, files)


def _checked(scores: Tensor, data: Data) -> Tensor:
    """The scores of an attack as float64 [n], or ValueError where they are something else."""
    scores = torch.as_tensor(scores).detach().double().cpu()
    if scores.shape != (len(data),) or not bool(torch.isfinite(scores).all()):
        raise ValueError(f"the attack returned scores of shape {tuple(scores.shape)} for {len(data)} records: return one finite number per record")
    return scores


@aim(
    "membership",
    unit="record",
    baseline="blind",
    controls=("blind",),
    metrics=("auc", "tpr(fpr=0.01)", "tpr(fpr=0.001)"),
    sections=("roc",),
    keys=frozenset({"fit", "attacks"}),
    columns={"score": "float64"},
)
def membership(request: Request) -> list[Case]:
    """Tell from a model whether a record was in its training data."""
    if not request.fits:
        raise PlanError("membership needs a fit, so that the training records are known: add fit=mlp")
    methods = tuple(methods_of("membership", request.attacks))
    return [MembershipCase(f"{fit} · membership", fit, request.data, methods, request.seed) for fit in request.fits]
