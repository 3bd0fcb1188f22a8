"""Promise 8 on a bag of words: words act independently, so the worst substitution is a sum of the best single ones."""

import functools
import itertools

import numpy as np
import pytest
import torch
from support import SUBSTITUTES, BagOfWords

from sparring.core.registry import find
from sparring.core.rng import Rng
from sparring.core.threat import Threat
from sparring.domains.text import Strings, Text
from sparring.models.callable import CallableVictim
from sparring.threats.goals import Untargeted
from sparring.threats.words import Words

VOCABULARY = [*SUBSTITUTES, "the", "was", "and", "with"]
SHARES = (0.0, 0.1, 0.2, 0.34, 0.5, 1.0)


def sentences(seed, count=12):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(VOCABULARY, rng.integers(1, 11))) for _ in range(count)]


class Shielded(BagOfWords):
    """The bag of words with class 0 ahead by a constant."""

    def __init__(self, seed, ahead):
        super().__init__(2, seed)
        self.ahead = ahead

    def __call__(self, texts):
        return super().__call__(texts) + np.array([self.ahead, 0.0])


def difference(model, word):
    score = model.weights.get(word.lower(), [0.0, 0.0])
    return score[1] - score[0]


def best_margin(model, text, share):
    """The highest score of class 1 against class 0 that substitutions in a share of the words can reach."""
    words = text.split()
    gains = [max([0.0, *(difference(model, other) - difference(model, word) for other in SUBSTITUTES.get(word, ()))]) for word in words]
    most = int(share * len(words) + 1e-9)
    return sum(difference(model, word) for word in words) - model.ahead + sum(sorted(gains, reverse=True)[:most])


@functools.cache
def attacked(seed, share, ranking, ahead):
    model, texts = Shielded(seed, ahead), sentences(seed)
    victim = CallableVictim(model, Text())
    threat = Threat(Words(share, SUBSTITUTES), Untargeted())
    points = find("attack", "greedy")(victim, Strings.of(texts), [0] * len(texts), threat, Rng.of(0, texts_ids(texts)), ranking=ranking)
    scores = model(list(points))
    return model, texts, scores[:, 1] - scores[:, 0]


def texts_ids(texts):
    return list(range(len(texts)))


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("seed", range(3))
def test_best_ranking_is_exact(seed, share):
    """Ranked by best substitute, greedy reaches the closed form exactly, sample by sample."""
    model, texts, reached = attacked(seed, share, "best", 100.0)
    for text, value in zip(texts, reached, strict=True):
        assert value == pytest.approx(best_margin(model, text, share), abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_best_ranking_breaks_what_can_be_broken(seed):
    """And so it breaks a sentence exactly where one can be broken."""
    model, texts, reached = attacked(seed, 0.34, "best", 1.0)
    expected = [best_margin(model, text, 0.34) > 0 for text in texts]
    assert [value > 0 for value in reached] == expected
    assert 0 < sum(expected) < len(texts)


@pytest.mark.parametrize("share", [0.2, 0.34, 0.5])
def test_delete_ranking_is_within_its_factor(share):
    """Ranked by leaving words out, greedy reaches 70 % of the optimal gain on average, and all of it when every word may change."""
    gained, possible = 0.0, 0.0
    for seed in range(3):
        model, texts, reached = attacked(seed, share, "delete", 100.0)
        clean = [best_margin(model, text, 0.0) for text in texts]
        gained += sum(reached) - sum(clean)
        possible += sum(best_margin(model, text, share) for text in texts) - sum(clean)
    assert 0.7 * possible <= gained <= possible + 1e-9
    model, texts, reached = attacked(0, 1.0, "delete", 100.0)
    assert reached.tolist() == pytest.approx([best_margin(model, text, 1.0) for text in texts])


def test_the_closed_form_is_right():
    """The criterion itself, against every combination of substitutes."""
    model, text = Shielded(0, 2.0), "good film the slow plot"
    words = text.split()
    for share in SHARES:
        found = -np.inf
        for combination in itertools.product(*[(word, *SUBSTITUTES.get(word, ())) for word in words]):
            if sum(a != b for a, b in zip(words, combination, strict=True)) <= int(share * len(words) + 1e-9):
                score = model([" ".join(combination)])[0]
                found = max(found, score[1] - score[0])
        assert found == pytest.approx(best_margin(model, text, share))


def test_leaving_a_word_out_is_no_success():
    """Ranking asks about sentences with a word left out; when such a sentence breaks, the sample still stands."""

    def counts(texts):
        return np.array([[1.0, 0.0] if len(text.split()) >= 3 else [0.0, 1.0] for text in texts])

    victim = CallableVictim(counts, Text(), classes=2)
    points = find("attack", "greedy")(victim, ["good film the"], [0], Threat(Words(1.0, SUBSTITUTES), Untargeted()))
    assert len(points[0].split()) == 3
    assert counts(points).argmax(1).tolist() == [0]


def test_capitals_are_kept():
    """A word that begins with a capital is replaced by a word that does, and only such a replacement is allowed."""
    region = Words(1.0, SUBSTITUTES).around(Strings.of(["Good film"]), Text())
    assert region.substitutes(0, 0) == ("Fine", "Decent", "Great")
    assert region.substitutes(0, 1) == ("movie", "picture", "flick")
    assert region.inside(Strings.of(["Great movie"])).tolist() == [True]
    for wrong in ("great movie", "Great Movie", "Awful movie", "Great", "Great movie indeed"):
        assert region.inside(Strings.of([wrong])).tolist() == [False]


@pytest.mark.parametrize(
    ("share", "length", "most"), [(0.0, 9, 0), (0.1, 9, 0), (0.1, 10, 1), (0.3, 10, 3), (0.34, 3, 1), (0.99, 3, 2), (1.0, 3, 3), (5.0, 3, 3), (1 / 3, 3, 1)]
)
def test_how_many_words_may_change(share, length, most):
    """The share is rounded down to whole words, with float rounding forgiven."""
    text = " ".join(["film"] * length)
    region = Words(share, SUBSTITUTES).around(Strings.of([text]), Text())
    assert region.most().tolist() == [most]
    for changed in range(length + 1):
        words = ["movie"] * changed + ["film"] * (length - changed)
        assert region.inside(Strings.of([" ".join(words)])).tolist() == [changed <= most]


def test_a_single_word_can_be_left_out():
    """A sentence of one word is ranked without being emptied."""
    model = Shielded(0, 100.0)
    points = find("attack", "greedy")(CallableVictim(model, Text()), ["film"], [0], Threat(Words(1.0, SUBSTITUTES), Untargeted()))
    assert points[0] in ("film", *SUBSTITUTES["film"])
    assert isinstance(points, Strings)
    assert torch.tensor([len(points)]).item() == 1
