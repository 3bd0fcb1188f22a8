"""One batch of an evaluation: clean inputs, certifiers and attacks in this order; each result is judged and recorded."""

import sys
import time
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from sparring.aims.case import POINTS, Progress, Settings, part_name
from sparring.aims.rows import fill, skipped
from sparring.attacks.attack import Attack
from sparring.core.errors import LoadError, SparringError
from sparring.core.goal import Criterion
from sparring.core.problem import Left, Problem
from sparring.core.rng import Rng, number_of
from sparring.core.threat import Threat
from sparring.core.victim import Victim
from sparring.data.dataset import Data
from sparring.judge.judge import Status, Verdicts, judge
from sparring.metrics.outcome import CLEAN, STANDS
from sparring.records.record import Points

MET = "the truth already meets the goal, or says nothing about it"
"""Why a sample is not attacked."""


@dataclass
class Batch:
    """Hold the samples of one batch and what has become of them so far.

    The lists have one entry per sample.

    Attributes:
        victim: The model.
        data: The samples.
        places: int64 [n], where they stand in the whole data set.
        threat: What is allowed on them.
        criterion: What success is measured against.
        progress: What is on record.
        outside: Why no attack is asked about the sample; empty where it is.
        fallen: Which method of the cascade broke it; empty where none did.
        proved: Which certifier proved it; empty where none did.
        found: What the searches of the cascade have found so far.
    """

    victim: Victim
    data: Data
    places: Tensor
    threat: Threat
    criterion: Criterion
    progress: Progress
    outside: list[str]
    fallen: list[str]
    proved: list[str]
    found: Left
    name: str = field(default="")

    @classmethod
    def open(cls, victim: Victim, data: Data, threat: Threat, places: Tensor, progress: Progress) -> "Batch":
        """Return the batch of the samples at these places, before any query."""
        own, allowed = data.rows(places), threat.take(places)
        criterion = threat_criterion(allowed, own, victim, progress.settings)
        outside = [MET if one else "" for one in criterion.met(victim.task.as_answer(own.y)).tolist()]
        nothing = Left(own.x[torch.arange(len(own))], torch.full((len(own),), -torch.inf, dtype=torch.float64))
        blank = [""] * len(own)
        return cls(victim, own, places, allowed, criterion, progress, outside, blank, list(blank), nothing, part_name(places))

    @property
    def settings(self) -> Settings:
        """Return how the run is carried out."""
        return self.progress.settings

    def left(self) -> list[str]:
        """Return per sample why the next method of the cascade skips it; empty where it does not."""
        return [out or (f"broken by {fell}" if fell else "") for out, fell in zip(self.outside, self.fallen, strict=True)]

    def unproved(self) -> list[str]:
        """Return `left`, with proved samples skipped as well."""
        return [reason or (f"proved by {said}" if said else "") for reason, said in zip(self.left(), self.proved, strict=True)]

    def statuses(self, said: str) -> list[str]:
        """Return the recorded status of each sample in a cell."""
        known = self.progress.of(said)
        return [known[one][0] for one in self.data.ids]

    def lacks(self, said: str) -> bool:
        """Return whether a cell has no verdict yet on some sample."""
        return self.progress.lacks(said, self.data.ids)

    def done(self, said: str, fell: int) -> None:
        """Report that a cell is on record for this batch."""
        self.progress.done(said, len(self.data), fell)


def threat_criterion(threat: Threat, data: Data, victim: Victim, settings: Settings) -> Criterion:
    """Return the criterion of success for these samples."""
    return threat.goal.freeze(data.y, victim.task, Rng.of(settings.seed, data.ids, data.y.device))


def carry_out_clean(batch: Batch, threat: Threat) -> None:
    """Ask for the answers to the clean inputs.

    Samples that are wrong without attack are outside what follows. threat: no change, any wrong answer counts.
    """
    if batch.lacks(CLEAN):
        _write(batch, CLEAN, None, batch.outside, threat, threat_criterion(threat, batch.data, batch.victim, batch.settings))
    fallen = [status not in STANDS for status in batch.statuses(CLEAN)]
    batch.outside = [reason or ("wrong without attack" if fell else "") for reason, fell in zip(batch.outside, fallen, strict=True)]
    batch.done(CLEAN, sum(fallen))


def carry_out_attack(batch: Batch, attack: Attack, *, audits: bool, needed: bool) -> None:
    """Run one attack on the samples that it should look at, and judge what it returns.

    Args:
        batch: The samples; what the attack found and broke is entered.
        attack: The attack.
        audits: Whether it looks at samples that are proved too: the first attack of a cascade holds the certificates to account.
        needed: Whether a later attack that is not on record begins from what this one finds, so that it runs again although it is on record.
    """
    said = str(attack)
    chained = batch.settings.cascade and not attack.control
    reasons = batch.outside if not chained else batch.left() if audits else batch.unproved()
    if batch.lacks(said) or (chained and needed):
        _write(batch, said, attack, reasons, batch.threat, batch.criterion, chained)
    fallen = [status not in STANDS for status in batch.statuses(said)]
    if not attack.control:
        batch.fallen = [before or (said if fell else "") for before, fell in zip(batch.fallen, fallen, strict=True)]
    batch.done(said, sum(fallen))


def _write(batch: Batch, said: str, attack: Attack | None, reasons: list[str], threat: Threat, criterion: Criterion, chained: bool = False) -> None:
    """Attack and judge the samples that are not skipped, and record the rows that are missing."""
    began = time.monotonic()
    todo = torch.tensor([place for place, reason in enumerate(reasons) if not reason], dtype=torch.int64)
    data = batch.data.rows(todo)
    before = Left(batch.found.points[todo], batch.found.loss[todo]) if chained and attack and attack.resumes else None
    with batch.victim.session(number_of(f"{batch.settings.seed} {batch.progress.cells[said].key} {batch.name}")):
        rng = Rng.of(batch.settings.seed, data.ids, data.y.device)
        problem = Problem.open(batch.victim, data.x, criterion.take(todo), threat.take(todo), rng, before)
        verdicts = _search_and_judge(problem, attack, data)
    if chained:
        better = problem.ledger.loss > batch.found.loss[todo]
        batch.found.points[todo[better]], batch.found.loss[todo[better]] = problem.ledger.best[better], problem.ledger.loss[better]
    if not batch.lacks(said):
        return
    columns = skipped(batch.data, batch.places, batch.threat, batch.criterion, reasons)
    spent = (time.monotonic() - began) / max(1, len(todo))
    fill(columns, todo.tolist(), seconds=[spent] * len(todo), **verdict_columns(batch.victim, verdicts), **problem.ledger.cost._asdict())
    batch.progress.keep(said, batch.name, columns, _chosen(data, verdicts, POINTS[batch.settings.points]) if attack else None)


def verdict_columns(victim: Victim, verdicts: Verdicts) -> dict[str, list[str] | Tensor]:
    """Return the columns of a record that the judge fills."""
    return {
        "status": list(map(str, verdicts.status)),
        "given": victim.task.pack(verdicts.answers),
        "note": verdicts.note,
        "margin": verdicts.margin,
        "quality": verdicts.quality,
        "size": verdicts.size,
    }


def _search_and_judge(problem: Problem, attack: Attack | None, data: Data) -> Verdicts:
    """Search and judge; an attack that raises an error yields the verdict "error". Without an attack the clean inputs are judged."""
    if not len(problem):
        return _unjudged(data, "")
    trouble = ""
    if attack:
        try:
            attack.run(problem)
        except LoadError as error:  # the model failed, not its user
            trouble = str(error)
        except SparringError:
            raise
        except Exception as error:
            trouble = f"{type(error).__name__}: {error}"
    spent = problem.ledger.spent & ~problem.ledger.broken
    try:
        verdicts = judge(problem.victim, data.x, problem.best(), problem.criterion, problem.threat, spent, data.y)
    except LoadError as error:
        return _unjudged(data, str(error))
    if trouble:
        status = [one if one is Status.BROKEN else Status.ERROR for one in verdicts.status]
        verdicts = verdicts._replace(status=status, note=[trouble if one is Status.ERROR else "" for one in status])
    return verdicts


def _unjudged(data: Data, note: str) -> Verdicts:
    """Return the verdict "error" for every sample, with the same note."""
    nothing = torch.full((len(data),), torch.nan, dtype=torch.float64)
    return Verdicts([Status.ERROR] * len(data), data.x, data.task.no_answer(data.y), nothing, nothing, nothing, [note] * len(data))


def _chosen(data: Data, verdicts: Verdicts, most: int) -> Points | None:
    """Return the points to keep: first the smallest and the median one of the broken ones."""
    broken = [place for place, status in enumerate(verdicts.status) if status is Status.BROKEN]
    others = [place for place, status in enumerate(verdicts.status) if status is not Status.BROKEN]
    ranked = sorted(broken, key=lambda place: float(verdicts.size[place]))
    spread = [ranked[int(turn)] for turn in np.linspace(0, len(ranked) - 1, min(most, len(ranked)))]
    places = sorted({*spread, *(others if most == sys.maxsize else others[: most // 3])})
    if not places:
        return None
    rows, domain = torch.tensor(places), data.domain
    return Points([data.ids[place] for place in places], domain.pack(data.x[rows]), domain.pack(verdicts.points[rows]))
