"""The address of rows changes with everything that could change them, and with nothing else."""

import pytest
import torch

import sparring as sp
from sparring.aims.case import Settings
from sparring.aims.evasion.case import EvasionCase
from sparring.attacks.attack import read_attack
from sparring.models.zoo import digits_plain


def case(*, net=None, data=None, threat=None, attack="pgd(steps=5)", name="one", domain=None, **settings):
    data = data or sp.load("digits", take=8)
    victim = sp.victim(net or digits_plain(), domain or data.domain, name=name, **settings)
    return EvasionCase(name, victim, data, threat or sp.linf(0.1), (read_attack(attack),))


def key(case, seed=0, cascade=True):
    return case.cells(Settings(seed=seed, cascade=cascade))[-1].key


def nudged():
    """The same network with one weight moved by one rounding."""
    net = digits_plain()
    with torch.no_grad():
        weight = net.layers[3].weight
        weight[0, 0] = torch.nextafter(weight[0, 0], torch.tensor(9.0))
    return net


def other_pixel():
    data = sp.load("digits", take=8)
    x = data.x.clone()
    x[0, 0, 0, 0] = 0.5
    return sp.Data.of(x, data.y, data.domain, name="digits", ids=data.ids, classes=data.classes)


def other_label():
    data = sp.load("digits", take=8)
    return sp.Data.of(data.x, (data.y + 1) % 10, data.domain, name="digits", ids=data.ids, classes=data.classes)


OTHER = {
    "one weight": lambda: key(case(net=nudged())),
    "precision of the search": lambda: key(case(search="bfloat16")),
    "seed": lambda: key(case(), seed=1),
    "settings": lambda: key(case(attack="pgd(steps=6)")),
    "attack": lambda: key(case(attack="fgsm")),
    "radius": lambda: key(case(threat=sp.linf(0.11))),
    "space": lambda: key(case(threat=sp.l2(0.1))),
    "access": lambda: key(case(threat=sp.linf(0.1).seeing("scores"), attack="square(queries=9)")),
    "budget": lambda: key(case(threat=sp.linf(0.1).within(queries=9))),
    "fewer samples": lambda: key(case(data=sp.load("digits", take=7))),
    "other samples": lambda: key(case(data=sp.load("digits", split="train", take=8))),
    "one pixel": lambda: key(case(data=other_pixel())),
    "labels": lambda: key(case(data=other_label())),
    "deployed form": lambda: key(case(domain=sp.image(8, 8, deployed="8bit"))),
    "no cascade": lambda: key(
        EvasionCase("one", *[getattr(case(), what) for what in ("victim", "data", "threat")], (read_attack("fgsm"), read_attack("pgd(steps=5)"))), cascade=False
    ),
    "code of the attack": lambda: _with_other_code(),
}


def _with_other_code():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sparring.aims.evasion.case.code_of_method", lambda attack, threat: "other")
        return key(case())


def test_no_two_are_the_same():
    """Each of these changes gives an address of its own."""
    found = {"as it is": key(case()), **{what: make() for what, make in OTHER.items()}}
    # one attack alone is the same cell with and without a cascade; behind another one only without
    assert found.pop("no cascade") == found["as it is"]
    assert len(set(found.values())) == len(found), sorted(found.items(), key=lambda pair: pair[1])


SAME = {
    "again": lambda: case(),
    "another name": lambda: case(name="two"),
    "defaults written out": lambda: case(attack="pgd(steps=5, restarts=1)"),
    "in training mode": lambda: case(net=digits_plain().train()),
    "asked before": lambda: _asked(),
    "the same data by hand": lambda: case(
        data=sp.Data.of(sp.load("digits", take=8).x, sp.load("digits", take=8).y, sp.image(8, 8), ids=sp.load("digits", take=8).ids)
    ),
}


def _asked():
    made = case()
    sp.attacks.pgd(made.victim, made.data.x, made.data.y, sp.linf(0.1), steps=2)
    return made


@pytest.mark.parametrize("what", SAME)
def test_the_same_otherwise(what):
    """Names, modes and use do not show."""
    assert key(SAME[what]()) == key(case())


def test_the_clean_rows_are_shared_by_threats():
    """Whatever the radius, the clean inputs are the same question."""
    assert case().cells(Settings())[0] == case(threat=sp.l2(3.0)).cells(Settings())[0]
