"""Truths with several numbers per sample from files: labels and values in npz archives and in tables with several target columns."""

import numpy as np
import pandas as pd
import pytest
import torch

import sparring as sp
from sparring.core.errors import InputError, LoadError, UnknownName
from sparring.tasks.labels import Labels, labels
from sparring.tasks.values import Values

TABLE = "a,b,cat,dog\n0.1,2,1,0\n0.2,1,0,-1\n0.3,5,0,0\n"


@pytest.fixture
def written(tmp_path):
    """A function that writes a CSV file and returns its path."""

    def write(content=TABLE, name="pets.csv"):
        (tmp_path / name).write_text(content)
        return tmp_path / name

    return write


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"target": "cat,dog", "task": "labels"}, ("cat", "dog")),
        ({"target": "dog, cat", "task": "labels(2)"}, ("dog", "cat")),
        ({"task": "labels(2)"}, ("cat", "dog")),
        ({"task": 'labels(names=["dog", "cat"])'}, ("dog", "cat")),
        ({"target": "cat,dog", "task": 'labels(names=["a cat", "a dog"])'}, ("a cat", "a dog")),
    ],
)
def test_labels_stand_in_several_columns(settings, names, written):
    """They are named after their columns unless the task names them; without a target they are the columns with their names, or the last ones."""
    data = sp.load(written(), **settings)
    assert data.task == labels(names=names)
    truth = torch.tensor([[1, 0], [0, -1], [0, 0]])
    assert torch.equal(data.y, truth.flip(1) if names[0] == "dog" else truth)
    assert [one.name for one in data.domain.columns] == ["a", "b"]
    assert data.source.endswith(f"columns {'dog, cat' if names[0] == 'dog' else 'cat, dog'}")


def test_values_stand_in_several_columns(written):
    content = "a,b,load,price\n" + "".join(f"{row},{row * row},{row / 3},{row + 0.5}\n" for row in range(30))
    for settings in ({"target": "load,price"}, {}):
        data = sp.load(written(content), task="values(2)", **settings)
        assert isinstance(data.task, Values)
        assert data.y[3].tolist() == [1.0, 3.5]


def test_truth_may_be_bool_and_inputs_may_be_text(written, tmp_path):
    frame = pd.DataFrame({"text": ["good film", "bad film", "a film"], "rude": [False, True, False], "short": [True, True, True]})
    frame.to_parquet(tmp_path / "films.parquet")
    frame.to_csv(tmp_path / "films.csv", index=False)
    for name in ("films.parquet", "films.csv"):
        data = sp.load(tmp_path / name, task="labels(2)")
        assert (data.domain.kind, data.task) == ("text", labels(names=["rude", "short"]))
        assert data.y.tolist() == [[0, 1], [1, 1], [0, 1]]


@pytest.mark.parametrize(
    ("content", "settings", "error", "words"),
    [
        (TABLE, {"target": "cat,dog"}, InputError, r"2 target columns \(cat, dog\): give one for classes, or write task=labels or task=values\(2\)"),
        (TABLE, {"target": "cat,cow", "task": "labels"}, UnknownName, "cow"),
        (TABLE, {"target": "cat,cat", "task": "labels"}, InputError, "named twice"),
        (TABLE, {"task": "labels"}, InputError, r"number of labels is not known: name their columns, target=cat,dog, or write task=labels\(2\)"),
        (TABLE, {"target": "cat,dog", "task": "labels(3)"}, InputError, "2 labels per sample, but the task has 3"),
        (TABLE, {"target": "b,dog", "task": "labels"}, InputError, "labels hold 2: write 1"),
        (TABLE, {"target": "a,b,cat,dog", "task": "labels"}, LoadError, "has only the columns a, b, cat, dog: add feature columns"),
        ("a,cat,dog\n1,1,0\n2,,1\n", {"task": "labels(2)"}, InputError, "column 'cat' has no number in 1 rows: write -1 where a label is not known"),
        ("a,cat,dog\n1,yes,0\n2,no,1\n", {"task": "labels(2)"}, InputError, "column 'cat' holds 'yes', not a number"),
        ("a,tags\n1,cat dog\n2,dog\n", {"task": "labels(1)"}, InputError, "column 'tags' holds 'cat dog', not a number"),
    ],
)
def test_what_does_not_fit_is_refused(content, settings, error, words, written):
    with pytest.raises(error, match=words):
        sp.load(written(content), **settings)


def test_a_column_whose_name_has_a_comma(written):
    both = sp.load(written('a,"x, y",z\n1,0,1\n2,1,1\n3,0,0\n'), target='"x, y",z', task="labels")
    assert both.y.tolist() == [[0, 1], [1, 1], [0, 0]]
    data = sp.load(written('a,"x, y"\n1,0\n2,1\n3,0\n'), target="x, y")
    assert data.y.tolist() == [0, 1, 0]


def test_archives_hold_sets(tmp_path):
    """With the task they are labels; without it the message names the task."""
    x, y = np.random.default_rng(0).random((6, 4, 5)).astype(np.float32), np.array([[1, 0, 1]] * 5 + [[0, 0, -1]], dtype=np.int8)
    np.savez(tmp_path / "sets.npz", x=x, y=y)
    data = sp.load(tmp_path / "sets.npz", task="labels")
    assert data.task == Labels(3)
    assert torch.equal(data.y, torch.from_numpy(y).long())
    with pytest.raises(InputError, match=r"not one-hot\); where a sample may have several labels, give task=labels\(3\)"):
        sp.load(tmp_path / "sets.npz")
    with pytest.raises(InputError, match=r"not one-hot\); where a sample may have several labels, give task=labels\(3\)"):
        sp.Data.of(x[:, None], y, sp.image(4, 5))


def test_data_from_python_holds_sets():
    """The number of labels follows from the table; the data is shown in the words of the task, and rows keep their sets."""
    data = sp.Data.of(np.zeros((3, 2)), [{"cat"}, {"cat", "dog"}, set()], sp.table(["a", "b"]), task=labels(names=["cat", "dog"]))
    assert data.y.tolist() == [[1, 0], [1, 1], [0, 0]]
    assert repr(data) == "Data('data', 3 samples of table, sets of 2 labels)"
    assert data.rows([1]).y.tolist() == [[1, 1]]
    assert sp.Data.of(np.zeros((3, 2)), np.eye(3), sp.table(["a", "b"]), task=labels()).task.count == 3
    assert Labels.restore(data.describe()["task"]) == data.task
