"""Evasion: a point near a clean input on which the answer is wrong."""

from sparring.aims.aim import Request, aim
from sparring.aims.case import Case
from sparring.aims.evasion.case import EvasionCase
from sparring.aims.evasion.choice import choose, choose_certifiers
from sparring.core.errors import PlanError


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
    return [
        EvasionCase(
            f"{victim.name} · {threat.space.label}",
            victim,
            request.data,
            threat,
            choose(request.attacks, victim, threat),
            choose_certifiers(request.certify, victim, threat),
        )
        for victim in request.victims
        for threat in request.threats
    ]
