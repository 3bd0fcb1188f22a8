"""From a plan to its cases: models, data and threats are loaded and checked against each other."""

import dataclasses
from typing import TYPE_CHECKING, Any, cast

from sparring.aims.aim import Aim, Request
from sparring.aims.case import Case
from sparring.aims.evasion.case import EvasionCase
from sparring.core.errors import PlanError
from sparring.core.fit import read_fit
from sparring.core.registry import everything, find, read_thing
from sparring.core.threat import Budget, Threat
from sparring.data.load import load
from sparring.data.members import is_list, read_members
from sparring.models.load import load_model

if TYPE_CHECKING:
    from sparring.bench.plan import Plan


def cases_of(plan: "Plan") -> list[Case]:
    """Return the cases of a plan, loaded and checked against each other.

    Raises:
        UsageError: For what does not fit.
    """
    found: list[Case] = []
    for part in plan.parts():
        chosen: Aim = find("aim", part.aim)
        _check_keys(part, chosen)
        found += chosen.cases(_request(part, chosen))
    return _named_apart(found)


def evasion_cases_of(plan: "Plan") -> list[EvasionCase]:
    """Return the cases of a plan that is about evasion alone.

    Raises:
        PlanError: For a plan with another aim.
    """
    found = cases_of(plan)
    if other := [one for one in found if one.aim != "evasion"]:
        raise PlanError(f"this command supports aim=evasion only, but the plan has aim={other[0].aim}: use spar run")
    return [one for one in found if isinstance(one, EvasionCase)]


def keys_of_others(chosen: Aim) -> set[str]:
    """Return the keys of plans that have a meaning for other aims only."""
    return {key for one in everything("aim").values() for key in one.keys} - chosen.keys


def _check_keys(plan: "Plan", chosen: Aim) -> None:
    """Refuse keys that only other aims understand, and plans that lack a key."""
    for name in sorted(plan.model_fields_set & keys_of_others(chosen)):
        raise PlanError(f"plan key {name!r} does not apply to aim={chosen.name}, which has the keys {', '.join(sorted(chosen.keys))}")
    for missing in ("model", "data", "threat"):
        if not getattr(plan, missing) and (missing == "data" or missing in chosen.keys - chosen.optional):
            raise PlanError(f"the plan has no {missing}: add {missing}=..., or run without arguments for the default plan")


def _request(plan: "Plan", chosen: Aim) -> Request:
    """Return the request for the aim, with everything loaded."""
    split = plan.split or ("all" if plan.members and not is_list(plan.members) else None)
    data = load(str(plan.data), split=split, take=plan.take, target=plan.target, deployed=plan.deployed, task=plan.task, classes=plan.classes or None)
    victims = [load_model(reference, data, weights=plan.weights, settings=plan.of_models()) for reference in plan.model]
    searched = {"search": plan.search} if plan.search else {}
    sources = [[load_model(part.strip(), data, settings=searched) for part in written.split("+")] for written in plan.source]
    threats = [_threat(plan, written) if chosen.threat == "space" else read_thing(chosen.threat, written) for written in plan.threat]
    fits = [read_fit(written) for written in plan.fit] if "fit" in chosen.keys else []
    members = read_members(plan.members, str(plan.data), target=plan.target, deployed=plan.deployed, task=plan.task) if plan.members else None
    apart = "fit" in chosen.keys and chosen.train and plan.split != "train"
    alike = {"target": plan.target, "deployed": plan.deployed, "task": plan.task, "classes": plan.classes or None}
    train = load(str(plan.data), split="train", **alike) if apart else None
    return Request(data, victims, threats, plan.attacks, plan.certify, train, fits, plan.trials, plan.seed, sources or None, members)


def _threat(plan: "Plan", written: str) -> Threat:
    space, goal = read_thing("space", written, "parse"), read_thing("goal", plan.goal)
    return Threat(space, goal, "gradients" if plan.access is None else plan.access, Budget(plan.queries, plan.steps, plan.seconds), minimal=plan.smallest)


def _named_apart(cases: list[Case]) -> list[Case]:
    """Return the cases with numbers added to names that occur twice."""
    names = [case.name for case in cases]
    return [
        case if names.count(case.name) == 1 else dataclasses.replace(cast(Any, case), name=f"{case.name} ({names[: place + 1].count(case.name)})")
        for place, case in enumerate(cases)
    ]
