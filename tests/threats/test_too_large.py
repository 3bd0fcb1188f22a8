"""Threats without a limit: a patch larger than the image is refused, and a radius that allows every input costs the word "reliable"."""

import pytest
import torch

import sparring as sp
from sparring.aims.evasion.case import EvasionCase
from sparring.core.errors import InputError
from sparring.report.lights import trust
from sparring.report.view import View

DIGITS = sp.load("digits", take=3)
NET = "zoo:digits-plain"
WHOLE = [sp.linf(1), sp.l2(8), sp.l1(64), sp.l0(64), sp.patch(8), sp.linf(torch.ones(3))]
PART = [
    sp.linf(0.99),
    sp.l2(7.9),
    sp.l1(63),
    sp.l0(63),
    sp.patch(7),
    sp.spatial(30, 0.1),
    sp.flow(20),
    sp.colour(1.0),
    sp.corruptions(5),
    sp.linf(1).smallest(),
]


def case(threat):
    return EvasionCase("one", sp.load_model(NET), DIGITS, threat, (), ())


@pytest.mark.parametrize(
    "call",
    [
        lambda threat: sp.evaluate(NET, DIGITS, threat, "noise"),
        lambda threat: sp.attacks.noise(NET, DIGITS.x, DIGITS.y, threat),
        lambda threat: threat.space.check(DIGITS.x, DIGITS.domain),
    ],
)
def test_a_patch_larger_than_the_image_is_refused(call):
    """By everything that takes a threat; the message holds both sizes and the cure."""
    with pytest.raises(InputError, match="patch 9: a square of 9 x 9 pixels is larger than the images of 8 x 8: give a side of at most 8"):
        call(sp.patch(9))
    with pytest.raises(InputError, match="patch 30"):
        call(sp.patch(torch.tensor([2.0, 30.0, 2.0])))


@pytest.mark.parametrize("threat", WHOLE + PART, ids=str)
def test_a_threat_that_allows_every_input_is_marked(threat):
    assert ("boundless" in case(threat).describe()["threat"]) == any(threat is one for one in WHOLE)


def test_a_table_without_bounds_is_never_covered():
    data = sp.Data.of(torch.zeros(2, 2).double(), [0, 1], sp.table(["a", "b"]))
    model = sp.victim(lambda x: [[0.0, 1.0]] * len(x), data.domain, classes=2)
    assert "boundless" not in EvasionCase("one", model, data, sp.linf(1e9), (), ()).describe()["threat"]


@pytest.mark.parametrize(("side", "word"), [(8, "caution"), (3, "reliable")])
def test_the_verdict_is_not_reliable_then(side, word, tmp_path):
    run = sp.evaluate(NET, sp.load("digits", take=10), sp.patch(side), ["noise"], certify="none", self_check=False, out=tmp_path)
    found = trust(View.of(run.record))
    assert found.word == word
    assert any("allows any input" in reason for reason in found.reasons) == (word == "caution")
