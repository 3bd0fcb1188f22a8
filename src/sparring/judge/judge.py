"""The verdict on every point, which is checked in its deployed form on the original model."""

from enum import StrEnum
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sparring.core.domain import Batch
from sparring.core.goal import Criterion
from sparring.core.threat import Threat
from sparring.core.victim import Victim


class Status(StrEnum):
    """Represent the outcome of one sample under one attack."""

    SKIPPED = "skipped"  # not attacked: see the note
    BROKEN = "broken"  # an allowed point meets the goal
    HELD = "held"  # the attack ended without one
    INFEASIBLE = "infeasible"  # the point meets the goal but is not allowed
    OUT_OF_BUDGET = "out_of_budget"  # the budget ended before the attack did
    ERROR = "error"  # no verdict: see the note; counts against the model


class Verdicts(NamedTuple):
    """Represent one entry per sample.

    points: as deployed. answers: of the model to them, in the form of the task. margin: float64, how far the answer is from
    the goal (positive: not met; NaN where only answers are exposed). quality: float64 in [0, 1] of each answer, NaN where
    the truth was not given. size: of the change, in the unit of the radius. note: the reason where there is one.
    """

    status: list[Status]
    points: Batch
    answers: Tensor
    margin: Tensor
    quality: Tensor
    size: Tensor
    note: list[str]


def judge(victim: Victim, x: Batch, points: Batch, criterion: Criterion, threat: Threat, spent: Tensor, truth: Tensor | None = None) -> Verdicts:
    """Decide the outcome of each sample.

    x, points: batches of the victim's domain. spent: bool [n], rows whose budget ended the attack. truth: the true answers, for the quality.
    A point counts as broken only if its deployed form is valid and allowed, and a fresh call of the
    deployed model meets the goal. Call inside `victim.session()`.
    """
    domain, task, device = victim.domain, victim.task, spent.device
    deployed = domain.deploy(points, x)
    region = threat.space.around(x, domain)
    valid = torch.as_tensor(np.asarray(domain.valid(deployed)), device=device)
    allowed = region.inside(deployed).to(device) & valid
    answers, margin = ask(victim, deployed, criterion)
    met, answered = criterion.met(answers), task.answered(answers)
    status = [_status(*flags) for flags in zip(met.tolist(), allowed.tolist(), answered.tolist(), spent.tolist(), strict=True)]
    complaints = region.complaint(deployed) if Status.INFEASIBLE in status else [""] * len(x)
    reasons = {Status.ERROR: "the model answered with NaN or infinite scores", Status.INFEASIBLE: "outside the domain"}
    note = [(one is Status.INFEASIBLE and complaint) or reasons.get(one, "") for one, complaint in zip(status, complaints, strict=True)]
    quality = torch.full_like(margin, torch.nan) if truth is None else task.quality(answers, truth)
    return Verdicts(status, deployed, answers, margin, quality, region.size(deployed).to(device), note)


def ask(victim: Victim, points: Batch, criterion: Criterion) -> tuple[Tensor, Tensor]:
    """Query the deployed model for answers and margins.

    Returns (answers, margins float64 [n]); margins are NaN without scores.
    """
    if "scores" not in victim.exposes:
        answers = victim.answer(points)
        return answers, torch.full((len(answers),), torch.nan, dtype=torch.float64, device=answers.device)
    scores = victim.scores(points)
    return victim.decide(points, scores), -criterion.loss(scores).double()


def _status(met: bool, allowed: bool, answered: bool, spent: bool) -> Status:
    if not answered:
        return Status.ERROR
    if met:
        return Status.BROKEN if allowed else Status.INFEASIBLE
    return Status.OUT_OF_BUDGET if spent else Status.HELD
