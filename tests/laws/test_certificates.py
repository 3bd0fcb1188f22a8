"""Promise 9: a certificate never contradicts an attack, a planted truth or another certificate; what cannot be decided is unknown."""

import itertools

import numpy as np
import pytest
import torch
from support import ARENAS, tiny_images, tiny_net
from torch import nn

from sparring.certification.certificate import Certificate, Verdict
from sparring.certification.certify import certified_radius, certify
from sparring.core.dice import Dice
from sparring.core.registry import everything, find
from sparring.core.threat import Threat
from sparring.domains.image import Image
from sparring.models.torch import TorchVictim
from sparring.threats.balls import L1, L2, Linf
from sparring.threats.goals import Untargeted

PAIRS = [
    (name, arena.name) for arena in ARENAS.values() for name, certifier in everything("certifier").items() if not certifier.misfit(arena.victim, arena.threat)
]
SIZES = (0.02, 0.1, 0.5, 1.0)
"""Radii as shares of the arena's: from where nearly everything is proved to where little is."""


def asked(name, arena, share=1.0, rows=None):
    rows = torch.arange(len(arena.y)) if rows is None else torch.tensor(rows)
    threat = arena.threat.at(share * torch.tensor(arena.radii())).take(rows)
    return certify(arena.victim, arena.x[rows], arena.y[rows], threat, [name], dice=arena.dice().take(rows))


def test_something_is_certified():
    assert {name for name, _ in PAIRS} >= {"network"}
    assert any(one.proved for name, arena in PAIRS for one in asked(name, ARENAS[arena], 0.02))


@pytest.mark.parametrize("share", SIZES)
@pytest.mark.parametrize(("name", "arena"), PAIRS)
def test_nothing_proved_is_broken_by_points_of_the_threat(name, arena, share):
    """Random points, corners and an attack, put to the user's own model."""
    arena = ARENAS[arena]
    found = asked(name, arena, share)
    threat = arena.threat.at(share * torch.tensor(arena.radii()))
    region = threat.space.around(arena.x, arena.victim.domain)
    targets = arena.targets()
    points = [arena.x]
    for turn in range(60):
        dice = arena.dice().draw(turn)
        points += [region.sample(dice)] + ([region.corner(dice)] if hasattr(region, "corner") else [])
    points.append(find("attack", "pgd")(arena.victim, arena.x, arena.y, threat.seeing("gradients"), arena.dice(), steps=30, restarts=3))
    for batch in points:
        inside = region.inside(batch)
        for place, label in enumerate(arena.own(batch).tolist()):
            met = label == targets[place] if targets[place] is not None else label != int(arena.y[place])
            assert not (found[place].proved and met and bool(inside[place])), (place, found[place])


@pytest.mark.parametrize(("name", "arena"), PAIRS)
def test_witnesses_are_allowed_and_break(name, arena):
    arena = ARENAS[arena]
    radii, targets = arena.radii(), arena.targets()
    for place, one in enumerate(certify(arena.victim, arena.x, arena.y, arena.threat, [name], dice=arena.dice(), seconds=5)):
        if one.verdict is Verdict.REFUTED:
            assert arena.allowed(np.asarray(arena.x[place]), np.asarray(one.witness), radii[place])
            label = int(arena.own(one.witness[None])[0])
            assert label == targets[place] if targets[place] is not None else label != int(arena.y[place])


@pytest.mark.parametrize(("name", "arena"), PAIRS)
def test_every_split_gives_the_same_verdicts(name, arena):
    arena = ARENAS[arena]
    count = len(arena.y)
    whole = asked(name, arena, 0.3)
    alone = [asked(name, arena, 0.3, [place])[0] for place in range(count)]
    backwards = asked(name, arena, 0.3, list(reversed(range(count))))[::-1]
    for one, other, third in zip(whole, alone, backwards, strict=True):
        assert one.verdict == other.verdict == third.verdict
        assert one.method == other.method == third.method


@pytest.mark.parametrize(("name", "arena"), PAIRS)
def test_what_is_wrong_without_attack_is_never_proved(name, arena):
    arena = ARENAS[arena]
    wrong = (
        ~arena.right()
        if arena.threat.goal.kind == "untargeted"
        else torch.tensor([label == target for label, target in zip(arena.own(arena.x).tolist(), arena.targets(), strict=True)])
    )
    for share in (0.0, 0.02, 1.0):
        assert not any(one.proved for one, bad in zip(asked(name, arena, share), wrong.tolist(), strict=True) if bad)


@pytest.mark.parametrize(("name", "arena"), PAIRS)
def test_a_certified_radius_is_itself_certified(name, arena):
    """Bisection returns radii at which the certificate says yes, and no attack breaks within them."""
    arena = ARENAS[arena]
    found = certified_radius(arena.victim, arena.x, arena.y, arena.threat, [name], steps=4, dice=arena.dice())
    radii = torch.tensor([one.radius for one in found], dtype=torch.float64)
    threat = arena.threat.at(radii)
    points = find("attack", "pgd")(arena.victim, arena.x, arena.y, threat.seeing("gradients"), arena.dice(), steps=30)
    targets = arena.targets()
    for place, label in enumerate(arena.own(points).tolist()):
        met = label == targets[place] if targets[place] is not None else label != int(arena.y[place])
        assert not (met and radii[place] > 0)


class Poisoned(nn.Module):
    """A network with one weight that is not a number, or that overflows."""

    def __init__(self, value):
        super().__init__()
        self.net = tiny_net(3)
        with torch.no_grad():
            self.net[3].weight[1, 5] = value

    def forward(self, x):
        return self.net(x.double())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e308])
@pytest.mark.parametrize("space", [Linf(0.01), L2(0.01), L1(0.01)])
def test_numbers_that_are_none_are_never_proved(value, space):
    victim = TorchVictim(Poisoned(value), Image((1, 6, 6)), search="plain")
    x = tiny_images()
    for y in range(3):
        found = certify(victim, x, torch.full((len(x),), y), Threat(space, Untargeted()), ["network"])
        own = Poisoned(value)(x).detach()
        for place, one in enumerate(found):
            if one.proved:  # only where the plain answer is finite and right
                assert bool(torch.isfinite(own[place]).all())
                assert int(own[place].argmax()) == y


def test_an_operator_without_bounds_is_unknown_and_named():
    class Odd(nn.Module):
        def forward(self, x):
            return torch.stack([x.flatten(1).sum(1).erf(), x.flatten(1).mean(1).sin()], 1)

    victim = TorchVictim(Odd(), Image((1, 6, 6)), search="plain")
    for one in certify(victim, tiny_images(), torch.zeros(6, dtype=torch.int64), Threat(Linf(0.01), Untargeted()), ["network"]):
        assert one.verdict is Verdict.UNKNOWN
        assert one.reason.startswith("operator: ")
        assert "erf" in one.reason or "sin" in one.reason


def test_a_verdict_says_why_or_shows_its_witness():
    with pytest.raises(ValueError):
        Certificate(Verdict.UNKNOWN)
    with pytest.raises(ValueError):
        Certificate(Verdict.REFUTED)


def enumerated(net, x, y, radius):
    """Is another class reachable? All activation patterns of one hidden layer of ReLUs by linear programmes, nothing borrowed."""
    from scipy.optimize import linprog

    w, b, v, c = (part.detach().double().numpy() for part in (net[1].weight, net[1].bias, net[3].weight, net[3].bias))
    low, high = np.clip(x - radius, 0, 1), np.clip(x + radius, 0, 1)
    worst = np.inf
    for pattern in itertools.product((0, 1), repeat=len(b)):
        on = np.array(pattern)
        a_ub, b_ub = np.where(on[:, None] == 1, -w, w), np.where(on == 1, b, -b)
        for other in range(len(c)):
            if other != y:
                slope = ((v[y] - v[other]) * on) @ w
                found = linprog(slope, a_ub, b_ub, bounds=list(zip(low, high, strict=True)), method="highs")
                if found.status == 0:
                    worst = min(worst, found.fun + ((v[y] - v[other]) * on) @ b + c[y] - c[other])
    return worst


@pytest.mark.parametrize("seed", range(3))
def test_planted_truth(seed):
    """Networks whose worst case is enumerated: what is proved is true, and time given, everything is decided."""
    random = torch.Generator().manual_seed(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=random, dtype=torch.float64))
    x = torch.rand(8, 1, 2, 2, generator=random)
    y = net(x.double()).argmax(1)
    victim = TorchVictim(net, Image((1, 2, 2)), search="plain")
    decided = 0
    for radius in (0.05, 0.2, 0.5):
        found = certify(victim, x, y, Threat(Linf(radius), Untargeted()), ["network"], effort="thorough", seconds=3)
        for place, one in enumerate(found):
            worst = enumerated(net, x[place].double().flatten().numpy(), int(y[place]), radius)
            if abs(worst) > 1e-5:
                assert one.verdict is not (Verdict.REFUTED if worst > 0 else Verdict.PROVED)
                decided += one.verdict is not Verdict.UNKNOWN
    assert decided >= 22


def test_dice_decide_nothing_here():
    arena = ARENAS["linf"]
    first, second = (certify(arena.victim, arena.x, arena.y, arena.threat.at(0.01), ["network"], dice=Dice.of(seed, range(len(arena.y)))) for seed in (0, 1))
    assert first.table().drop(columns="seconds").equals(second.table().drop(columns="seconds"))
