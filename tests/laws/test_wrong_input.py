"""Promise 11: wrong input fails before the first query, with an error that says what was wrong, the values seen and the cure."""

import math

import numpy as np
import pytest
import torch
from support import ARENAS, FOREST_RULES, SUBSTITUTES, Instrumented

from sparring.aims.case import Settings
from sparring.aims.evasion.case import EvasionCase
from sparring.bench.evaluate import carry_out
from sparring.core.errors import SparringError, UsageError
from sparring.core.registry import find
from sparring.core.threat import Threat
from sparring.data.dataset import Data
from sparring.threats.balls import L1, L2, Linf
from sparring.threats.goals import Targeted, Untargeted
from sparring.threats.words import Words

IMAGE, TABLE, TEXT = ARENAS["linf"], ARENAS["forest"], ARENAS["text"]


def spoiled(value):
    x = IMAGE.x.clone()
    x[2, 0, 1, 1] = value
    return x


WRONG_X = {
    "NaN": (spoiled(math.nan), "NaN"),
    "infinite": (spoiled(math.inf), "infinite"),
    "too large": (spoiled(1.5), "1.5"),
    "too small": (spoiled(-0.5), "-0.5"),
    "8-bit levels": ((IMAGE.x * 255).to(torch.uint8), "uint8"),
    "channels last": (IMAGE.x.permute(0, 2, 3, 1), "6, 6, 1"),
    "flat": (IMAGE.x.flatten(1), "36"),
    "one image": (IMAGE.x[0], "1, 6, 6"),
    "words": (list("abcdef"), "numbers"),
}
WRONG_Y = {
    "too few": ([0, 1], "2 labels for 6"),
    "too high": ([0, 1, 2, 3, 0, 0], "3"),
    "negative": ([0, 1, 2, -1, 0, 0], "-1"),
    "fractions": ([0.5, 1, 2, 0, 0, 0], "whole"),
    "one-hot": (np.eye(3)[[0, 1, 2, 0, 1, 2]], "one-hot"),
}
LONG, BRIEF = torch.full((9,), 0.1, dtype=torch.float64), torch.full((3,), 0.1, dtype=torch.float64)
WRONG_THREAT = {
    "too few radii": (Threat(Linf(BRIEF), Untargeted()), "3 radii for 6"),
    "too many radii": (Threat(Linf(LONG), Untargeted()), "9 radii for 6"),
    "too few targets": (Threat(Linf(0.1), Targeted(torch.tensor([0, 1]))), "2 targets for 6"),
    "too many targets": (Threat(Linf(0.1), Targeted(torch.zeros(9, dtype=torch.int64))), "9 targets for 6"),
    "a class too high": (Threat(Linf(0.1), Targeted(3)), "3"),
    "words on images": (Threat(Words(0.3, SUBSTITUTES), Untargeted()), "text"),
    "rules on images": (Threat(FOREST_RULES, Untargeted()), "columns"),
}


def refusal(victim, call):
    """The error of ours with which the call fails, before the victim is asked."""
    with pytest.raises(UsageError) as caught:
        call()
    assert victim.asked == 0
    return str(caught.value)


@pytest.mark.parametrize("name", ["noise", "pgd", "apgd_t", "square", "hopskipjump"])
@pytest.mark.parametrize("case", WRONG_X)
def test_wrong_inputs(case, name):
    """x of another shape, type or range."""
    victim, (x, fragment) = Instrumented(IMAGE.victim), WRONG_X[case]
    assert fragment in refusal(victim, lambda: find("attack", name)(victim, x, IMAGE.y, IMAGE.threat))


@pytest.mark.parametrize("case", WRONG_Y)
def test_wrong_labels(case):
    """y of another length, shape, type or range."""
    victim, (y, fragment) = Instrumented(IMAGE.victim), WRONG_Y[case]
    assert fragment in refusal(victim, lambda: find("attack", "pgd")(victim, IMAGE.x, y, IMAGE.threat))


@pytest.mark.parametrize("batch", [2, 100])
@pytest.mark.parametrize("case", WRONG_THREAT)
def test_wrong_threats(case, batch):
    """Radii and targets that do not belong to the samples, spaces that do not belong to the domain; in whatever batches."""
    victim, (threat, fragment) = Instrumented(IMAGE.victim), WRONG_THREAT[case]
    assert fragment in refusal(victim, lambda: find("attack", "noise")(victim, IMAGE.x, IMAGE.y, threat, batch=batch))


@pytest.mark.parametrize("case", WRONG_THREAT)
def test_wrong_threats_in_an_evaluation(case, tmp_path):
    """The same through `carry_out`, before the doctor asks anything."""
    victim, (threat, fragment) = Instrumented(IMAGE.victim), WRONG_THREAT[case]
    data = Data.of(IMAGE.x, IMAGE.y, victim.domain, classes=["a", "b", "c"])
    assert fragment in refusal(victim, lambda: carry_out([EvasionCase("wrong", victim, data, threat, (find("attack", "noise"),))], tmp_path, {}, Settings()))
    assert not list(tmp_path.iterdir())


def test_radii_and_targets_per_sample_are_taken(tmp_path):
    """The right number of radii and targets is accepted by an evaluation, and written down row by row."""
    radii, targets = torch.linspace(0, 0.3, 6, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1, 2])
    data = Data.of(IMAGE.x, IMAGE.y, IMAGE.victim.domain, classes=["a", "b", "c"])
    threat = Threat(Linf(radii), Targeted(targets))
    rows = carry_out([EvasionCase("right", IMAGE.victim, data, threat, (find("attack", "fgsm"),))], tmp_path, {}, Settings(batch=4)).table()
    attacked = rows[rows.attack == "fgsm"]
    assert attacked.radius.tolist() == radii.tolist()
    assert attacked.aimed.astype(int).tolist() == targets.tolist()


@pytest.mark.parametrize("radius", [-0.1, math.nan, math.inf, torch.tensor([0.1, -1.0])])
@pytest.mark.parametrize("space", [Linf, L2, L1])
def test_wrong_radii(space, radius):
    """A radius below 0 or not finite is refused when it is written."""
    with pytest.raises(UsageError, match="finite and at least 0"):
        space(radius)


SETTINGS = {
    "unknown": ("pgd", {"stepz": 3}, "steps"),
    "a word for a number": ("pgd", {"steps": "many"}, "many"),
    "a fraction of a step": ("pgd", {"steps": 2.5}, "2.5"),
    "fewer than none": ("square", {"queries": -1}, "-1"),
    "not a number": ("pgd", {"steps": math.nan}, "nan"),
    "unknown loss": ("pgd", {"loss": "sharpness"}, "sharpness"),
    "unknown loss, targets": ("apgd_t", {"loss": "sharpness"}, "sharpness"),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_wrong_settings(case):
    """Settings that are unknown or cannot be."""
    victim, (name, settings, fragment) = Instrumented(IMAGE.victim), SETTINGS[case]
    assert fragment in refusal(victim, lambda: find("attack", name)(victim, IMAGE.x, IMAGE.y, IMAGE.threat, **settings))


def test_a_whole_float_is_a_whole_number():
    """steps=2.0, as YAML and JSON may write it, is steps=2."""
    arena = ARENAS["linf"]
    one, other = (find("attack", "pgd")(arena.victim, arena.x, arena.y, arena.threat, arena.rng(), steps=steps) for steps in (2, 2.0))
    assert torch.equal(one, other)
    assert str(find("attack", "pgd").configure(steps=2.0)) == "pgd(steps=2)"


def test_an_unknown_ranking():
    """Greedy names the rankings it knows."""
    victim = Instrumented(TEXT.victim)
    assert "luck" in refusal(victim, lambda: find("attack", "greedy")(victim, TEXT.x, TEXT.y, TEXT.threat, ranking="luck"))


TABLES = {
    "missing": (torch.tensor([[math.nan] * 7] * 6), "missing"),
    "columns": (TABLE.x[:, :5], "7 columns"),
    "half a year": (TABLE.x + torch.tensor([0.5] + [0.0] * 6), "whole"),
    "out of bounds": (TABLE.x * 100, "outside"),
}


@pytest.mark.parametrize("case", TABLES)
def test_wrong_rows(case):
    """Rows of a table that are not what the columns say."""
    victim, (x, fragment) = Instrumented(TABLE.victim), TABLES[case]
    assert fragment in refusal(victim, lambda: find("attack", "coordinate")(victim, x, TABLE.y, TABLE.threat))


@pytest.mark.parametrize("x", ["one string", [1, 2, 3, 4, 5, 6], ["a", "", "b", "c", "d", "e"]])
def test_wrong_texts(x):
    """Texts that are no texts."""
    victim = Instrumented(TEXT.victim)
    assert "string" in refusal(victim, lambda: find("attack", "noise")(victim, x, TEXT.y, TEXT.threat))


def test_an_attack_that_does_not_fit_names_others():
    """What is missing and which attacks would fit."""
    victim = Instrumented(IMAGE.victim, exposes={"labels"})
    assert "hopskipjump" in refusal(victim, lambda: find("attack", "pgd")(victim, IMAGE.x, IMAGE.y, IMAGE.threat))
    assert "scores" in refusal(victim, lambda: find("attack", "square")(victim, IMAGE.x, IMAGE.y, IMAGE.threat))
    assert issubclass(UsageError, SparringError)
