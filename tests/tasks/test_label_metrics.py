"""The metrics of labels against scikit-learn's on the sets themselves."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import f1_score, hamming_loss, jaccard_score

from sparring.bench.gate import check_gate
from sparring.core.errors import PlanError
from sparring.core.registry import find
from sparring.metrics.label_sets import by_label
from sparring.metrics.measures import measures_of_task
from sparring.tasks.labels import labels

LABELS, COUNT = 4, 15
TASK = labels(LABELS)
NAMES = {"label_accuracy", "macro_f1", "micro_f1"}


def drawn(seed, unknown=False):
    """True sets, and answers that are right on about three quarters of the labels; label 3 is in no set."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, (COUNT, LABELS))
    answers = {name: np.where(rng.random(truth.shape) < 0.75, truth, 1 - truth) for name in ("clean", "a", "b")}
    for table in (truth, *answers.values()):
        table[:, 3] = 0
    if unknown:
        truth[rng.random(truth.shape) < 0.3] = -1
        truth[:, 0] = truth[:, 0].clip(0)
    return truth, answers


def case_of(truth, answers, status=None):
    """Rows as a record has them."""
    frames = []
    for name, given in answers.items():
        packed = TASK.pack(torch.from_numpy(given))
        quality = TASK.quality(torch.from_numpy(given), torch.from_numpy(truth)).tolist()
        said = (status or {}).get(name) or ["held" if one else "error" for one in packed]
        frames.append(
            pd.DataFrame(
                {
                    "id": [f"m/{place}" for place in range(COUNT)], "position": range(COUNT), "attack": name, "status": said,
                    "wanted": TASK.pack(torch.from_numpy(truth)),
                    "given": [None if what == "skipped" else one for one, what in zip(packed, said, strict=True)],
                    "quality": [np.nan if what in ("skipped", "error") else one for one, what in zip(quality, said, strict=True)],
                }
            )
        )  # fmt: skip
    return pd.concat(frames, ignore_index=True)


def measured(name, case):
    return find("metric", name)(case).value


def worst(truth, answers, value):
    """Per sample the answer with the lowest value."""
    return np.stack([min((given[row] for given in answers.values()), key=lambda answer: value(truth[row], answer)) for row in range(COUNT)])


def expected_f1(truth, answer, average):
    """Of scikit-learn; labels in no truth and no answer are left out of the mean."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return f1_score(truth, answer, average=average, zero_division=np.nan)


@pytest.fixture(params=range(3))
def sets(request):
    return drawn(request.param)


def test_without_attack(sets):
    truth, answers = sets
    case, clean = case_of(truth, answers), answers["clean"]
    assert measured("label_accuracy", case) == pytest.approx(1 - hamming_loss(truth, clean))
    assert measured("macro_f1", case) == pytest.approx(expected_f1(truth, clean, "macro"))
    assert measured("micro_f1", case) == pytest.approx(expected_f1(truth, clean, "micro"))


def test_under_attack(sets):
    """The worst answer has the fewest right labels, or the set that is least like the truth."""
    truth, answers = sets
    case = case_of(truth, answers)
    fewest = worst(truth, answers, lambda one, other: (one == other).mean())
    assert measured("attacked_label_accuracy", case) == pytest.approx(1 - hamming_loss(truth, fewest))
    least = worst(truth, answers, lambda one, other: jaccard_score(one, other, zero_division=1))
    assert measured("attacked_macro_f1", case) == pytest.approx(expected_f1(truth, least, "macro"))
    assert measured("attacked_micro_f1", case) == pytest.approx(expected_f1(truth, least, "micro"))
    assert measured("attacked_label_accuracy", case) < measured("label_accuracy", case)


def test_labels_that_are_not_known_do_not_count():
    """By hand, label by label."""
    truth, answers = drawn(5, unknown=True)
    case, clean = case_of(truth, answers), answers["clean"]
    counted = truth >= 0
    assert measured("label_accuracy", case) == pytest.approx((clean == truth)[counted].mean())
    columns = [expected_f1(truth[counted[:, one], one], clean[counted[:, one], one], "binary") for one in range(3)]
    assert measured("macro_f1", case) == pytest.approx(np.mean(columns))
    assert measured("micro_f1", case) == pytest.approx(expected_f1(truth[counted], clean[counted], "binary"))


def test_each_label_alone():
    """Its prevalence, how often it is right, and how often it stays right in the answers to all points."""
    truth, answers = drawn(7, unknown=True)
    for label, found in enumerate(by_label(case_of(truth, answers))):
        known = truth[:, label] >= 0
        right = {name: (given[:, label] == truth[:, label])[known] for name, given in answers.items()}
        assert (found.there.value, found.there.n) == (pytest.approx((truth[known, label] == 1).mean()), known.sum())
        assert found.clean.value == pytest.approx(right["clean"].mean())
        assert found.attacked.value == pytest.approx((right["clean"] & right["a"] & right["b"]).mean())


def test_points_that_are_not_allowed_and_missing_answers(sets):
    """An infeasible point counts for nothing; without an answer no label is right and none is found."""
    truth, answers = sets
    status = {"a": ["infeasible"] * COUNT, "b": ["skipped"] * COUNT, "clean": ["held"] * (COUNT - 1) + ["skipped"]}
    case = case_of(truth, answers, status)
    for name in NAMES:
        plain, attacked = find("metric", name)(case), find("metric", f"attacked_{name}")(case)
        assert attacked == plain
    answers["clean"] = np.full_like(truth, -1)
    case = case_of(truth, answers)
    assert measured("label_accuracy", case) == measured("micro_f1", case) == measured("macro_f1", case) == 0


def test_the_interval_covers():
    """Of samples of 40 sets with labels that go together, about 95 in 100 intervals hold the accuracy of all sets."""
    rng = np.random.default_rng(0)
    right = rng.random((20_000, 5)) < rng.uniform(0.5, 0.9, (20_000, 1))
    truth = np.ones_like(right, dtype=np.int64)
    hits = 0
    for _ in range(100):
        rows = rng.integers(0, len(right), 40)
        packed = [TASK_OF_FIVE.pack(torch.from_numpy(part[rows].astype(np.int64))) for part in (truth, right)]
        frame = pd.DataFrame({"wanted": packed[0], "given": packed[1]})
        frame = frame.assign(id=[str(one) for one in range(40)], position=range(40), attack="clean", status="held")
        found = find("metric", "label_accuracy")(frame)
        hits += found.low <= right.mean() <= found.high
    assert 0.89 < hits / 100 < 1


TASK_OF_FIVE = labels(5)


def test_they_are_of_labels_alone(sets):
    """A case of classes has none of them, and a gate on them is refused there before anything is computed."""
    case = case_of(*sets)
    names = {one.metric for one in measures_of_task({"data": {"task": {"kind": "labels"}}, "cells": []}, case)}
    assert names == NAMES | {f"attacked_{one}" for one in NAMES}
    check_gate(["attacked_macro_f1 >= 0.5"], {"a": "evasion"}, {"a": "labels"})
    with pytest.raises(PlanError, match="is for answers of the kind labels; the models answer classes"):
        check_gate(["label_accuracy >= 0.5"], {"a": "evasion"}, {"a": "classes"})
