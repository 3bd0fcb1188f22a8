"""Linear models on bags of words, read from scikit-learn, and their worst allowed sentence.

The margin of a linear model on counts is a sum over the words, so that the worst k substitutions are the k best ones: exact. Words that count once however
often they occur (`binary=True`) depend on each other only where places can hold the same word: such places are enumerated together, exact again, or bounded
one by one where they are too many. Length normalisation (`norm="l2"`) divides all scores w . d + b by |d|, so the sign of w . d + b |d| is asked
for, and |d| is bounded by the triangle inequality: sound, not exact unless b is 0.
"""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from sparring.certification.text.substitutions import single_words
from sparring.threats.words import WordsRegion

COMBINATIONS = 4096
"""Sentences that are enumerated where places can hold the same word; above, such places are bounded one by one."""
ROUNDING = 1e-10

Tokens = Counter[int]
"""Columns of the bag and how often."""


class LinearText(NamedTuple):
    """Hold a linear bag of words.

    scores = weight @ bag + intercept: weight float64 [classes, d], intercept [classes]. size: float64 [d], what one word counts in the length
    of the bag. tokens: words to columns. binary: counts are cut at 1. normalised: the bag is divided by its length.
    """

    weight: np.ndarray
    intercept: np.ndarray
    size: np.ndarray
    tokens: Callable[[str], Tokens]
    binary: bool
    normalised: bool


class Worst(NamedTuple):
    """Hold the worst margins that substitutions reach.

    margin: float64 [classes], from below: the least that the reference class leads each class by (its own: inf). Where `normalised`, times the length of the
    bag. exact: is it reached by an allowed sentence?
    """

    margin: np.ndarray
    exact: bool


def misfit(model: Any) -> str:
    """Return why the model cannot be read, with the cure; an empty string where it can."""
    from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer
    from sklearn.pipeline import Pipeline

    if not isinstance(model, Pipeline) or not isinstance(model[0], CountVectorizer):
        return "of scikit-learn models, only pipelines that begin with CountVectorizer or TfidfVectorizer are supported"
    bag: Any = model[0]
    *between, last = [step for _, step in model.steps[1:]]
    if len(between) > 1 or not all(isinstance(step, TfidfTransformer) for step in between):
        return f"{', '.join(type(step).__name__ for step in between)} between vectorizer and classifier is not supported: only one TfidfTransformer is"
    if bag.analyzer != "word" or bag.tokenizer is not None or bag.preprocessor is not None or bag.token_pattern != r"(?u)\b\w\w+\b":
        return "the vectorizer has its own analyzer, tokenizer, preprocessor or token_pattern: leave these at their defaults"
    if tuple(bag.ngram_range) != (1, 1):
        return f"ngram_range={tuple(bag.ngram_range)} is not supported: use (1, 1)"
    for step in (*_scalings(bag), *between):
        if step.sublinear_tf or step.norm not in (None, "l2"):
            return f"norm={step.norm!r}, sublinear_tf={step.sublinear_tf}: use norm None or l2, without sublinear_tf"
    if len(between) + len(_scalings(bag)) > 1:
        return "the bag of words is scaled twice: use CountVectorizer with a TfidfTransformer, or TfidfVectorizer alone"
    return "" if _linear(last) else f"{type(last).__name__} is not linear in the bag of words: use one of linear_model, LinearSVC or MultinomialNB"


def _scalings(bag: Any) -> list[Any]:
    """What a TfidfVectorizer does with its counts."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    return [bag._tfidf] if isinstance(bag, TfidfVectorizer) else []


def _linear(last: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Weights and intercepts of the last step, None where it is of another kind."""
    from sklearn.linear_model._base import LinearClassifierMixin
    from sklearn.naive_bayes import MultinomialNB

    if type(last) is MultinomialNB:
        return last.feature_log_prob_, last.class_log_prior_
    fitted: Any = last
    if isinstance(last, LinearClassifierMixin) and hasattr(last, "coef_"):
        weight = np.atleast_2d(fitted.coef_)
        shift = np.broadcast_to(fitted.intercept_, len(weight))
        return (np.concatenate([0 * weight, weight]), np.concatenate([0 * shift, shift])) if len(weight) == 1 else (weight, shift)
    return None


def read(model: Any) -> LinearText:
    """Return a pipeline without a `misfit`."""
    bag, last = model[0], model[-1]
    weight, intercept = (np.asarray(part, dtype=np.float64) for part in _linear(last) or ())
    scalings = [*_scalings(bag), *(step for _, step in model.steps[1:-1])]
    size = np.ones(weight.shape[1])
    if scalings and scalings[0].use_idf:
        size = np.asarray(scalings[0].idf_, dtype=np.float64)
    analyse, columns = bag.build_analyzer(), bag.vocabulary_

    def tokens(word: str) -> Tokens:
        return Counter(columns[one] for one in analyse(word) if one in columns)

    return LinearText(weight * size, intercept, size, tokens, bool(bag.binary), bool(scalings) and scalings[0].norm == "l2")


def worst(model: LinearText, region: WordsRegion, row: int, reference_class: int) -> Worst:
    """Return the effect of the best substitutions on the logit gap of a class."""
    places = [[model.tokens(one) for one in (word, *single_words(region.listed(word)))] for word in region.origin[row].split()]
    bag: Tokens = sum((options[0] for options in places), Counter())
    bag = Counter(set(bag)) if model.binary else bag
    start, size = _scores(model, bag), _magnitude(model, bag)
    length = _length(model, bag)
    start = start + model.intercept * (length if model.normalised else 1.0)
    shift = model.intercept - model.intercept[reference_class]
    total, exact = np.zeros((1, len(start))), not (model.normalised and bool(shift.any()))
    for gains, sharp in _groups(model, places, reference_class, np.abs(shift)):
        total, exact = _joined(total, gains, int(region.most()[row])), exact and sharp
    gain = total[min(len(total) - 1, int(region.most()[row]))]
    margin = start[reference_class] - start - gain
    spread = size + max((_magnitude(model, one) for options in places for one in options), default=0.0) * len(places) + np.abs(model.intercept).max()
    margin -= ROUNDING * spread
    margin[reference_class] = math.inf
    return Worst(margin, exact)


def _groups(model: LinearText, places: Sequence[Sequence[Tokens]], reference_class: int, shift: np.ndarray) -> Iterator[tuple[np.ndarray, bool]]:
    """Of each group of places that depend on no other: (gains [j + 1, classes], the most that each class can win on the reference class with up to j changes,
    is that reached?)."""
    if not model.binary:
        for options in places:
            moves = [_difference(options[0], one) for one in options[1:] if one != options[0]]
            if moves:
                yield _single([_lead(model, move, reference_class) + _stretch(model, move, shift) for move in moves]), True
        return
    free = [options for options in places if any(one != options[0] for one in options)]
    held = {token for options in places if all(one == options[0] for one in options) for token in options[0]}
    listed = [[frozenset(one) - held for one in options] for options in free]  # what stays in the bag anyway can neither come nor go
    for group in _connected(listed):
        mine = [listed[place] for place in group]
        if not model.normalised and math.prod(len(set(options)) for options in mine) <= COMBINATIONS:
            yield _enumerated(model, mine, reference_class), True
            continue
        times = Counter(token for options in mine for token in frozenset().union(*options))
        for options in mine:
            yield _single([_alone(model, options[0], one, times, reference_class, shift) for one in options[1:]]), len(mine) == 1


def _connected(listed: Sequence[Sequence[frozenset[int]]]) -> list[list[int]]:
    """Places in groups: those that can hold a word in common, directly or through others."""
    groups: list[tuple[set[int], list[int]]] = []
    for place, options in enumerate(listed):
        words, members = set().union(*options), [place]
        for other in [one for one in groups if one[0] & words]:
            groups.remove(other)
            words, members = words | other[0], other[1] + members
        groups.append((words, members))
    return [members for _, members in groups]


def _enumerated(model: LinearText, listed: Sequence[Sequence[frozenset[int]]], reference_class: int) -> np.ndarray:
    """Gains of a group [places + 1, classes], by trying everything."""
    before = frozenset().union(*(options[0] for options in listed))
    gains = np.zeros((len(listed) + 1, len(model.weight)))
    for chosen in itertools.product(*(sorted(set(options), key=lambda one, first=options[0]: (one != first, sorted(one))) for options in listed)):
        changed = sum(one != options[0] for one, options in zip(chosen, listed, strict=True))
        after = frozenset().union(*chosen)
        move = Counter({**dict.fromkeys(after - before, 1), **dict.fromkeys(before - after, -1)})
        gains[changed] = np.maximum(gains[changed], _lead(model, move, reference_class))
    return np.maximum.accumulate(gains)


def _alone(model: LinearText, old: frozenset[int], new: frozenset[int], times: Counter[int], reference_class: int, shift: np.ndarray) -> np.ndarray:
    """[classes]: no more than this can a place win. Words that other places hold too (`times` above 1) may stay or be there already, and count only where
    they help."""
    moves = Counter({**dict.fromkeys(new - old, 1), **dict.fromkeys(old - new, -1)})
    won = _lead(model, Counter({token: sign for token, sign in moves.items() if times[token] == 1}), reference_class)
    for token, sign in moves.items():
        if times[token] > 1:
            won = won + np.maximum(_lead(model, Counter({token: sign}), reference_class), 0.0)
    return won + _stretch(model, moves, shift)


def _single(won: Sequence[np.ndarray]) -> np.ndarray:
    """Gains of one place."""
    return np.stack([np.zeros_like(won[0]), np.maximum(np.max(won, axis=0), 0.0)])


def _joined(one: np.ndarray, other: np.ndarray, most: int) -> np.ndarray:
    """Gains of two groups together, up to `most` changes."""
    count = min(len(one) + len(other) - 2, most)
    found = np.full((count + 1, one.shape[1]), -np.inf)
    for i in range(min(len(one), count + 1)):
        for j in range(min(len(other), count + 1 - i)):
            found[i + j] = np.maximum(found[i + j], one[i] + other[j])
    return np.maximum.accumulate(found)


def _difference(old: Tokens, new: Tokens) -> Tokens:
    return Counter({token: new[token] - old[token] for token in old | new if new[token] != old[token]})


def _scores(model: LinearText, bag: Tokens) -> np.ndarray:
    """[classes], without intercepts."""
    return np.sum([count * model.weight[:, token] for token, count in bag.items()], axis=0) if bag else np.zeros(len(model.weight))


def _magnitude(model: LinearText, bag: Tokens) -> float:
    return float(sum(abs(count) * np.abs(model.weight[:, token]).max() for token, count in bag.items()))


def _length(model: LinearText, bag: Tokens) -> float:
    return math.sqrt(sum((count * model.size[token]) ** 2 for token, count in bag.items()))


def _lead(model: LinearText, move: Tokens, reference_class: int) -> np.ndarray:
    """[classes]: what each class wins on the reference class."""
    scores = _scores(model, move)
    return scores - scores[reference_class]


def _stretch(model: LinearText, move: Tokens, shift: np.ndarray) -> np.ndarray | float:
    """[classes]: the most that a change of the length of the bag can be worth."""
    return shift * _length(model, move) if model.normalised else 0.0
