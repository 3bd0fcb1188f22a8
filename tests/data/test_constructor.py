"""`sp.Data(...)` is checked like `sp.Data.of(...)`: a sentence at the door, not a crash or n = 1 later."""

import numpy as np
import pytest
import torch

import sparring as sp
from sparring.core.errors import InputError

X = torch.tensor([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6], [0.7, 0.8]]).double()
Y = torch.tensor([0, 1, 0, 1])
COLUMNS = sp.table(["a", "b"])
GOOD = {"name": "mine", "ids": ["a", "b", "c", "d"], "x": X, "y": Y, "domain": COLUMNS, "classes": ["no", "yes"]}

WRONG = {
    "an id twice": ({"ids": ["a", "b", "b", "d"]}, "the sample id 'b' occurs twice"),
    "ids that are equal as text": ({"ids": [1, "1", 2, 3]}, "the sample id '1' occurs twice"),
    "too few ids": ({"ids": ["a", "b"]}, "2 sample ids for 4 samples"),
    "no ids": ({"ids": []}, "0 sample ids for 4 samples"),
    "one text as ids": ({"ids": "abcd"}, "give a list of strings or whole numbers"),
    "ids of none": ({"ids": None}, "give a list of strings or whole numbers"),
    "ids of floats": ({"ids": [0.5, 1.0, 2.0, float("nan")]}, "is a float"),
    "ids of lists": ({"ids": [["a"], ["b"], ["c"], ["d"]]}, "is a list"),
    "y too high": ({"y": torch.tensor([0, 1, 2, 1])}, "labels lie in \\[0, 2\\] but the classes are 0 to 1"),
    "y below 0": ({"y": torch.tensor([0, -1, 0, 1])}, "at least 0"),
    "y of floats": ({"y": [0.5, 1.0, 0.0, 1.0]}, "whole numbers"),
    "y of NaN": ({"y": np.array([0.0, np.nan, 0.0, 1.0])}, "whole numbers"),
    "y of strings": ({"y": ["no", "yes", "no", "yes"]}, "labels are not numbers"),
    "y one-hot": ({"y": torch.eye(4)}, "one class per sample"),
    "y too short": ({"y": Y[:3]}, "3 labels for 4 samples"),
    "x too short": ({"x": X[:3]}, "4 labels for 3 samples"),
    "x of NaN": ({"x": torch.where(X > 0.65, torch.nan, X)}, "no value in row .* fill or drop it, or let the column have gaps"),
    "x of infinity": ({"x": torch.where(X > 0.65, torch.inf, X)}, "infinite value in row"),
    "x of other columns": ({"x": X[:, :1]}, "columns"),
    "x of strings": ({"x": ["a", "b", "c", "d"]}, "not an array of numbers"),
    "no samples": ({"ids": [], "x": X[:0], "y": Y[:0]}, "no samples"),
    "no domain": ({"domain": None}, "describe the inputs"),
    "one text as classes": ({"classes": "no"}, "give the names of the classes"),
    "a task by name": ({"task": "classes"}, "give a Task"),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_parts(what):
    """It names the data and says what to do."""
    changes, sentence = WRONG[what]
    with pytest.raises(InputError, match=f"^mine: .*({sentence})") as told:
        sp.Data(**{**GOOD, **changes})
    assert ":" in str(told.value).removeprefix("mine: ")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ids": [4, 5, 6, 7]},
        {"ids": np.arange(4)},
        {"ids": ("a", "b", "c", "d")},
        {"x": X.tolist(), "y": Y.tolist()},
        {"x": X.numpy(), "y": Y.numpy().astype(float)},
        {"classes": []},
    ],
    ids=["tensors", "numbers as ids", "an array of ids", "a tuple of ids", "lists", "arrays", "no names of classes"],
)
def test_right_parts(changes):
    """In every form that `Data.of` takes, with the same result."""
    data = sp.Data(**{**GOOD, **changes})
    assert data.ids == [str(one) for one in changes.get("ids", GOOD["ids"])]
    assert torch.equal(data.x, X)
    assert torch.equal(data.y, Y)
    assert data.y.dtype == torch.int64
    assert data.task.classes == 2
    named = ["0", "1"] if changes.get("classes") == [] else ["no", "yes"]
    assert data.classes == named
    assert data.sha256 == sp.Data.of(X, Y, COLUMNS, ids=data.ids, classes=named).sha256


def test_a_sample_twice_is_refused_by_an_evaluation(tmp_path):
    """Positions may be chosen twice, but the rows of a record are one per id."""
    data = sp.load("digits", take=4)
    with pytest.raises(InputError, match="a sample is in the data twice"):
        sp.evaluate("zoo:digits-plain", data.rows([0, 1, 1]), sp.linf(0.1), "fgsm", out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_parts_of_data_are_not_checked_again(monkeypatch):
    """Rows of checked data are checked data: batches cost nothing."""
    data = sp.Data(**GOOD)
    monkeypatch.setattr(type(COLUMNS), "check", lambda *any: pytest.fail("checked again"))
    part = data.rows([2, 0])
    assert part.ids == ["c", "a"]
    assert torch.equal(part.x, X[[2, 0]])
    assert part.sha256 != data.sha256
    assert len(data.rows(torch.arange(0))) == 0
