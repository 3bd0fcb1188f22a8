"""Small attacks for checks, on a victim or a variant of it, judged by the deployed victim."""

from dataclasses import replace
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import Attack, read_attack
from sparring.attacks.evasion.gradient.ascent import along
from sparring.attacks.evasion.gradient.pgd import descend
from sparring.attacks.losses import NamedLoss, loss_of, margin
from sparring.core.domain import Batch
from sparring.core.problem import Problem
from sparring.core.registry import everything
from sparring.core.rng import Rng, number_of
from sparring.core.threat import Threat
from sparring.core.victim import Victim
from sparring.diagnosis.doctor import Opinion, Subject, compare
from sparring.judge.judge import Status, judge
from sparring.models.eot import EotVictim

DRAWS = 20
"""Draws of a randomised model in its majority."""

SLACK = 0.03
"""Share of samples by which two attacks may differ by chance, with a minimum of two samples."""


class ProbeResult(NamedTuple):
    """Hold the result of a probe attack, for the samples that are right without attack.

    broken: bool [m], by the deployed model. points: [m, ...].
    alone: bool [m], what the search itself held for a success. forwards, backwards: passes of the model, all samples together.
    """

    broken: Tensor
    points: Batch
    alone: Tensor
    forwards: int
    backwards: int


def notable(extra: int, count: int) -> bool:
    """Return whether so many samples are more than chance between two attacks."""
    return extra > max(SLACK * count, 2)


def is_random(subject: Subject) -> bool:
    """Return whether the victim answers the same query in different ways."""

    def ask() -> bool:
        again = compare(subject.clean, subject.ask(subject.x))
        return bool(again.changed) or again.largest > subject.tolerance

    return subject.kept("random", ask)


def deployed(subject: Subject) -> Victim:
    """Return the victim that decides: itself, or a majority of its draws where it is random."""
    if isinstance(subject.victim, EotVictim) or not is_random(subject):
        return subject.victim
    return subject.kept("deployed", lambda: EotVictim(subject.victim, DRAWS))


def right(subject: Subject) -> Tensor:
    """Return the samples that are right without attack and have a goal to reach, int64 [m]."""

    def ask() -> Tensor:
        with deployed(subject).session(subject.seed):
            answers = deployed(subject).answer(subject.x).to(subject.y.device)
        criterion = _reference(subject, subject.threat, torch.arange(len(subject), device=subject.y.device))
        return (subject.task.right(answers, subject.y) & ~criterion.met(subject.task.as_answer(subject.y))).nonzero().squeeze(1)

    return subject.kept("right", ask)


def attempt(subject: Subject, attack: str | Attack, *, victim: Victim | None = None, share: float = 1.0, rows: Tensor | None = None) -> ProbeResult:
    """Attack the samples that are right with an attack written as in a plan, once per subject.

    Args:
        subject: The victim with its samples.
        attack: As written in a plan.
        victim: The victim that is searched, by default the deployed one.
        share: Of the radius.
        rows: Places among the right ones, by default all.
    """
    chosen = _with_a_loss(subject, attack if isinstance(attack, Attack) else read_attack(attack))
    searched = victim or subject.victim
    key = f"{chosen} {searched.fingerprint if victim else ''} {share} {None if rows is None else rows.tolist()}"
    return subject.kept(key, lambda: _attempt(subject, chosen, searched, share, rows))


def _with_a_loss(subject: Subject, attack: Attack) -> Attack:
    """The attack on the goal's own loss, where the one that it names does not know this task."""
    loss = {**attack.defaults, **attack.settings}.get("loss")
    named = loss_of(loss) if isinstance(loss, str) else None
    return attack if not isinstance(named, NamedLoss) or named.fits(type(subject.criterion)) else attack.configure(loss="margin")


def ascent_of(name: str, *, steps: int = 40, restarts: int = 1) -> Attack:
    """Return PGD on the goal's own loss, with long steps first and short ones later."""

    def search(problem: Problem, *, steps: int, restarts: int) -> Tensor:
        def start(live: Problem, restart: int) -> Tensor:
            return cast(Any, live.region).sample(live.rng.draw(restart))

        return descend(problem, lambda restart, k: margin, lambda k: 0.25 if 2 * k < steps else 0.05, start, steps=steps, restarts=restarts)

    return Attack(
        name, search, frozenset({"gradients", "scores"}), frozenset({"project", "ascend", "sample"}), "", settings={"steps": steps, "restarts": restarts}
    )


class Curve(NamedTuple):
    """Hold the loss at every step, float64 [steps, m], and which samples broke, bool [m]."""

    values: Tensor
    broken: Tensor


def curve(subject: Subject, steps: int, loss: str = "ce") -> Curve:
    """Return the loss of PGD at every step on the samples that are right.

    Samples that fall go on.
    """

    def ask() -> Curve:
        problem = _open(subject, subject.victim, subject.threat, right(subject))
        values = []
        with subject.victim.session(subject.seed):
            x = cast(Any, problem.region).sample(problem.rng.draw(0))
            for _ in range(steps):
                graded = problem.gradient(x, loss_of(loss))
                values.append(graded.value.double().cpu())
                x = along(problem, x, graded.grad, 2.5 / steps)
        return Curve(torch.stack(values), problem.ledger.broken.cpu())

    return subject.kept(f"curve {steps} {loss}", ask)


def square(subject: Subject, queries: int) -> Attack | None:
    """Return the random search that fits this threat, or None."""
    known = everything("attack")
    for name in ("square", "square_l2", "square_l1"):
        if name in known and known[name].misfit(subject.victim, subject.threat) is None and "queries" in known[name].defaults:
            return known[name].configure(queries=queries)
    return None


def unfit(subject: Subject, *attacks: str) -> Opinion | None:
    """Return the opinion of a check that cannot be made here; None where it can."""
    for name in attacks:
        if complaint := read_attack(name).misfit(subject.victim, subject.threat):
            return Opinion("not applicable", f"{complaint[0].upper()}{complaint[1:]}.")
    if not len(right(subject)):
        return Opinion("not applicable", "No sample is classified correctly without attack, so there is nothing to break.")
    return None


class Standing(NamedTuple):
    """Hold the samples that an attack did not break.

    rows: int64 [k], places among the samples that are right. count: how many of these there are.
    """

    rows: Tensor
    count: int


def standing(subject: Subject) -> Standing:
    """Return the samples that PGD does not break, on cross-entropy and on the margin."""
    broken = attempt(subject, 'pgd(steps=20, loss="ce")').broken | attempt(subject, 'pgd(steps=20, loss="margin")').broken
    return Standing((~broken).nonzero().squeeze(1), len(broken))


def losses() -> list[str]:
    """Return names of the registered losses that re-evaluations try, in this order."""
    return [name for name in ("margin", "dlr", "pm", "mifpe") if name in everything("loss")]


def verdicts(subject: Subject, points: Batch, rows: Tensor, share: float = 1.0) -> Tensor:
    """Return bool [m]: which points break the deployed model inside the threat."""
    threat, victim = _scaled(subject.threat, share).take(rows), deployed(subject)
    x, criterion = subject.x[rows], _reference(subject, threat, rows)
    with victim.session(subject.seed + 1):
        found = judge(victim, x, points, criterion, threat, torch.zeros(len(rows), dtype=torch.bool, device=subject.y.device))
    return torch.tensor([one is Status.BROKEN for one in found.status])


def _attempt(subject: Subject, attack: Attack, searched: Victim, share: float, rows: Tensor | None) -> ProbeResult:
    places = right(subject) if rows is None else right(subject)[rows]
    if not len(places):
        return ProbeResult(torch.zeros(0, dtype=torch.bool), subject.x[places], torch.zeros(0, dtype=torch.bool), 0, 0)
    x = subject.x[places]
    dtype = getattr(searched, "dtype", x.dtype) if isinstance(x, Tensor) else None
    wider = dtype == torch.float64 and dtype != x.dtype
    asked = replace(subject, victim=searched, x=subject.x.to(dtype)) if wider else subject
    problem = _open(asked, searched, _scaled(subject.threat, share), places)
    with searched.session(number_of(f"{subject.seed} {attack}") % 2**31):
        attack.run(problem)
    points, alone = problem.best(), problem.ledger.broken.cpu()
    if wider:  # back to the precision of the deployed model, and into the region again
        region = _scaled(subject.threat, share).take(places).space.around(x, subject.victim.domain)
        points = cast(Any, region).project(points.to(x.dtype))
    cost, draws = problem.ledger.cost, getattr(searched, "draws", 1)
    broken = verdicts(subject, points, places, share)
    return ProbeResult(broken, points, alone, int(cost.forwards.sum()) * draws, int(cost.backwards.sum()) * draws)


def _open(subject: Subject, victim: Victim, threat: Threat, rows: Tensor) -> Problem:
    part = threat.take(rows)
    return Problem.open(victim, subject.x[rows], _reference(subject, part, rows), part, Rng.of(subject.seed, rows.tolist(), subject.y.device))


def _reference(subject: Subject, threat: Threat, rows: Tensor) -> Any:
    return threat.goal.freeze(subject.y[rows], subject.task, Rng.of(subject.seed, rows.tolist(), subject.y.device))


def _scaled(threat: Threat, share: float) -> Threat:
    return threat if share == 1 else threat.at(threat.space.radius * share)
