"""The verdict on every point: written in its deployed form, checked, and put to the victim again."""

from enum import StrEnum
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sparring.core.domain import Batch
from sparring.core.threat import Reference, Threat
from sparring.core.victim import Victim


class Status(StrEnum):
    """What came of one sample under one attack."""

    SKIPPED = "skipped"  # not attacked: see the note
    BROKEN = "broken"  # an allowed point meets the goal
    HELD = "held"  # the attack ended without one
    INFEASIBLE = "infeasible"  # the point meets the goal but is not allowed
    OUT_OF_BUDGET = "out_of_budget"  # the budget ended before the attack did
    ERROR = "error"  # no verdict: see the note; counts against the model


class Verdicts(NamedTuple):
    """One entry a sample. points: as deployed. predicted: class of the point, -1 without an answer.
    margin: how far past the goal (positive: met; NaN where only labels are exposed). size: of the change,
    in the unit of the radius. note: the reason where there is one."""

    status: list[Status]
    points: Batch
    predicted: Tensor
    margin: Tensor
    size: Tensor
    note: list[str]


def judge(victim: Victim, x: Batch, points: Batch, reference: Reference, threat: Threat, spent: Tensor) -> Verdicts:
    """Decide what became of each sample.

    x, points: batches of the victim's domain. spent: bool [n], rows whose budget ended the attack.
    A point counts as broken only if its deployed form is valid and allowed, and a fresh call of the
    deployed model meets the goal. Call inside `victim.session()`.
    """
    domain, device = victim.domain, reference.anchor.device
    deployed = domain.deploy(points, x)
    region = threat.space.around(x, domain)
    valid = torch.as_tensor(np.asarray(domain.valid(deployed)), device=device)
    allowed = region.inside(deployed).to(device) & valid
    predicted, margin = ask(victim, deployed, reference, threat)
    met = threat.goal.done(predicted, reference)
    status = [_status(*flags) for flags in zip(met.tolist(), allowed.tolist(), (predicted >= 0).tolist(), spent.tolist(), strict=True)]
    complaints = region.complaint(deployed) if Status.INFEASIBLE in status else [""] * len(x)
    note = [_note(one, complaint) for one, complaint in zip(status, complaints, strict=True)]
    return Verdicts(status, deployed, predicted, margin, region.size(deployed).to(device), note)


def ask(victim: Victim, points: Batch, reference: Reference, threat: Threat) -> tuple[Tensor, Tensor]:
    """(classes int64 [n], margins float64 [n]) of the deployed model; margins are NaN without scores."""
    if "scores" not in victim.exposes:
        labels = victim.label(points)
        return labels, torch.full((len(labels),), torch.nan, dtype=torch.float64, device=labels.device)
    scores = victim.scores(points)
    return victim.decide(points, scores), threat.goal.margin(scores, reference).double()


def _status(met: bool, allowed: bool, answered: bool, spent: bool) -> Status:
    if not answered:
        return Status.ERROR
    if met:
        return Status.BROKEN if allowed else Status.INFEASIBLE
    return Status.OUT_OF_BUDGET if spent else Status.HELD


def _note(status: Status, complaint: str) -> str:
    if status is Status.ERROR:
        return "the model answered with NaN or infinite scores"
    return (complaint or "outside the domain") if status is Status.INFEASIBLE else ""
