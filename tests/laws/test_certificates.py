"""Promise 9: a certificate never contradicts an attack, a planted truth or another certificate; what cannot be decided is unknown."""

import itertools

import numpy as np
import pytest
import torch
from support import ARENAS, PROVE_ONLY, certified, fitting, short, tiny_images, tiny_net
from torch import nn

from sparring.certification.certificate import Certificate, Verdict
from sparring.certification.certify import certified_radius, certify
from sparring.core.registry import everything, find
from sparring.core.rng import Rng
from sparring.core.threat import Threat
from sparring.domains.image import Image
from sparring.models.torch import TorchVictim
from sparring.threats.balls import L1, L2, Linf
from sparring.threats.goals import Untargeted

PAIRS = certified()
SIZES = (0.02, 0.1, 0.5, 1.0)
"""Radii as shares of the arena's: from where nearly everything is proved to where little is."""


def settings_of(name, arena):
    return (ARENAS.recipes[arena.name].certifiers or {}).get(name, {})


def asked(name, arena, share=1.0, rows=None):
    rows = torch.arange(len(arena.y)) if rows is None else torch.tensor(rows)
    threat = arena.threat.at(share * torch.tensor(arena.radii(), dtype=torch.float64)).take(rows)
    return certify(arena.victim, arena.x[rows], arena.y[rows], threat, [name], rng=arena.rng().take(rows), **settings_of(name, arena))


def met(arena, points):
    """bool [n]: does the user's own model do at these points what the adversary wants?"""
    pairs = zip(arena.own(points).tolist(), arena.y.tolist(), arena.targets(), strict=True)
    return torch.tensor([said == target if target is not None else said != label for said, label, target in pairs])


def attacked(arena, threat, steps=30):
    """What a few strong attacks find, and random points and corners where none fits: batches of points."""
    region = threat.space.around(arena.x, arena.victim.domain)
    points = [arena.x]
    for turn in range(60):
        rng = arena.rng().draw(turn)
        points += [region.sample(rng), region.corner(rng)]
    strong = [one for one, _ in fitting(arena.name) if one in ("pgd", "square", "greedy")] or ["noise"]
    for one in strong:
        attack = short(find("attack", one), steps)
        points.append(attack(arena.victim, arena.x, arena.y, threat.seeing(max(attack.needs, key=["labels", "scores", "gradients"].index)), arena.rng()))
    return [batch for batch in points if bool(region.inside(batch).any())]


@pytest.mark.parametrize("name", everything("certifier"))
def test_every_certifier_proves_some_samples_and_not_others(name):
    """A certifier has an arena that it fits. It proves a sample there that can be changed, and leaves open or refutes one that is right without attack."""
    arenas = [ARENAS[arena] for certifier, arena in PAIRS if certifier == name]
    assert arenas, f"no arena fits {name}: register one with @arena, see tests/support.py"
    for arena in arenas:
        assert not find("certifier", name).misfit(arena.victim, arena.threat)
        assert arena.right().tolist() == [True] * 5 + [False]
    proved, left = 0, 0
    for arena in arenas:
        if proved and left:
            break
        for share in (0.02, 0.5, 3.0):
            region = arena.threat.at(share * torch.tensor(arena.radii(), dtype=torch.float64)).space.around(arena.x, arena.victim.domain)
            room = [any(differs(region.corner(arena.rng().draw(turn))[row], arena.x[row]) for turn in range(5)) for row in range(6)]
            found = asked(name, arena, share)
            proved += sum(one.proved for one, some in zip(found, room, strict=True) if some)
            left += sum(not one.proved for one in found[:5])
    assert proved
    assert left


def differs(point, other):
    return not np.array_equal(np.asarray(point), np.asarray(other))


@pytest.mark.few(2, by="name")
@pytest.mark.parametrize("share", [pytest.param(share, marks=() if share in (0.1, 0.5) else pytest.mark.slow) for share in SIZES])
@pytest.mark.parametrize(("name", "arena"), PAIRS)
def test_nothing_proved_is_broken_by_points_of_the_threat(name, arena, share):
    """Random points, corners and attacks, put to the user's own model."""
    arena = ARENAS[arena]
    found = asked(name, arena, share)
    proved = torch.tensor([one.proved for one in found])
    threat = arena.threat.at(share * torch.tensor(arena.radii(), dtype=torch.float64))
    region = threat.space.around(arena.x, arena.victim.domain)
    for batch in attacked(arena, threat):
        false = proved & met(arena, batch) & region.inside(batch)
        assert not bool(false.any()), (false, found)


@pytest.mark.parametrize("name", sorted(set(everything("certifier")) - PROVE_ONLY))
def test_counterexamples_are_allowed_and_break(name):
    """In all arenas of a certifier; it refutes something in one of them at least."""
    seen = 0
    for arena in (ARENAS[arena] for certifier, arena in PAIRS if certifier == name):
        for share in (0.1, 1.0):
            for place, one in enumerate(asked(name, arena, share)):
                if one.verdict is Verdict.REFUTED:
                    seen += 1
                    points = arena.x.clone()
                    points[place] = one.counterexample
                    assert arena.allowed(np.asarray(arena.x[place]), np.asarray(one.counterexample), share * arena.radii()[place])
                    assert bool(met(arena, points)[place])
    assert seen


@pytest.mark.parametrize("name", sorted(PROVE_ONLY))
def test_the_others_refute_nothing(name):
    """So that nobody stays exempt by mistake."""
    for arena in (ARENAS[arena] for certifier, arena in PAIRS if certifier == name):
        assert all(one.verdict is not Verdict.REFUTED for share in (0.1, 1.0) for one in asked(name, arena, share))


@pytest.mark.few(2, by="name")
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


@pytest.mark.few(2, by="name")
@pytest.mark.parametrize(("name", "arena"), PAIRS)
def test_what_is_wrong_without_attack_is_never_proved(name, arena):
    arena = ARENAS[arena]
    wrong = met(arena, arena.x).tolist()
    for share in (0.0, 0.02, 1.0):
        assert not any(one.proved for one, bad in zip(asked(name, arena, share), wrong, strict=True) if bad)


@pytest.mark.few(2, by="name")
@pytest.mark.parametrize(("name", "arena"), PAIRS)
def test_a_certified_radius_is_itself_certified(name, arena):
    """Bisection returns radii at which the certificate says yes, and no attack breaks within them."""
    arena = ARENAS[arena]
    found = certified_radius(arena.victim, arena.x, arena.y, arena.threat, [name], steps=4, rng=arena.rng(), **settings_of(name, arena))
    radii = torch.tensor([one.radius for one in found], dtype=torch.float64).clamp_max(1e6)  # some prove that there is no end
    threat = arena.threat.at(radii)
    region = threat.space.around(arena.x, arena.victim.domain)
    for points in attacked(arena, threat):
        assert not bool((met(arena, points) & region.inside(points) & (radii > 0)).any())


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


def test_a_verdict_says_why_or_shows_its_counterexample():
    with pytest.raises(ValueError):
        Certificate(Verdict.UNKNOWN)
    with pytest.raises(ValueError):
        Certificate(Verdict.REFUTED)


def enumerated(net, x, y, radius):
    """Is another class reachable? All activation patterns of one hidden layer of ReLUs by linear programs, nothing borrowed."""
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


@pytest.mark.few(1)
@pytest.mark.parametrize("seed", range(3))
def test_planted_truth(seed):
    """Networks whose worst case is enumerated: what is proved is true, and everything but ties is decided."""
    random = torch.Generator().manual_seed(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=random, dtype=torch.float64))
    x = torch.rand(5, 1, 2, 2, generator=random)
    y = net(x.double()).argmax(1)
    victim = TorchVictim(net, Image((1, 2, 2)), search="plain")
    clear = 0
    for radius in (0.05, 0.2, 0.5):
        found = certify(victim, x, y, Threat(Linf(radius), Untargeted()), ["network"], effort="thorough")
        for place, one in enumerate(found):
            worst = enumerated(net, x[place].double().flatten().numpy(), int(y[place]), radius)
            if abs(worst) > 1e-5:
                assert one.verdict is (Verdict.PROVED if worst > 0 else Verdict.REFUTED)
                clear += 1
    assert clear >= 13


def test_random_numbers_decide_nothing_here():
    arena = ARENAS["linf"]
    first, second = (certify(arena.victim, arena.x, arena.y, arena.threat.at(0.01), ["network"], rng=Rng.of(seed, range(len(arena.y)))) for seed in (0, 1))
    assert first.table().drop(columns="seconds").equals(second.table().drop(columns="seconds"))
