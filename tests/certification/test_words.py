"""Word substitutions against every allowed sentence, spelled out: what is proved is never broken, and linear models are proved exactly when nothing breaks."""

import itertools

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier
from torch import nn

from sparring.certification.certificate import Verdict
from sparring.certification.certify import certify
from sparring.certification.text.substitutions import substitutions
from sparring.core.errors import LoadError, NeedsError
from sparring.core.registry import find
from sparring.core.threat import Threat
from sparring.domains.image import Image
from sparring.domains.text import Strings, Text
from sparring.models.adapter import victim
from sparring.models.embedding_text import EmbeddingText
from sparring.threats.balls import Linf
from sparring.threats.goals import Targeted, Untargeted
from sparring.threats.words import Words

TABLE = {
    "good": ("fine", "great", "good"),
    "fine": ("good",),
    "film": ("movie", "a lot"),
    "bad": ("awful", "poor", "fine"),
    "plot": ("story",),
    "slow": ("long", "poor"),
}
WORDS = [*TABLE, "the", "story", "great", "Good", "Slow"]


def sentences(seed, count, longest=6):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(1, longest + 1))) for _ in range(count)]


def allowed(text, share):
    """Every sentence of the threat, written out without the code under test."""
    words = text.split()
    lists = []
    for word in words:
        others = [one for one in TABLE.get(word.lower(), ()) if " " not in one]
        lists.append([word, *((one[0].upper() + one[1:] if word[0].isupper() else one) for one in others)])
    most = int(share * len(words) + 1e-9)
    found = [each for each in itertools.product(*lists) if sum(a != b for a, b in zip(words, each, strict=True)) <= most]
    return sorted({" ".join(each) for each in found})


def breaks(predict, text, share, label):
    return any(int(one) != label for one in predict(allowed(text, share)))


def trained(bag, last, seed=0, classes=2):
    """A pipeline fitted on random labels, so that words matter at random."""
    texts = sentences(seed + 100, 60)
    labels = np.random.default_rng(seed).integers(0, classes, len(texts))
    return make_pipeline(*bag(), last()).fit(texts, labels)


EXACT = {
    "counts": lambda: [CountVectorizer()],
    "binary": lambda: [CountVectorizer(binary=True)],
    "idf": lambda: [TfidfVectorizer(norm=None)],
    "idf-behind": lambda: [CountVectorizer(), TfidfTransformer(norm=None)],
    "stop-words": lambda: [CountVectorizer(stop_words=["the", "film"], max_features=6)],
}
CLASSIFIERS = {"logistic": LogisticRegression, "svc": LinearSVC, "bayes": MultinomialNB}
SHARES = (0.0, 0.2, 0.5, 1.0)


@pytest.mark.parametrize("last", CLASSIFIERS)
@pytest.mark.parametrize("bag", EXACT)
@pytest.mark.parametrize("classes", [2, 3])
def test_linear_models_are_proved_exactly_when_nothing_breaks(bag, last, classes):
    model = trained(EXACT[bag], CLASSIFIERS[last], classes=classes)
    texts, seen = sentences(1, 12), set()
    y = model.predict(texts)
    for share in SHARES:
        for text, label, one in zip(texts, y, certify(victim(model, Text()), texts, y, Threat(Words(share, TABLE), Untargeted()), ["words"]), strict=True):
            broken = breaks(model.predict, text, share, label)
            assert one.proved != broken, (share, text, one)
            assert one.proved == (one.radius == share and one.verdict is Verdict.PROVED) or share == 0.0
            seen.add(broken)
    assert seen == {True, False}


@pytest.mark.parametrize("bag", [lambda: [TfidfVectorizer()], lambda: [TfidfVectorizer(binary=True)], lambda: [TfidfVectorizer(use_idf=False)]])
@pytest.mark.parametrize("seed", range(2))
def test_normalised_bags_are_never_proved_when_something_breaks(bag, seed):
    """And not without use: of what nothing breaks, more than half is proved."""
    model = trained(bag, lambda: LogisticRegression(C=100.0), seed)
    texts = sentences(seed, 30)
    y = model.predict(texts)
    sound, proved = 0, 0
    for share in SHARES:
        for text, label, one in zip(texts, y, certify(victim(model, Text()), texts, y, Threat(Words(share, TABLE), Untargeted()), ["words"]), strict=True):
            broken = breaks(model.predict, text, share, label)
            assert not (one.proved and broken), (share, text, one)
            sound, proved = sound + (not broken), proved + one.proved
    assert proved > sound / 2


def test_shared_words_of_a_binary_bag_are_bounded_where_they_are_too_many(monkeypatch):
    monkeypatch.setattr("sparring.certification.text.linear.COMBINATIONS", 1)
    model = trained(EXACT["binary"], LogisticRegression)
    texts = sentences(3, 40)
    y, reasons = model.predict(texts), set()
    found = certify(victim(model, Text()), texts, y, Threat(Words(0.5, TABLE), Untargeted()), ["words"])
    for text, label, one in zip(texts, y, found, strict=True):
        assert not (one.proved and breaks(model.predict, text, 0.5, label))
        reasons.add(one.reason.split(":")[0])
    assert reasons == {"", "broken", "bounds"}


def test_a_target_out_of_reach():
    model = trained(EXACT["counts"], LogisticRegression, classes=3)
    texts = sentences(4, 20)
    y = (model.predict(texts) + 1) % 3  # the target "next" of these labels is two on from what is predicted
    seen = set()
    found = certify(victim(model, Text()), texts, y, Threat(Words(0.5, TABLE), Targeted("next")), ["words"])
    for text, label, one in zip(texts, y, found, strict=True):
        reached = any(int(each) == (label + 1) % 3 for each in model.predict(allowed(text, 0.5)))
        assert not (one.proved and reached)
        seen.add(one.proved)
    assert seen == {True, False}


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda: [CountVectorizer(ngram_range=(1, 2))], "ngram_range"),
        (lambda: [CountVectorizer(analyzer="char")], "analyzer"),
        (lambda: [TfidfVectorizer(sublinear_tf=True)], "sublinear"),
        (lambda: [TfidfVectorizer(norm="l1")], "l1"),
        (lambda: [TfidfVectorizer(), TfidfTransformer()], "twice"),
    ],
)
def test_what_is_not_read_is_refused_with_the_reason(model, words):
    texts = sentences(0, 4)
    with pytest.raises(NeedsError, match=words):
        certify(victim(trained(model, LogisticRegression), Text()), texts, [0] * 4, Threat(Words(0.5, TABLE), Untargeted()), ["words"])


def test_trees_and_other_threats_are_refused():
    tree = find("certifier", "words").misfit(victim(trained(EXACT["counts"], DecisionTreeClassifier), Text()), Threat(Words(0.5, TABLE), Untargeted()))
    assert "DecisionTreeClassifier" in tree
    assert "substitutions only" in find("certifier", "words").misfit(victim(network("bag", 0), Text()), Threat(Linf(0.1), Untargeted()))


class Bag(nn.Module):
    """The mean of the vectors, then two layers."""

    def __init__(self, dim):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(dim, 6), nn.ReLU(), nn.Linear(6, 2))

    def forward(self, x):
        return self.layers(x.mean(1))


class Windows(nn.Module):
    """A convolution over the words, the greatest over time, then a layer."""

    def __init__(self, dim, length):
        super().__init__()
        self.net = nn.Sequential(nn.Conv1d(dim, 5, 2, padding=1), nn.ReLU(), nn.MaxPool1d(length + 1), nn.Flatten(), nn.Linear(5, 3))

    def forward(self, x):
        return self.net(x.transpose(1, 2))


def network(kind, seed, length=5):
    torch.manual_seed(seed)
    vocabulary = sorted({*TABLE, "the", "movie", "story", "great", "awful", "poor", "long"} - {"plot"})
    model = EmbeddingText(vocabulary, 4, Bag(4) if kind == "bag" else Windows(4, length), length=length)
    with torch.no_grad():
        model.embedding.weight[1:] *= 0.6
    return model.double() if seed % 2 else model


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["bag", "windows"])
def test_networks_are_never_proved_when_something_breaks(kind, seed):
    """Sentences shorter and longer than what is read; every share, and most of what stands is proved for few changes."""
    model, texts = network(kind, seed), sentences(seed, 15, longest=7)
    asked = victim(model, Text())

    def predict(many):
        return model(many).argmax(1).tolist()

    y, share_proved = predict(texts), {}
    for share in (0.0, 0.25, 0.5, 1.0):
        found = certify(asked, texts, y, Threat(Words(share, TABLE), Untargeted()), ["words"])
        broken = [breaks(predict, text, share, label) for text, label in zip(texts, y, strict=True)]
        assert not any(one.proved and bad for one, bad in zip(found, broken, strict=True))
        share_proved[share] = sum(one.proved for one in found) / max(1, broken.count(False))
    assert share_proved[0.0] == 1.0
    assert share_proved[0.25] > 0.5


@pytest.mark.parametrize("seed", range(2))
def test_the_greedy_attack_breaks_nothing_proved(seed):
    model, texts = network("windows", seed), sentences(seed + 9, 8)
    asked, y = victim(model, Text()), network("windows", seed)(texts).argmax(1)
    threat = Threat(Words(0.5, TABLE), Untargeted(), access="scores")
    found = certify(asked, texts, y, threat, ["words"], effort="quick")
    points = find("attack", "greedy")(asked, texts, y, threat)
    wrong = model(points).argmax(1) != y
    assert not bool((found.proved & wrong).any())
    assert bool(found.proved.any())
    assert bool(wrong.any())


@pytest.mark.parametrize("share", [0.0, 0.34, 1.0])
def test_the_least_of_a_linear_function_is_that_of_the_worst_sentence(share):
    model, texts = network("bag", 1), sentences(5, 6, longest=5)
    region = Words(share, TABLE).around(Strings.of(texts), Text())
    inputs = substitutions(model, region)
    slope = torch.randn(6, 3, 5, 4, dtype=torch.float64)
    least, at = inputs.minimum(slope, torch.zeros(6, 3, dtype=torch.float64)), inputs.minimizer(slope)
    for row, text in enumerate(texts):
        vectors = model.embed(allowed(text, share)).double()
        values = torch.einsum("rld,sld->rs", slope[row], vectors)
        assert torch.allclose(least[row], values.amin(1), atol=1e-8)
        assert torch.allclose((slope[row] * at[row]).flatten(1).sum(1), values.amin(1), atol=1e-8)
        assert bool((least[row] <= values.amin(1)).all())
        alone = inputs.take(torch.tensor([row]))
        assert all(bool(alone.contains(one[None])) for one in vectors)
        assert bool((vectors >= alone.low).all() & (vectors <= alone.high).all())
        assert not bool(alone.contains(vectors[:1] + 0.01))


def test_fewer_changes_are_bounded_more_tightly_than_the_hull():
    """One change of a bag of words is bounded by the worst place alone."""
    model, texts = network("bag", 0), ["good bad good slow bad"]
    margins = [
        certify(victim(model, Text()), texts, model(texts).argmax(1), Threat(Words(share, TABLE), Untargeted()), ["words"])[0].margin
        for share in (0.2, 0.4, 1.0)
    ]
    assert margins[0] > margins[1] > margins[2]


def test_a_text_network_as_a_victim():
    model = network("windows", 0)
    model.train()
    asked = victim(model, Text(), name="reader")
    with asked.session():
        assert asked.scores(Strings.of(["Good film", "good film"])).unique(dim=0).shape == (1, 3)
    assert model.training
    assert all(one.requires_grad for one in model.parameters())
    before = asked.fingerprint
    with torch.no_grad():
        model.embedding.weight[3] += 1
    assert asked.fingerprint != before
    assert asked.classes == 3
    assert asked.describe()["vocabulary"] == len(model.vocabulary)
    with pytest.raises(LoadError, match="sentences"):
        victim(model, Image((1, 5, 4)))


def test_numbers_that_are_none_are_never_proved():
    model = network("bag", 0)
    with torch.no_grad():
        model.embedding.weight[2:] = float("nan")
    found = certify(victim(model, Text()), ["good film"], [0], Threat(Words(1.0, TABLE), Untargeted()), ["words"])
    assert found[0].verdict is Verdict.UNKNOWN
