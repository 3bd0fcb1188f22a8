"""Truth in the forms in which people keep it: columns, names, one-hot rows."""

import re

import numpy as np
import pandas as pd
import pytest
import torch

import sparring as sp
from sparring.core.errors import InputError, LoadError, UnknownName

X = np.random.default_rng(0).random((6, 2))
Y = np.array([0, 1, 2, 2, 1, 0])
WORDS = np.array(["cat", "dog", "eel"])[Y]
TABLE = sp.table(["a", "b"])


@pytest.mark.parametrize("y", [Y[:, None], Y[:, None].astype(float), torch.tensor(Y)[:, None], pd.DataFrame({"label": Y}), Y.tolist()])
def test_a_column_of_classes_is_one_class_per_sample(y, tmp_path):
    assert sp.Data.of(X, y, TABLE).y.tolist() == Y.tolist()
    np.savez(tmp_path / "a.npz", x=X, y=np.asarray(y))
    assert sp.load(tmp_path / "a.npz").y.tolist() == Y.tolist()


@pytest.mark.parametrize("y", [WORDS, WORDS.tolist(), WORDS[:, None], WORDS.astype(object), pd.Series(WORDS), pd.Series(WORDS).astype("category")])
@pytest.mark.parametrize("names", [None, ["eel", "cat", "dog", "fox"]])
def test_classes_by_their_names(y, names):
    data = sp.Data.of(X, y, TABLE, classes=names)
    assert data.classes == (names or ["cat", "dog", "eel"])
    assert [data.classes[place] for place in data.y.tolist()] == WORDS.tolist()


def test_names_in_an_archive_are_numbered_as_its_list_of_them(tmp_path):
    np.savez(tmp_path / "a.npz", x=X, y=WORDS, classes=np.array(["eel", "dog", "cat"]))
    data = sp.load(tmp_path / "a.npz")
    assert [data.classes[place] for place in data.y.tolist()] == WORDS.tolist()
    assert data.classes == ["eel", "dog", "cat"]
    np.savez(tmp_path / "b.npz", x=X, y=WORDS, classes=np.array(["eel", "dog"]))
    with pytest.raises(UnknownName, match=r"unknown class in .*b.npz: y 'cat': known: dog, eel"):
        sp.load(tmp_path / "b.npz")


@pytest.mark.parametrize(
    ("y", "error", "said"),
    [
        (["cat", None, "dog", "cat", "dog", "cat"], InputError, "labels are not numbers"),
        (["cat", float("nan"), "dog", "cat", "dog", "cat"], InputError, "labels are not numbers"),
        (np.eye(3)[Y], InputError, "give one class per sample, [6] (not one-hot: y.argmax(1) of these rows); where a sample may have several labels"),
        (np.stack([Y, Y], 1), InputError, "[6] (not one-hot); where a sample may have several labels, give task=labels(2)"),
        (["cat", "cow", "dog", "cat", "dog", "cat"], UnknownName, "unknown class of data 'cow'"),
    ],
)
def test_other_forms_get_a_cure(y, error, said):
    names = ["cat", "dog"] if error is UnknownName else None
    with pytest.raises(error, match=re.escape(said)):
        sp.Data.of(X, y, TABLE, classes=names)


@pytest.mark.parametrize(
    ("shape", "cure"),
    [
        ((3, 1, 1), "so drop the axes of size 1: torch.nn.Sequential(network, torch.nn.Flatten())"),
        ((1, 3), "so drop the axes of size 1"),
        ((3, 2, 2), "where they stand for a class per pixel, give task=sp.tasks.mask(3)"),
    ],
)
def test_scores_with_more_axes_get_a_cure(shape, cure):
    with pytest.raises(LoadError, match=re.escape(cure)):
        sp.victim(lambda x: np.ones((len(x), *shape)), sp.image(4, 4), classes=3).scores(torch.zeros(2, 1, 4, 4))


def test_the_recommended_wrapping_works():
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 4))
    with pytest.raises(LoadError, match="drop the axes of size 1"):
        sp.victim(network, sp.image(4, 4))
    assert sp.victim(torch.nn.Sequential(network, torch.nn.Flatten()), sp.image(4, 4)).scores(torch.zeros(2, 1, 4, 4)).shape == (2, 3)
