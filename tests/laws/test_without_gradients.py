"""Points are finite and allowed, whatever a model does to gradients: steps, signs, bits, ranks, constants, NaN in places."""

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
from sparring.threats.sparse import L0

COUNT = 12
WEIGHT = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))


class Through(nn.Module):
    """A linear model behind a function."""

    def __init__(self, before):
        super().__init__()
        self.before = before

    def forward(self, x):
        return self.before(x.flatten(1)) @ WEIGHT.to(x)


def in_places(x):
    """NaN in a corner of the cube."""
    return x.where((x < 0.85) | (x[:, :1] < 0.5), torch.nan)


MODELS = {
    "sign": lambda x: torch.sign(x - 0.5),
    "bits": lambda x: (x > 0.5).to(x),
    "steps": lambda x: torch.round(torch.nan_to_num(x) * 4) / 4,
    "ranks": lambda x: x.argsort(1).argsort(1).to(x),
    "constant": lambda x: x * 0 + 1,
    "NaN in places": in_places,
    "square root of zero": lambda x: torch.sqrt(torch.relu(x - 0.5)),
}
SPACES = {"linf": Linf(0.2), "l2": L2(0.3), "l1": L1(0.3), "l0": L0(2.0)}
DOMAIN = Image((1, 2, 2))
X = torch.rand(COUNT, 1, 2, 2, generator=torch.Generator().manual_seed(0))


def victim(model):
    return TorchVictim(Through(MODELS[model]).eval(), DOMAIN, search="plain")


def tried():
    for name, attack in everything("attack").items():
        for space, one in SPACES.items():
            if attack.misfit(victim("bits"), Threat(one, Untargeted())) is None:
                yield from ((name, space, model) for model in MODELS)


@pytest.mark.few(3, by="name")
@pytest.mark.parametrize(("name", "space", "model"), list(tried()))
def test_points_are_numbers_and_allowed(name, space, model):
    one = victim(model)
    with one.session():
        y = one.label(X).clamp_min(0)
    threat = Threat(SPACES[space], Untargeted())
    for asked in (threat, threat.smallest()):
        attack = short(everything("attack")[name])
        if attack.misfit(one, asked):
            continue
        points = attack(one, X, y, asked, Rng.of(0, range(COUNT)))
        assert bool(torch.isfinite(points).all())
        assert bool(asked.space.around(X, DOMAIN).inside(points).all())
