"""Access is enforced where the question is put, even when an attack lies about what it needs."""

import pytest
import torch
from support import ARENAS, Instrumented

from sparring.aims.case import Settings
from sparring.aims.evasion.case import EvasionCase
from sparring.attacks.attack import Attack
from sparring.attacks.losses import margin
from sparring.bench.evaluate import carry_out
from sparring.core.errors import AccessError
from sparring.core.registry import everything
from sparring.data.dataset import Data

QUESTIONS = {
    "gradients": lambda problem: problem.gradient(problem.x, margin),
    "scores": lambda problem: problem.scores(problem.x),
    "labels": lambda problem: problem.answers(problem.x),
}
LEVELS = ["labels", "scores", "gradients"]


@pytest.mark.parametrize("asked", LEVELS)
@pytest.mark.parametrize("granted", LEVELS)
def test_only_what_is_granted_is_answered(granted, asked):
    """Each level of access includes the weaker ones and nothing more."""
    victim = Instrumented(ARENAS["linf"].victim)
    arena = ARENAS["linf"].with_victim(victim)
    problem = arena.problem(arena.threat.seeing(granted))
    if LEVELS.index(asked) <= LEVELS.index(granted):
        QUESTIONS[asked](problem)
        assert victim.asked == len(arena.y)
    else:
        with pytest.raises(AccessError, match=f"grants {granted}"):
            QUESTIONS[asked](problem)
        assert victim.asked == 0
        assert int(problem.ledger.cost.queries.sum()) == 0


def test_what_a_victim_does_not_expose_is_not_answered():
    """A victim of labels gives no scores, whatever the threat grants."""
    arena = ARENAS["linf"].with_victim(Instrumented(ARENAS["linf"].victim, exposes={"labels"}))
    for asked in ("scores", "gradients"):
        with pytest.raises(AccessError, match="exposes labels"):
            QUESTIONS[asked](arena.problem())


def test_margins_under_labels_are_signs():
    """Under access "labels" margins are +1 and -1 and only labels are asked."""
    victim = Instrumented(ARENAS["linf"].victim)
    arena = ARENAS["linf"].with_victim(victim)
    margins = arena.problem(arena.threat.seeing("labels")).losses(arena.x)
    assert margins.tolist() == [-1.0] * 5 + [1.0]
    assert {kind for kind, _ in victim.questions} == {"label"}


def test_a_cheat_stops_the_evaluation(tmp_path):
    """An attack that claims to need labels and asks for gradients ends the run; it is not written down as a verdict."""
    arena = ARENAS["linf-scores"]
    cheat = Attack("cheat", lambda problem: QUESTIONS["gradients"](problem), frozenset({"labels"}), frozenset(), "nobody")
    data = Data.of(arena.x, arena.y, arena.victim.domain, classes=["a", "b", "c"])
    with pytest.raises(AccessError):
        carry_out([EvasionCase("cheat", arena.victim, data, arena.threat, (cheat,))], tmp_path, {}, Settings())


@pytest.mark.parametrize("name", [name for name, one in everything("attack").items() if not one.tasks or "classes" in one.tasks])
def test_needs_are_honest(name):
    """An attack works with exactly what it says it needs: with less than it needs it is refused, with that it does not ask for more."""
    attack, met = everything("attack")[name], 0
    for arena in map(ARENAS.get, ARENAS.general()):
        threat = arena.threat.seeing(max(attack.needs, key=LEVELS.index))
        victim = Instrumented(arena.victim)
        if attack.misfit(victim, threat):
            continue
        met += 1
        problem = arena.with_victim(victim).problem(threat.within(queries=20), torch.arange(2))
        with victim.session():
            attack.run(problem)
        asked = {"gradient" if kind == "gradient" else kind for kind, _ in victim.questions}
        if "gradients" not in attack.needs:
            assert "gradient" not in asked
        if attack.needs == {"labels"}:
            assert asked <= {"label"}
    assert met
