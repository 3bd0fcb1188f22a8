"""`evaluate` and `doctor`: the main job and the check before it, for Python."""

import os
from collections.abc import Sequence
from typing import Any

from sparring.bench.evaluate import Case, Listener, Settings, carry_out
from sparring.bench.gate import check_gate, judge_gate
from sparring.bench.run import Run
from sparring.bench.sets import choose
from sparring.core.errors import InputError
from sparring.core.threat import Threat
from sparring.core.victim import Victim
from sparring.data.dataset import Data
from sparring.judge.doctor import Finding, examine
from sparring.models.adapter import victim as as_victim
from sparring.threats.threats import linf


def evaluate(
    victim: Any,
    data: Any,
    threat: Threat | Sequence[Threat],
    attacks: str | list[str] = "default",
    *,
    seed: int = 0,
    batch: int = 250,
    cascade: bool = True,
    points: str = "gallery",
    gate: Sequence[str] = (),
    out: str | os.PathLike[str] = "runs",
    listen: Listener | None = None,
) -> Run:
    """Attack a model, judge every point, record it all; the same call continues an interrupted one.

    victim: a `Victim`, or a model where `data` is a `Data`. data: a `Data`, or a pair (x, y) that fits the
    victim's domain. threat: one or several. attacks: a named set or a list such as ["pgd(steps=50)", "square"].
    seed, batch, cascade, points: see `bench.evaluate.Settings`. gate: rules such as "robust_accuracy >= 0.45".
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
    cases = [Case(f"{model.name} · {one.space.short()}", model, data, one, choose(attacks, model, one)) for one in threats]
    check_gate(gate, (case.name for case in cases))
    settings = Settings(seed, batch, cascade, points)
    plan = {"attacks": attacks, "seed": seed, "batch": batch, "cascade": cascade, "points": points, "gate": list(gate)}
    run = carry_out(cases, out, plan, settings, listen)
    run.record.header["gate"] = judge_gate(run, list(gate))
    run.record.save_header()
    return run


def doctor(victim: Victim, data: Any) -> list[Finding]:
    """What an evaluation of this victim would stumble over: checks D1 to D9 on up to 64 samples."""
    if not isinstance(data, Data):
        data = Data.of(data[0], data[1], victim.domain)
    return examine(victim, data, linf(0.0))
