"""White space between words is no part of what may change, and stays byte for byte."""

import numpy as np
import pytest
import torch

import sparring as sp
from sparring.core.rng import Rng
from sparring.core.threat import Threat
from sparring.domains.text import spaces, with_word
from sparring.threats.goals import Untargeted
from sparring.threats.words import Words

TABLE = {"good": ("fine", "nice"), "movie": ("film",)}


def threat(share=0.5):
    return Threat(Words(share, TABLE), Untargeted(), access="scores")


@pytest.mark.parametrize("mark", ["  ", "\n", "\t", " ", "\r\n", "\u2003"])
@pytest.mark.parametrize("sentence", ["good{0}movie today ok", "good movie today ok{0}", "{0}good movie today ok", "good movie{0}today ok"])
def test_a_model_that_looks_at_white_space_alone_is_not_broken(sentence, mark):
    """None of the sentences that attacks ask about has other white space than the clean one."""
    sentence, asked = sentence.format(mark), []

    def ask(texts):
        asked.extend(texts)
        return np.array([[0.0, 1.0 if mark in one else -1.0] for one in texts])

    victim = sp.victim(ask, sp.text(), classes=2)
    x, y = sp.text().check([sentence]), torch.tensor([1])
    region = threat().space.around(x, victim.domain)
    for name in ("greedy", "noise"):
        points = getattr(sp.attacks, name)(victim, x, y, threat())
        assert bool(region.inside(points)[0])
        assert bool((victim.label(points) == 1).all())
    left_out = [one for one in asked if len(one.split()) < 4]
    assert all(spaces(one) == spaces(sentence) for one in asked if one not in left_out)
    assert all(spaces(one) == spaces(sentence) for one in (*region.sample(Rng.of(0, ["a"])), *region.corner(Rng.of(0, ["a"]))))


def test_other_white_space_is_outside():
    region = threat().space.around(sp.text().check(["good  movie"]), sp.text())
    for text, good in (("fine  movie", True), ("good movie", False), ("good  movie ", False), ("good\tmovie", False), ("fine\t movie", False)):
        assert bool(region.inside(sp.text().check([text]))[0]) is good
        assert (float(region.size(sp.text().check([text]))[0]) < 1) is good


def test_a_word_is_replaced_in_place():
    assert with_word(" a  b\tc\n", 1, "x") == " a  x\tc\n"
    assert with_word("a b", 1, None) == "a "
    assert with_word("a", 0, None) == ""
