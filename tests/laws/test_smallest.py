"""Where the smallest change is wanted, an attack finds it: half of its change is not enough, and a smaller radius finds the same."""

from dataclasses import replace

import pytest
import torch
from support import short
from torch import nn

from sparring.core.registry import everything
from sparring.core.rng import Rng
from sparring.core.threat import Threat
from sparring.domains.image import Image
from sparring.models.torch import TorchVictim
from sparring.threats.balls import L1, L2, Linf
from sparring.threats.goals import Untargeted

COUNT = 8
RADII = {"linf": Linf(0.8), "l2": L2(2.0), "l1": L1(6.0)}
DOMAIN = Image((1, 4, 4))
QUERIES = {"boundary", "hopskipjump", "rays", "sign_flip", "surfree"}


def network():
    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 3)).eval()
    for parameter in net.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) / 3
    return TorchVictim(net, DOMAIN)


VICTIM = network()
X = torch.rand(COUNT, 1, 4, 4, generator=torch.Generator().manual_seed(1))


def searchers():
    for name, attack in everything("attack").items():
        if ".minnorm." in attack.search.__module__ or name in QUERIES:
            for space, one in RADII.items():
                if attack.misfit(VICTIM, Threat(one, Untargeted()).smallest()) is None:
                    yield name, space


@pytest.mark.few(1, by="name")
@pytest.mark.parametrize(("name", "space"), list(searchers()))
def test_half_of_the_change_is_not_enough_and_half_of_the_radius_finds_the_same(name, space):
    attack, wide = short(everything("attack")[name], 150), RADII[space]
    half_as_wide = replace(wide, radius=wide.radius / 2)
    with VICTIM.session():
        y = VICTIM.label(X)
        points, again = (attack(VICTIM, X, y, Threat(one, Untargeted()).smallest(), Rng.of(0, range(COUNT))) for one in (wide, half_as_wide))
        broken, both = VICTIM.label(points) != y, (VICTIM.label(points) != y) & (VICTIM.label(again) != y)
        half = VICTIM.label(X + (points - X) / 2) != y
    assert int(broken.sum()) >= COUNT / 2
    assert int((half & broken).sum()) <= broken.sum() / 4
    region = wide.around(X, DOMAIN)
    ratio = (region.size(points) / region.size(again))[both]
    assert float(ratio.median()) == pytest.approx(1, abs=0.15)


def test_the_law_covers_the_attacks_that_look_for_the_smallest():
    assert len({name for name, _ in searchers()}) >= 15
