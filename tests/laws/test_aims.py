"""An attack with several tries makes different ones."""

import torch
from support import ARENAS, Instrumented, short

from sparring.core.registry import find


def test_noise_asks_new_points():
    """Every try of the control is a new point of each sample."""
    arena = ARENAS["linf"]
    victim = Instrumented(arena.victim)
    rows = arena.right().nonzero().squeeze(1)
    short(find("attack", "noise"))(victim, arena.x[rows], arena.y[rows], arena.threat.at(1e-3), arena.rng().take(rows))
    asked = [points for _, points in victim.questions]
    assert len(asked) == 8
    for one in range(8):
        for other in range(one):
            assert not bool((asked[one] == asked[other]).flatten(1).all(1).any())


def test_apgd_t_aims_at_one_class_after_the_other():
    """The first step of every restart goes toward another class: the highest of the clean input first, then the next."""
    arena = ARENAS["l2"]
    rows = arena.right().nonzero().squeeze(1)
    threat, x, y = arena.threat.at(1e-3), arena.x[rows], arena.y[rows]
    asked = []

    class Watched(Instrumented):
        def gradient(self, x, objective):
            graded = super().gradient(x, objective)
            asked.append((x.clone(), graded.grad.clone()))
            return graded

    find("attack", "apgd_t").configure(steps=1, targets=2, loss="margin")(Watched(arena.victim), x, y, threat, arena.rng().take(rows))
    ranked = arena.victim.scores(x).scatter(1, y[:, None], -torch.inf).argsort(1, descending=True)
    assert len(asked) == 4
    for turn, (points, grad) in enumerate(asked[::2]):
        point = points.clone().double().requires_grad_(True)
        scores = arena.victim.module(point)
        target = ranked[:, turn : turn + 1]
        others = scores.scatter(1, target, -torch.inf).amax(1)
        (expected,) = torch.autograd.grad((scores.gather(1, target).squeeze(1) - others).sum(), point)
        assert torch.allclose(grad.double(), expected, atol=1e-5)
