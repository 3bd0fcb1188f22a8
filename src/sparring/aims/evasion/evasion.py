"""Evasion: a point near a clean input on which the answer is wrong."""

import copy

from sparring.aims.aim import Request, aim
from sparring.aims.case import Case
from sparring.aims.evasion.case import EvasionCase
from sparring.aims.evasion.choice import choose, choose_certifiers
from sparring.core.errors import PlanError
from sparring.core.victim import Victim
from sparring.data.dataset import Data


@aim(
    "evasion",
    unit="sample",
    baseline="clean",
    controls=("noise",),
    metrics=("robust_accuracy", "clean_accuracy", "certified_accuracy"),
    threat="space",
    keys=frozenset({"model", "threat", "goal", "smallest", "access", "queries", "steps", "seconds", "attacks", "certify", "cascade", "points", "self_check"}),
)
def evasion(request: Request) -> list[Case]:
    """Change an input within a threat until the answer is wrong, or the one that is wanted."""
    if not request.victims or not request.threats:
        raise PlanError("evasion needs a model and a threat; add model=... and threat=...")
    victims = [_told(one, request.data) for one in request.victims]
    return [
        EvasionCase(
            f"{victim.name} · {threat.space.label}",
            victim,
            request.data,
            threat,
            choose(request.attacks, victim, threat),
            choose_certifiers(request.certify, victim, threat),
        )
        for victim in victims
        for threat in request.threats
    ]


def _told(victim: Victim, data: Data) -> Victim:
    """The victim, or a copy of it that knows from the data what its own task leaves open, such as a tolerance."""
    task = victim.task.told(data.task) if victim.task.kind == data.task.kind else victim.task
    if task == victim.task:
        return victim
    known = copy.copy(victim)
    known.task = task
    return known
