"""Membership: does the model reveal whether a record was in its training data?"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from sparring.aims.aim import Request, aim
from sparring.aims.case import Case, Cell, Progress, Settings, confirm, part_name
from sparring.aims.cells import attempt, blank, cells_of
from sparring.attacks.membership.probe import Probe
from sparring.attacks.method import Method, methods_of
from sparring.core.code import code_of, code_of_subject
from sparring.core.errors import InputError, NeedsError, PlanError
from sparring.core.fit import Fit
from sparring.core.rng import Rng
from sparring.core.victim import Victim, say_set
from sparring.data.dataset import Data
from sparring.records.store import Store

MEMBER, OUTSIDER = "member", "non-member"
PARTS = (0.4, 0.8)
"""Bounds of the random draw: members below the first, non-members below the second, background above."""

OTHERS = 2 / 3
"""Share of the non-members of a given model that attacks score; the rest is background."""

FEWEST = 8
"""Least number of members, of non-members and of background records."""


@dataclass(frozen=True)
class Asked(Case):
    """Represent one model and records, of which attacks guess the members."""

    aim: ClassVar[str] = "membership"

    name: str
    data: Data
    methods: tuple[Method, ...]
    seed: int

    @cached_property
    def parts(self) -> tuple[Data, Data, Data]:
        """Return members, non-members and background; no record is in two of them."""
        return tuple(self.data.rows(chosen.nonzero().squeeze(1)) for chosen in self._divided(self._drawn()))  # type: ignore[return-value]

    def _drawn(self) -> Tensor:
        """float64 [n]: a random number per record that assigns it to a part, independent of the other records."""
        return Rng.of(self.seed, self.data.ids).draw("membership").uniform(1, dtype=torch.float64).squeeze(1)

    @abstractmethod
    def _divided(self, drawn: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Three times bool [n]: members, non-members and background."""

    @abstractmethod
    def _target(self, files: Store) -> Victim:
        """The model under attack."""

    @cached_property
    def records(self) -> Data:
        """Return the records to score, members and non-members in the order of the data."""
        drawn = {one: True for part in self.parts[:2] for one in part.ids}
        return self.data.rows(torch.tensor([place for place, one in enumerate(self.data.ids) if one in drawn]))

    @property
    def units(self) -> list[str]:
        return self.records.ids

    def check(self) -> None:
        if self.data.task.kind != "classes" or not isinstance(self.data.x, Tensor):
            raise InputError(f"{self.name}: membership needs numerical inputs with classes, but the data holds {self.data.domain.kind} with {self.data.task}")

    def describe(self) -> dict[str, Any]:
        say = "the adversary sees the scores of the model on records with known labels, and decides which records were used in training"
        threat = {"kind": "membership", "say": say, "say_short": "membership"}
        return {"data": self.data.describe(), "threat": threat, "members": len(self.parts[0])}

    def carry_out(self, places: Tensor, progress: Progress) -> None:
        data = self.records.rows(places)
        members = set(self.parts[0].ids)
        wanted = [MEMBER if one in members else OUTSIDER for one in data.ids]
        for method in self.methods:
            said = str(method)
            if progress.lacks(said, data.ids):
                victim = self._target(progress.record.store)
                probe = Probe(victim, data, self.parts[2])
                with victim.session():
                    found = attempt(lambda method=method, probe=probe: _checked(method(probe), data))
                rows = blank(data.ids, places.tolist(), "error" if found.trouble else "scored", found.trouble, score=None)
                rows.update(wanted=wanted, seconds=[found.seconds / len(data)] * len(data))
                rows["queries"] = [probe.asked[one] for one in data.ids]
                if not found.trouble:
                    rows["score"] = found.result.tolist()
                progress.keep(said, part_name(places), rows)
            progress.done(said, len(data), 0)


@dataclass(frozen=True)
class MembershipCase(Asked):
    """Represent one fit on one data set, some of whose records are members.

    The target is trained on a random part of the records, and attacks guess this part.
    """

    fit: Fit

    @property
    def subject(self) -> str:
        return str(self.fit)

    def _divided(self, drawn: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return drawn < PARTS[0], (drawn >= PARTS[0]) & (drawn < PARTS[1]), drawn >= PARTS[1]

    def check(self) -> None:
        super().check()
        if min(len(part) for part in self.parts) < FEWEST:
            raise InputError(f"{self.name}: {len(self.data)} records are too few to divide into members, non-members and background: give at least 50")

    def cells(self, settings: Settings) -> list[Cell]:
        base = {"aim": self.aim, "fit": self.fit.describe(), "fit code": code_of(self.fit), "data": self.data.sha256, "seed": settings.seed}
        base["subject code"] = code_of_subject(self.data)
        return cells_of(base, None, self.methods, Asked, MembershipCase)

    def describe(self) -> dict[str, Any]:
        return {"model": {"name": str(self.fit), "fit": self.fit.describe(), "task": self.data.task.describe()}, **super().describe()}

    def _target(self, files: Store) -> Victim:
        return self.fit.cached(self.parts[0], self.seed, files)


@dataclass(frozen=True)
class GivenModelCase(Asked):
    """Represent a given model with known training records.

    A random third of the other records is background.
    """

    victim: Victim
    trained_on: frozenset[str]

    @property
    def subject(self) -> str:
        return self.victim.name

    def _divided(self, drawn: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        inside = torch.tensor([one in self.trained_on for one in self.data.ids])
        return inside, ~inside & (drawn < OTHERS), ~inside & (drawn >= OTHERS)

    def check(self) -> None:
        super().check()
        self.victim.domain.check(self.data.x)
        self.victim.task.check(self.data.y, len(self.data))
        if "scores" not in self.victim.exposes:
            raise NeedsError(f"{self.name}: the attacks need scores, but {self.victim.name} exposes {say_set(self.victim.exposes)}")
        counts = [len(part) for part in self.parts]
        if min(counts) < FEWEST:
            raise InputError(
                f"{self.name}: of the {len(self.data)} records {counts[0]} are members and {counts[1] + counts[2]} are not; at least {3 * FEWEST} of each "
                f"are needed. Ids look like {self.data.ids[0]!r}; to load both, use split=all"
            )

    def examine(self, settings: Settings) -> dict[str, Any]:
        absent = self.trained_on - set(self.data.ids)
        if not absent:
            return {"checks": []}
        return {"checks": [], "warning": f"{len(absent)} of {len(self.trained_on)} members are not in the data, for example {min(absent)}"}

    def cells(self, settings: Settings) -> list[Cell]:
        model = {name: value for name, value in self.victim.describe().items() if name != "name"}
        members = sorted(self.parts[0].ids)
        base = {"aim": self.aim, "model": model, "data": self.data.sha256, "members": members, "seed": settings.seed}
        base["subject code"] = code_of_subject(self.victim, self.data)
        return cells_of(base, None, self.methods, Asked, GivenModelCase)

    def ask_again(self, progress: Progress) -> None:
        for method in self.methods:
            rows = progress.record.rows(progress.cells[str(method)].key)
            if rows["queries"].any():  # the others do not depend on the model
                confirm(self.name, self.victim, progress, str(method), partial(self._again, method))

    def _again(self, method: Method, ids: list[str]) -> dict[str, Sequence[Any]]:
        """The scores that an attack gives some records now."""
        data = self.data.rows([self.data.ids.index(one) for one in ids])
        with self.victim.session():
            return {"score": _checked(method(Probe(self.victim, data, self.parts[2])), data).tolist()}

    def describe(self) -> dict[str, Any]:
        return {"model": self.victim.describe(), **super().describe()}

    def _target(self, files: Store) -> Victim:
        return self.victim


def _checked(scores: Tensor, data: Data) -> Tensor:
    """Return the scores of an attack as float64 [n]; raise ValueError for anything else."""
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
    keys=frozenset({"model", "members", "fit", "attacks"}),
    optional=frozenset({"model"}),
    train=False,
    columns={"score": "float64"},
)
def membership(request: Request) -> list[Case]:
    """Tell from a model whether a record was in its training data."""
    methods, data, seed = tuple(methods_of("membership", request.attacks)), request.data, request.seed
    if request.victims and request.members is None:
        raise PlanError(
            f"the training samples of {request.victims[0].name} are not known: add members=FILE with one id per line, or members=train; "
            "or leave out model=... and let Sparring train a model with fit=..."
        )
    if request.victims:
        return [GivenModelCase(f"{one.name} · membership", data, methods, seed, one, request.members or frozenset()) for one in request.victims]
    if request.members is not None:
        raise PlanError("members=... lists the training samples of a given model: add model=..., or leave out members=")
    if not request.fits:
        raise PlanError("membership needs a fit, so that the training records are known: add fit=mlp, or model=... with members=...")
    return [MembershipCase(f"{fit} · membership", data, methods, seed, fit) for fit in request.fits]
