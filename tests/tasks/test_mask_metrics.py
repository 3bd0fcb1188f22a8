"""The metrics of masks against plain NumPy on the masks themselves."""

import numpy as np
import pandas as pd
import pytest
import torch

from sparring.bench.gate import check_gate
from sparring.core.errors import PlanError
from sparring.core.rate import wilson
from sparring.core.registry import find
from sparring.metrics.answers import ratio
from sparring.metrics.measures import measures_of_task
from sparring.tasks.mask import mask

CLASSES, SIZE, COUNT = 4, (9, 7), 12
TASK = mask(CLASSES, ignore=-1, size=SIZE)


def drawn(seed):
    """Truth with pixels that do not count, and answers that are right on about two thirds of the pixels; class 3 is in no mask."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(-1, CLASSES - 1, (COUNT, *SIZE))
    truth[:, 0, 0] = 1
    truth[3] = np.where(truth[3] == 0, 1, truth[3])
    answers = {name: np.where(rng.random(truth.shape) < 0.65, truth.clip(0), rng.integers(0, CLASSES - 1, truth.shape)) for name in ("clean", "a", "b")}
    answers["b"][2] = -1  # no answer
    return truth, answers


def case_of(truth, answers, status=None):
    """Rows as a record has them."""
    frames = []
    for name, given in answers.items():
        packed = TASK.pack(torch.from_numpy(given))
        quality = TASK.quality(torch.from_numpy(given), TASK.check(truth, COUNT)).tolist()
        said = (status or {}).get(name) or ["held" if one else "error" for one in packed]
        frames.append(
            pd.DataFrame(
                {
                    "id": [f"m/{place}" for place in range(COUNT)], "position": range(COUNT), "attack": name, "status": said,
                    "wanted": TASK.pack(TASK.check(truth, COUNT)),
                    "given": [None if what == "skipped" else one for one, what in zip(packed, said, strict=True)],
                    "quality": [np.nan if what in ("skipped", "error") else one for one, what in zip(quality, said, strict=True)],
                }
            )
        )  # fmt: skip
    return pd.concat(frames, ignore_index=True)


@pytest.fixture(params=range(3))
def masks(request):
    return drawn(request.param)


def iou(truth, answer, label):
    """Of one class in some masks; None where it is in neither."""
    counted = truth >= 0
    one, other = (truth == label) & counted, (answer == label) & counted
    return (one & other).sum() / (one | other).sum() if (one | other).any() else None


def mean_of_image(truth, answer):
    return np.mean([found for label in range(CLASSES) if (found := iou(truth, answer, label)) is not None])


def accuracy(truth, answer):
    return ((truth == answer) & (truth >= 0)).sum() / (truth >= 0).sum()


def worst(truth, answers, value, names=("clean", "a", "b")):
    """Per image the answer with the lowest value."""
    return np.stack([min((answers[name][row] for name in names), key=lambda answer: value(truth[row], answer)) for row in range(COUNT)])


def test_without_attack(masks):
    truth, answers = masks
    case, clean = case_of(truth, answers), answers["clean"]
    images = [mean_of_image(*pair) for pair in zip(truth, clean, strict=True)]
    found = find("metric", "mean_iou")(case)
    assert found.value == pytest.approx(np.mean(images))
    assert found.high - found.value == pytest.approx(2.2009852 * np.std(images, ddof=1) / np.sqrt(COUNT))
    assert find("metric", "dataset_iou")(case).value == pytest.approx(mean_of_image(truth, clean))
    assert find("metric", "pixel_accuracy")(case).value == pytest.approx(accuracy(truth, clean))
    for label in range(3):
        assert find("metric", "class_iou")(case, number=label).value == pytest.approx(iou(truth, clean, label))
    assert find("metric", "class_iou")(case, number=3).n == 0


def test_under_attack(masks):
    """The worst answer is that of the lowest value; where there is no answer, nothing is right."""
    truth, answers = masks
    case = case_of(truth, answers)
    lowest = worst(truth, answers, mean_of_image)
    assert (lowest[2] == -1).all()
    assert find("metric", "attacked_mean_iou")(case).value == pytest.approx(np.mean([mean_of_image(*pair) for pair in zip(truth, lowest, strict=True)]))
    assert find("metric", "attacked_dataset_iou")(case).value == pytest.approx(mean_of_image(truth, lowest))
    fewest = worst(truth, answers, accuracy)
    assert find("metric", "attacked_pixel_accuracy")(case).value == pytest.approx(accuracy(truth, fewest))
    for label in range(3):
        least = worst(truth, answers, lambda one, other, label=label: 1 if (found := iou(one, other, label)) is None else found)
        assert find("metric", "attacked_class_iou")(case, number=label).value == pytest.approx(iou(truth, least, label))


def test_points_that_are_not_allowed_and_rows_without_answer_do_not_count(masks):
    """An infeasible point, a sample that an attack skipped, and one that is outside the question."""
    truth, answers = masks
    status = {"a": ["infeasible"] * COUNT, "b": ["skipped"] * COUNT, "clean": ["held"] * (COUNT - 1) + ["skipped"]}
    case = case_of(truth, answers, status)
    for name in ("mean_iou", "dataset_iou", "pixel_accuracy"):
        plain, attacked = find("metric", name)(case), find("metric", f"attacked_{name}")(case)
        assert attacked == plain
        assert plain.n == COUNT - 1


def test_an_attack_never_raises_a_value(masks):
    case = case_of(*masks)
    for name in ("mean_iou", "pixel_accuracy"):
        assert find("metric", f"attacked_{name}")(case).value <= find("metric", name)(case).value


def test_the_interval_of_a_ratio_covers():
    """Of samples of 20 unequal images, 95 in 100 intervals hold the ratio of all images."""
    rng = np.random.default_rng(0)
    whole = rng.integers(10, 200, (50_000, 2))
    hits = rng.binomial(whole, rng.uniform(0.4, 0.9, (50_000, 1)))
    truth = (hits.sum(0) / whole.sum(0)).mean()
    chosen = [ratio(hits[rows], whole[rows]) for rows in rng.integers(0, len(whole), (1000, 20))]
    assert 0.92 < np.mean([one.low <= truth <= one.high for one in chosen]) < 0.97


def test_equal_ratios_claim_no_certainty():
    """Two perfect masks, and masks that are all half right, have Wilson's interval of as many trials."""
    whole = np.array([[10.0], [20.0]])
    for share in (1.0, 0.5):
        found, expected = ratio(share * whole, whole), wilson(2 * share, 2)
        assert (found.value, found.low, found.high, found.n) == (share, pytest.approx(float(expected.low)), pytest.approx(float(expected.high)), 2)


def test_one_image_and_none():
    single, nothing = ratio(np.array([[3, 0]]), np.array([[4, 0]])), ratio(np.zeros((0, 2)), np.zeros((0, 2)))
    assert (single.value, single.low, single.high, single.n) == (0.75, 0.0, 1.0, 1)
    assert nothing.n == 0


def test_they_are_of_masks_alone(masks):
    """A case of classes has none of them, and a gate on them is refused there before anything is computed."""
    case = case_of(*masks)
    header = {"data": {"task": {"kind": "mask"}}, "cells": []}
    names = [one.metric for one in measures_of_task(header, case)]
    assert {"mean_iou", "attacked_mean_iou", "dataset_iou", "attacked_dataset_iou", "pixel_accuracy", "attacked_pixel_accuracy"} == set(names)
    assert measures_of_task({"cells": []}, case) == []
    check_gate(["attacked_mean_iou >= 0.5"], {"a": "evasion"}, {"a": "mask"})
    with pytest.raises(PlanError, match="is for answers of the kind mask; the models answer classes"):
        check_gate(["attacked_mean_iou >= 0.5"], {"a": "evasion"}, {"a": "classes"})
