"""The Python functions `evaluate`, `doctor` and `reevaluate`."""

import os
import warnings
from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor

from sparring.aims.aim import Request
from sparring.aims.case import Settings
from sparring.attacks.attack import Attack, read_attack
from sparring.bench.evaluate import carry_out
from sparring.bench.gate import check_gate, conclude
from sparring.bench.run import Run
from sparring.certification.certifier import Certifier
from sparring.core.errors import PlanError
from sparring.core.events import Listener
from sparring.core.expression import split_list
from sparring.core.foreign import in_our_words
from sparring.core.registry import find
from sparring.core.threat import Threat
from sparring.core.victim import Victim
from sparring.data.dataset import Data
from sparring.data.wanted import data_of
from sparring.diagnosis.doctor import Findings, examine
from sparring.diagnosis.reevaluate import PLAIN, Reevaluation
from sparring.diagnosis.reevaluate import reevaluate as look_again
from sparring.models.wanted import threat_of, victim_of
from sparring.threats.threats import linf


@in_our_words
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
    points: Literal["none", "gallery", "all"] = "gallery",
    self_check: bool = True,
    gate: str | Sequence[str] = (),
    out: str | os.PathLike[str] = "runs",
    listen: Listener | None = None,
    doubt: bool | None = None,
) -> Run:
    """Certify and attack a model, judge every point and record the results.

    The same call continues an interrupted run.

    Args:
        victim: A `Victim`, a pair (model, domain), or any model where `data` is a `Data`, which tells what the inputs are.
        data: A `Data`, or a pair (x, y), a torch `Dataset` or a `DataLoader` that fits the victim's domain.
        threat: One or several.
        attacks: A named set or a list such as ["pgd(steps=50)", "square"], where a configured `Attack`, as `sp.transfer(...)` makes,
            may stand beside the names.
        certify: What to prove with before the attacks: "default" for all certifiers that fit, "none", or a list such as
            ['network(effort="bounds")'].
        seed: Of all random draws, which are keyed by sample; at least 0.
        batch: Samples searched together, at least 1. It changes the speed and no verdict.
        cascade: Whether an attack sees only the samples that earlier attacks left standing.
        points: Which adversarial inputs to keep: "none", "gallery" (a few for the report) or "all".
        self_check: Whether to re-evaluate with adaptive attacks where a check of the model fails.
        gate: Rules such as "robust_accuracy >= 0.45", as a list, or as one string with commas between them.
        out: Folder or fsspec URL under which the run folder is made.
        listen: Called with (event, details).
        doubt: The former name of `self_check`.

    Returns:
        A `Run`, which reads everything from its record.

    Raises:
        UsageError: before the first query to the model, where something does not fit.

    Example:
        >>> import sparring as sp
        >>> victim, data = sp.load_model("zoo:digits-plain"), sp.load("digits", take=4)
        >>> evaluate(victim, data, sp.linf(0.1), ["fgsm"], certify="none", self_check=False, out="memory://example").status
        'done'
    """
    if doubt is not None:
        warnings.warn("the setting doubt= of evaluate is now called self_check=", DeprecationWarning, stacklevel=3)
        self_check = doubt
    model = _victim(victim, data)
    data = data_of(data, model.domain, model.task)
    threats = [threat] if isinstance(threat, Threat) else list(threat) if isinstance(threat, list | tuple) else []
    if not threats or not all(isinstance(one, Threat) for one in threats):
        threat_of(threat if not threats else next(one for one in threats if not isinstance(one, Threat)))
    cases = find("aim", "evasion").cases(Request(data, [model], threats, attacks, certify, seed=seed))
    rules = split_list(gate) if isinstance(gate, str) else list(gate)
    check_gate(rules, {case.name: case.aim for case in cases}, {case.name: case.task for case in cases})
    settings = Settings(seed, batch, cascade, points, self_check=self_check)
    listed = [attacks] if isinstance(attacks, Attack) else attacks
    said = listed if isinstance(listed, str) else [str(one) if isinstance(one, Attack) else one for one in listed]
    asked = [certify] if isinstance(certify, str | Certifier) else certify
    plan = {
        "attacks": said,
        "certify": [str(one) if isinstance(one, Certifier) else one for one in asked],
        "seed": seed,
        "batch": batch,
        "cascade": cascade,
        "points": points,
        "self_check": self_check,
        "gate": rules,
    }
    run = carry_out(cases, out, plan, settings, listen)
    conclude(run, rules)
    return run


@in_our_words
def doctor(victim: Any, data: Any, threat: Threat | None = None, *, deep: bool | None = False) -> Findings:
    """Check a victim for faults that would spoil an evaluation, on up to 64 samples.

    Args:
        victim: As for `evaluate`.
        data: As for `evaluate`.
        threat: The threat that is to be evaluated.
        deep: Whether to make the checks D10 to D26 beside D1 to D9. They attack at the radius of the threat and cost some thousand
            passes per sample. None makes them only where a plain check is not in order.

    Returns:
        The `Findings` of all checks, in the order of their codes.

    Raises:
        PlanError: where deep checks are asked for without a threat whose radius is above 0.

    Example:
        >>> import sparring as sp
        >>> victim, data = sp.load_model("zoo:digits-plain"), sp.load("digits", take=4)
        >>> doctor(victim, data, sp.linf(0.1)).verdict in ("reliable", "caution", "unreliable")
        True
    """
    victim = _victim(victim, data)
    threat = None if threat is None else threat_of(threat)
    if deep is not False and (threat is None or not _reaches(threat)):
        raise PlanError("deep checks attack the model and need a threat: doctor(victim, data, sp.linf(0.1), deep=True)")
    return Findings(examine(victim, data_of(data, victim.domain, victim.task), threat or linf(0.0), deep=deep))


@in_our_words
def reevaluate(victim: Any, data: Any, threat: Threat, *, plain: str = PLAIN, seed: int = 0) -> Reevaluation:
    """Measure how much of a robust accuracy survives the attacks of an adaptive adversary.

    All checks are made first.

    Args:
        victim: As for `evaluate`.
        data: As for `evaluate`; up to 64 samples are looked at.
        threat: The threat under which the accuracy was measured.
        plain: The attack behind the claim.
        seed: Seed of all random numbers.

    Returns:
        A `Reevaluation` with the accuracy claimed, after each remedy, and best known; see `diagnosis.reevaluate`.

    Raises:
        PlanError: where no radius of the threat is above 0.

    Example:
        >>> import sparring as sp
        >>> victim, data = sp.load_model("zoo:digits-plain"), sp.load("digits", take=4)
        >>> reevaluate(victim, data, sp.linf(0.01)).verdict in ("reliable", "caution", "unreliable")
        True
    """
    victim, threat = _victim(victim, data), threat_of(threat)
    if not _reaches(threat):
        raise PlanError("an adaptive re-evaluation attacks the model: give a threat with a radius above 0")
    attack = read_attack(plain)
    attack.check(victim, threat)
    return look_again(victim, data_of(data, victim.domain, victim.task), threat, plain=attack, seed=seed)


def _victim(given: Any, data: Any) -> Victim:
    """Return the model as a victim; its domain and task may follow from the data."""
    return victim_of(given, data.domain, task=data.task) if isinstance(data, Data) else victim_of(given)


def _reaches(threat: Threat) -> bool:
    """Return whether any radius is above 0."""
    radius = threat.space.radius
    return bool((radius > 0).any()) if isinstance(radius, Tensor) else radius > 0
