"""The deployed form of an image is what counts inside a search, so coarse images cost an attack no strength."""

import pytest
import torch

import sparring as sp
from sparring.core.errors import InputError
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


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 255), (-1, 1), (-0.5, 2.0)])
def test_clean_images_of_8_bits_lie_on_levels(low, high):
    """Otherwise each point would differ from the clean image in every pixel, and no attack on few pixels could ever succeed."""
    levels = (sp.load("digits", take=4).x * 255).round()
    domain, step = sp.image(8, 8, low=low, high=high, deployed="8bit"), (high - low) / 255
    for written in (levels * step + low, levels * torch.tensor(step) + low, (levels.double() * step + low).float()):
        kept = sp.Data.of(written.clamp(low, high), [0, 1, 2, 3], domain).x
        assert (domain.deploy(kept, kept) - kept).abs().max() <= step / 1000
    between = levels * step + low
    between[2, 0, 4, 4] = low + 10.3 * step
    victim = sp.victim(digits_plain(), domain)
    for ask in (
        lambda: sp.Data.of(between, [0, 1, 2, 3], domain),
        lambda: sp.attacks.fgsm(victim, between, [0, 1, 2, 3], sp.linf(2 * step)),
        lambda: sp.certify(victim, between, [0, 1, 2, 3], sp.linf(step)),
    ):
        with pytest.raises(InputError, match=r"between the 256 levels of 8-bit images, such as .* in sample 2: move them to the nearest level \(here"):
            ask()
