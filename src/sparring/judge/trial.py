"""Small attacks for checks: run against a victim or a variant of it, judged by the victim as it is deployed."""

import ast
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import Attack
from sparring.attacks.evasion.gradient.ascent import along
from sparring.attacks.loop import climb
from sparring.attacks.losses import loss_of
from sparring.core.bout import Bout, Loss
from sparring.core.dice import Dice, number_of
from sparring.core.domain import Batch
from sparring.core.registry import everything, find
from sparring.core.threat import Threat
from sparring.core.victim import Victim
from sparring.judge.doctor import Opinion, Patient, compare
from sparring.judge.judge import Status, judge
from sparring.models.eot import EotVictim

DRAWS = 20
"""Draws of a randomised model in its majority."""

SLACK = 0.03
"""Share of samples by which two attacks may differ before that says something; and never less than two samples."""


class Trial(NamedTuple):
    """Entries belong to the samples that are right without attack. broken: bool [m], by the deployed model. points: [m, ...].
    alone: bool [m], what the search itself held for a success. forwards, backwards: passes of the model, all samples together."""

    broken: Tensor
    points: Batch
    alone: Tensor
    forwards: int
    backwards: int


def notable(extra: int, count: int) -> bool:
    """Are so many samples of that many more than chance between two attacks?"""
    return extra > max(SLACK * count, 2)


def is_random(patient: Patient) -> bool:
    """Does the victim answer the same question in different ways?"""

    def ask() -> bool:
        again = compare(patient.clean, patient.ask(patient.x))
        return bool(again.changed) or again.largest > patient.tolerance

    return _kept(patient, "random", ask)


def deployed(patient: Patient) -> Victim:
    """Who decides: the victim, or a majority of its draws where it answers at random."""
    if isinstance(patient.victim, EotVictim) or not is_random(patient):
        return patient.victim
    return _kept(patient, "deployed", lambda: EotVictim(patient.victim, DRAWS))


def right(patient: Patient) -> Tensor:
    """int64 [m]: the samples that are right without attack, and on which there is something to reach."""

    def ask() -> Tensor:
        with deployed(patient).session(patient.seed):
            labels = deployed(patient).label(patient.x).to(patient.y.device)
        goal = patient.threat.goal
        reference = goal.reference(patient.y, Dice.of(patient.seed, range(len(patient)), patient.y.device), patient.victim.classes)
        return ((labels == patient.y) & ~goal.done(patient.y, reference)).nonzero().squeeze(1)

    return _kept(patient, "right", ask)


def attempt(patient: Patient, attack: str | Attack, *, victim: Victim | None = None, share: float = 1.0, rows: Tensor | None = None) -> Trial:
    """What an attack, written as in a plan, does to the samples that are right. victim: whom it searches on, by default the
    deployed one. share: of the radius. rows: places among the right ones, by default all. Asked once."""
    chosen = attack if isinstance(attack, Attack) else configured(attack)
    searched = victim or patient.victim
    key = f"{chosen.say()} {searched.fingerprint if victim else ''} {share} {None if rows is None else rows.tolist()}"
    return _kept(patient, key, lambda: _attempt(patient, chosen, searched, share, rows))


def configured(text: str) -> Attack:
    """The attack written as `pgd(steps=20, loss="ce")`, as checks write it."""
    written = ast.parse(text, mode="eval").body
    name, settings = (written.func, written.keywords) if isinstance(written, ast.Call) else (written, [])
    assert isinstance(name, ast.Name)
    return find("attack", name.id).configure(**{str(one.arg): ast.literal_eval(one.value) for one in settings})


def climbing(name: str, loss: Loss | None = None, *, steps: int = 40, restarts: int = 1) -> Attack:
    """PGD on a loss that is a function, by default the goal's own margin."""

    def search(bout: Bout, *, steps: int, restarts: int) -> Tensor:
        def aim(live: Bout) -> Loss:
            return loss or (lambda scores, reference: live.threat.goal.margin(scores, reference))

        def start(live: Bout, restart: int) -> "_Place":
            return _Place(cast(Any, live.region).sample(live.dice.draw(restart)))

        def step(live: Bout, state: "_Place", k: int) -> "_Place":
            return _Place(along(live, state.x, live.gradient(state.x, aim(live)).grad, 0.25 if 2 * k < steps else 0.05))

        return climb(bout, start, step, steps=steps, restarts=restarts, last_look=True)

    return Attack(
        name, search, frozenset({"gradients", "scores"}), frozenset({"project", "ascend", "sample"}), "", settings={"steps": steps, "restarts": restarts}
    )


class _Place(NamedTuple):
    x: Tensor


class Curve(NamedTuple):
    """values: float64 [steps, m], the loss along the way. broken: bool [m]."""

    values: Tensor
    broken: Tensor


def curve(patient: Patient, steps: int, loss: str = "ce") -> Curve:
    """The loss of PGD at every step on the samples that are right; samples that fall go on."""

    def ask() -> Curve:
        bout = _open(patient, patient.victim, patient.threat, right(patient))
        values = []
        with patient.victim.session(patient.seed):
            x = cast(Any, bout.region).sample(bout.dice.draw(0))
            for _ in range(steps):
                graded = bout.gradient(x, loss_of(loss))
                values.append(graded.value.double().cpu())
                x = along(bout, x, graded.grad, 2.5 / steps)
        return Curve(torch.stack(values), bout.ledger.broken.cpu())

    return _kept(patient, f"curve {steps} {loss}", ask)


def square(patient: Patient, queries: int) -> Attack | None:
    """Random search without gradients that fits this threat; None where there is none."""
    known = everything("attack")
    for name in ("square", "square_l2", "square_l1"):
        if name in known and known[name].misfit(patient.victim, patient.threat) is None and "queries" in known[name].defaults:
            return known[name].configure(queries=queries)
    return None


def unfit(patient: Patient, *attacks: str) -> Opinion | None:
    """The opinion of a check that cannot be made here; None where it can."""
    for name in attacks:
        if complaint := configured(name).misfit(patient.victim, patient.threat):
            return Opinion("not applicable", f"{complaint[0].upper()}{complaint[1:]}.")
    if not len(right(patient)):
        return Opinion("not applicable", "No sample is right without attack, so there is nothing to break.")
    return None


class Standing(NamedTuple):
    """rows: int64 [k], places among the samples that are right. count: how many of these there are."""

    rows: Tensor
    count: int


def standing(patient: Patient) -> Standing:
    """What PGD leaves, on cross-entropy and on the margin."""
    broken = attempt(patient, 'pgd(steps=20, loss="ce")').broken | attempt(patient, 'pgd(steps=20, loss="margin")').broken
    return Standing((~broken).nonzero().squeeze(1), len(broken))


def losses() -> list[str]:
    """Names of the registered losses that second looks try, in this order."""
    return [name for name in ("margin", "dlr", "pm", "mifpe") if name in everything("loss")]


def verdicts(patient: Patient, points: Batch, rows: Tensor, share: float = 1.0) -> Tensor:
    """bool [m]: which points break the deployed model inside the threat."""
    threat, victim = _scaled(patient.threat, share).take(rows), deployed(patient)
    x, reference = patient.x[rows], _reference(patient, threat, rows)
    with victim.session(patient.seed + 1):
        found = judge(victim, x, points, reference, threat, torch.zeros(len(rows), dtype=torch.bool, device=patient.y.device))
    return torch.tensor([one is Status.BROKEN for one in found.status])


def _attempt(patient: Patient, attack: Attack, searched: Victim, share: float, rows: Tensor | None) -> Trial:
    places = right(patient) if rows is None else right(patient)[rows]
    if not len(places):
        return Trial(torch.zeros(0, dtype=torch.bool), patient.x[places], torch.zeros(0, dtype=torch.bool), 0, 0)
    x = patient.x[places]
    dtype = getattr(searched, "dtype", x.dtype) if isinstance(x, Tensor) else None
    wider = dtype == torch.float64 and dtype != x.dtype
    asked = replace(patient, victim=searched, x=patient.x.to(dtype)) if wider else patient
    bout = _open(asked, searched, _scaled(patient.threat, share), places)
    with searched.session(number_of(f"{patient.seed} {attack.say()}") % 2**31):
        attack.run(bout)
    points, alone = bout.best(), bout.ledger.broken.cpu()
    if wider:  # back to the precision of the deployed model, and into the region again
        region = _scaled(patient.threat, share).take(places).space.around(x, patient.victim.domain)
        points = cast(Any, region).project(points.to(x.dtype))
    cost, draws = bout.ledger.cost, getattr(searched, "draws", 1)
    broken = verdicts(patient, points, places, share)
    return Trial(broken, points, alone, int(cost.forwards.sum()) * draws, int(cost.backwards.sum()) * draws)


def _open(patient: Patient, victim: Victim, threat: Threat, rows: Tensor) -> Bout:
    part = threat.take(rows)
    return Bout.open(victim, patient.x[rows], _reference(patient, part, rows), part, Dice.of(patient.seed, rows.tolist(), patient.y.device))


def _reference(patient: Patient, threat: Threat, rows: Tensor) -> Any:
    return threat.goal.reference(patient.y[rows], Dice.of(patient.seed, rows.tolist(), patient.y.device), patient.victim.classes)


def _scaled(threat: Threat, share: float) -> Threat:
    return threat if share == 1 else threat.at(threat.space.radius * share)


def _kept(patient: Patient, key: str, ask: Callable[[], Any]) -> Any:
    """The answer to a question that several checks have, asked once."""
    kept: dict[str, Any] = patient.__dict__.setdefault("_trials", {})
    if key not in kept:
        kept[key] = ask()
    return kept[key]
