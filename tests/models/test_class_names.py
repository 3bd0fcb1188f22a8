"""The classes of data and model are the same, by name, or the data is refused."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

import sparring as sp
from sparring.core.errors import InputError, UnknownName

RNG = np.random.default_rng(0)
X = pd.DataFrame(RNG.normal(size=(300, 2)), columns=["a", "b"])
K = np.where(X.a < -0.4, 0, np.where(X.a < 0.4, 1, 2))
NAMES = {"numbers": np.array([0, 1, 2]), "words": np.array(["cat", "dog", "owl"]), "gap": np.array([1, 5, 7]), "signs": np.array([-1, 0, 1])}


def file(tmp_path, names, keep):
    X[keep].assign(target=names[K[keep]]).to_csv(tmp_path / "part.csv", index=False)
    return tmp_path / "part.csv"


@pytest.mark.parametrize("label", NAMES)
def test_a_file_that_lacks_a_class(label, tmp_path):
    """Right by itself where the names are numbers from 0 on, else refused with the cure, which works."""
    names, keep = NAMES[label], K != 1
    model = LogisticRegression(C=100).fit(X, names[K])
    data = sp.load(file(tmp_path, names, keep))
    if label != "numbers":
        with pytest.raises(InputError, match=f"the model has the classes {', '.join(map(str, names))}, the data {names[0]}, {names[2]}: .*classes="):
            sp.evaluate((model, data.domain), data, sp.linf(1e-4), ["noise"], certify="none", out=str(tmp_path))
        data = sp.load(tmp_path / "part.csv", classes=",".join(map(str, names)))
    victim = sp.victim(model, data.domain)
    assert data.classes == [str(name) for name in names]
    assert float((victim.label(data.x) == data.y).double().mean()) == pytest.approx(model.score(X[keep], names[K[keep]]))


@pytest.mark.parametrize("label", NAMES)
def test_a_file_with_all_classes_needs_no_word(label, tmp_path):
    names = NAMES[label]
    model = LogisticRegression(C=100).fit(X, names[K])
    data = sp.load(file(tmp_path, names, K >= 0))
    run = sp.evaluate((model, data.domain), data, sp.linf(1e-4), ["noise(tries=1)"], certify="none", self_check=False, out=str(tmp_path))
    assert run.clean_accuracy.value == pytest.approx(model.score(X, names[K]))


def network(outputs):
    return sp.victim(nn.Linear(2, outputs).eval(), sp.table(["a", "b"]))


@pytest.mark.parametrize(
    ("classes", "outputs", "fits"),
    [
        (["0", "1", "2"], 3, True),
        (["0", "1"], 3, True),
        (["cat", "owl", "dog"], 3, True),
        (["cat", "owl"], 3, False),
        (["1", "2"], 3, False),
        (["1", "2", "3"], 3, True),
        (["0", "9"], 10, False),
    ],
)
def test_a_network_knows_no_names(classes, outputs, fits, tmp_path):
    """The names of the data are those of its outputs where there are as many; fewer only where they are their own numbers."""
    data = sp.Data.of(X[:10], K[:10] % 2, sp.table(["a", "b"]), classes=classes)
    ask = lambda: sp.evaluate(network(outputs), data, sp.linf(0.1), ["noise(tries=1)"], certify="none", self_check=False, out=str(tmp_path))  # noqa: E731
    if fits:
        assert ask().status == "done"
    else:
        with pytest.raises(InputError, match=f"the model has {outputs} classes without names, the data {', '.join(classes)}: .*classes="):
            ask()


def test_labels_given_in_python_are_places():
    """A model with words for classes takes them; one with other numbers does not."""
    y = K[:50]
    for names in (NAMES["words"], NAMES["gap"]):
        model = LogisticRegression(C=100).fit(X, names[K])
        data = sp.Data.of(X[:50], y, sp.table(X))
        if names is NAMES["words"]:
            assert float(sp.victim(model, data.domain).label(data.x).eq(data.y).double().mean()) > 0.9
        else:
            with pytest.raises(InputError, match="the model has the classes 1, 5, 7, the data 0, 1, 2"):
                sp.evaluate((model, data.domain), data, sp.linf(0.1), ["noise"], certify="none")


def test_numbering():
    data = sp.Data.of(X[:4], torch.tensor([0, 1, 1, 0]), sp.table(X), classes=["b", "a"])
    again = data.numbered(["a", "b", "c"])
    assert (again.y.tolist(), again.classes, again.task.classes) == ([1, 0, 0, 1], ["a", "b", "c"], 3)
    with pytest.raises(UnknownName, match="class of data 'b'"):
        data.numbered(["a", "c"])
    with pytest.raises(InputError, match="give the name of every class once"):
        data.numbered(["a", "b", "a"])
    with pytest.raises(InputError, match="leave out classes="):
        sp.load("diabetes", classes="a,b")


def test_a_plan_numbers_classes(tmp_path):
    from sparring.bench.plan import Plan

    path = file(tmp_path, NAMES["words"], K != 1)
    assert Plan.of({"classes": 'cat, "big, dog"'}).classes == ["cat", "big, dog"]
    plan = Plan.of({"model": "zoo:digits-plain", "data": str(path), "threat": "linf 0.1", "classes": "cat,dog"})
    with pytest.raises(UnknownName, match="class of part 'owl': known: cat, dog"):
        plan.cases()
