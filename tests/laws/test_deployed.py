"""The deployed form of an image is what counts inside a search, so coarse images cost an attack no strength."""

import pytest

import sparring as sp
from sparring.core.registry import find
from sparring.core.rng import Rng
from sparring.models.zoo import digits_plain
from sparring.threats.balls import Linf

THREATS = {"linf": sp.linf(10 / 255), "l2": sp.l2(0.4)}
COARSE = sp.image(8, 8, deployed="8bit")


@pytest.fixture(scope="module")
def drawn():
    """Forty digits whose values are whole 1/255 steps."""
    data = sp.load("digits", take=40)
    return (data.x * 255).round() / 255, data.y


def broken(domain, x, y, threat, attack):
    """bool [n]: the samples an attack breaks, their points asked anew in the deployed form."""
    victim = sp.victim(digits_plain(), domain)
    points = attack(victim, x, y, threat, Rng.of(0, range(len(y))))
    asked = domain.deploy(points, x)
    size = (asked - x).flatten(1)
    size = size.abs().amax(1) if isinstance(threat.space, Linf) else size.norm(dim=1)
    return (victim.label(asked) != y) & (size <= threat.space.radius + 1e-6)


PAIRS = [
    (name, threat)
    for threat in THREATS
    for name in ("pgd", "fgsm", "apgd", "deepfool", "fab", "fmn", "brendel_bethge", "hopskipjump", "superdeepfool", "square")
    if name != "square" or threat == "linf"
]


@pytest.mark.few(5, by="threat")
@pytest.mark.parametrize(("name", "threat"), PAIRS)
def test_attacks_break_as_much_in_8_bits(name, threat, drawn):
    """An attack breaks at least nine tenths of what it breaks in floating point."""
    limit, attack = THREATS[threat], find("attack", name)
    fine = broken(sp.image(8, 8), *drawn, limit, attack)
    coarse = broken(COARSE, *drawn, limit, attack)
    assert int(coarse.sum()) >= 0.9 * int(fine.sum()) - 1
