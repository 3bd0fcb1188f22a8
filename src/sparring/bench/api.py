"""`evaluate`, `doctor` and `second_look`: the main job, the check before it and the doubt after it, for Python."""

import os
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from sparring.attacks.attack import Attack
from sparring.bench.evaluate import Case, Listener, Settings, carry_out
from sparring.bench.gate import check_gate, judge_gate
from sparring.bench.run import Run
from sparring.bench.sets import choose, choose_certifiers, read_attack
from sparring.certification.certifier import Certifier
from sparring.core.errors import InputError, PlanError
from sparring.core.threat import Threat
from sparring.core.victim import Victim
from sparring.data.dataset import Data
from sparring.judge.doctor import Finding, examine
from sparring.judge.remedies import PLAIN, SecondLook
from sparring.judge.remedies import second_look as look_again
from sparring.models.adapter import victim as as_victim
from sparring.threats.threats import linf


def evaluate(
    victim: Any,
    data: Any,
    threat: Threat | Sequence[Threat],
    attacks: str | Attack | Sequence[str | Attack] = "default",
    *,
    certify: str | Certifier | Sequence[str | Certifier] = "default",
    seed: int = 0,
    batch: int = 250,
    cascade: bool = True,
    points: str = "gallery",
    doubt: bool = True,
    gate: Sequence[str] = (),
    out: str | os.PathLike[str] = "runs",
    listen: Listener | None = None,
) -> Run:
    """Certify and attack a model, judge every point, record it all; the same call continues an interrupted one.

    victim: a `Victim`, or a model where `data` is a `Data`. data: a `Data`, or a pair (x, y) that fits the
    victim's domain. threat: one or several. attacks: a named set or a list such as ["pgd(steps=50)", "square"], where a
    configured `Attack`, as `sp.transfer(...)` makes, may stand beside the names.
    certify: what to prove with before the attacks: "default" for all certifiers that fit, "none", or a list such as ['network(effort="bounds")'].
    seed, batch, cascade, points, doubt: see `bench.evaluate.Settings`. gate: rules such as "robust_accuracy >= 0.45".
    out: folder or fsspec URL under which the run folder is made. listen: called with (event, details).

    Returns a `Run`. Raises UsageError before the first question to the model.
    """
    if isinstance(data, Data):
        model = as_victim(victim, data.domain)
    elif isinstance(victim, Victim) and isinstance(data, tuple | list) and len(data) == 2:
        model = victim
        data = Data.of(data[0], data[1], victim.domain, classes=[str(number) for number in range(victim.classes)])
    else:
        raise InputError("evaluate takes (victim, data, threat): data as sp.Data or (x, y), and with (x, y) the model wrapped by sp.victim(model, domain)")
    threats = [threat] if isinstance(threat, Threat) else list(threat) if isinstance(threat, list | tuple) else []
    if not threats or not all(isinstance(one, Threat) for one in threats):
        raise InputError(f"the threat is {threat!r}: give sp.linf(0.1), sp.l2(0.5), sp.rules(...) or several of them in a list")
    cases = [
        Case(f"{model.name} · {one.space.short()}", model, data, one, choose(attacks, model, one), choose_certifiers(certify, model, one)) for one in threats
    ]
    check_gate(gate, (case.name for case in cases))
    settings = Settings(seed, batch, cascade, points, doubt=doubt)
    listed = [attacks] if isinstance(attacks, Attack) else attacks
    said = listed if isinstance(listed, str) else [one.say() if isinstance(one, Attack) else one for one in listed]
    asked = [certify] if isinstance(certify, str | Certifier) else certify
    plan = {
        "attacks": said,
        "certify": [one.say() if isinstance(one, Certifier) else one for one in asked],
        "seed": seed,
        "batch": batch,
        "cascade": cascade,
        "points": points,
        "doubt": doubt,
        "gate": list(gate),
    }
    run = carry_out(cases, out, plan, settings, listen)
    run.record.header["gate"] = judge_gate(run, list(gate))
    run.record.save_header()
    return run


def doctor(victim: Victim, data: Any, threat: Threat | None = None, *, deep: bool | None = False) -> list[Finding]:
    """What an evaluation of this victim would stumble over: checks D1 to D9 on up to 64 samples.

    threat: what is to be evaluated. deep: also the checks D10 to D26, which attack at the radius of the threat and cost
    some thousand passes a sample; None: only where a plain check is not in order.
    """
    if deep is not False and (threat is None or not _reaches(threat)):
        raise PlanError("deep checks attack: give the threat that is to be evaluated, doctor(victim, data, sp.linf(0.1), deep=True)")
    return examine(victim, _data(victim, data), threat or linf(0.0), deep=deep)


def second_look(victim: Victim, data: Any, threat: Threat, *, plain: str = PLAIN, seed: int = 0) -> SecondLook:
    """What becomes of a robust accuracy when it is doubted: all checks, then the attacks that an adaptive adversary would try.

    victim: a `Victim`. data: a `Data` or a pair (x, y), of which up to 64 samples are looked at. plain: the attack behind the claim.
    Returns a `SecondLook` with the accuracy claimed, after each remedy, and best known; see `judge.remedies`.
    """
    if not _reaches(threat):
        raise PlanError("a second look attacks: give a threat with a radius above 0")
    attack = read_attack(plain)
    attack.check(victim, threat)
    return look_again(victim, _data(victim, data), threat, plain=attack, seed=seed)


def _data(victim: Victim, data: Any) -> Data:
    return data if isinstance(data, Data) else Data.of(data[0], data[1], victim.domain)


def _reaches(threat: Threat) -> bool:
    """Is any radius above 0?"""
    radius = threat.space.radius
    return bool((radius > 0).any()) if isinstance(radius, Tensor) else radius > 0
