"""Models on tables with missing values: asked as they are, or refused with a sentence that says what to do."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skops.io
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

import sparring as sp
from sparring.certification.certify import certify
from sparring.core.errors import LoadError
from sparring.core.registry import find
from sparring.core.rng import Rng
from sparring.data.dataset import Data
from sparring.data.load import load
from sparring.domains.table import table
from sparring.models.adapter import victim
from sparring.models.load import load_model
from sparring.threats.threats import linf

RULES = "radius: 2\ncolumns:\n  age: {reach: 10, cost: 0.1}\n  income: {reach: 900, cost: 0.001}\n"


def people():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 80, 200).astype(float),
            "income": rng.normal(3000, 800, 200).round(2),
            "town": rng.choice(["Bonn", "Köln", "Ulm"], 200).astype(object),
            "owner": rng.choice([True, False], 200).astype(object),
        }
    )
    label = np.where((frame.income > 3000) ^ (frame.town == "Bonn"), "yes", "no")
    return frame.mask(rng.random(frame.shape) < 0.2), label


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def data():
    frame, label = people()
    frame.assign(age=frame.age.astype("Int64"), label=label).to_csv("people.csv", index=False)
    return load("people.csv")


@pytest.fixture
def numbers(data):
    """The same people without their towns, of whom age and income may be missing."""
    frame = data.domain.frame(data.x)[["age", "income"]]
    frame.assign(label=data.y.numpy()).to_csv("numbers.csv", index=False)
    Path("rules.yaml").write_text(RULES)
    return load("numbers.csv")


BOOSTERS = {
    "hist": lambda: HistGradientBoostingClassifier(max_iter=5, categorical_features="from_dtype"),
    "xgboost": lambda: pytest.importorskip("xgboost").XGBClassifier(n_estimators=5, enable_categorical=True),
    "lightgbm": lambda: pytest.importorskip("lightgbm").LGBMClassifier(n_estimators=5, verbose=-1),
}


@pytest.mark.parametrize("name", BOOSTERS)
def test_boosters_get_each_missing_value_in_the_type_of_its_column(data, name):
    """Scores are the library's own, for all rows together, for each alone, and for one that lacks everything."""
    frame, _ = people()
    frame = frame.astype({"town": "category", "owner": "boolean"})
    model = BOOSTERS[name]().fit(frame, data.y.numpy())
    seen = victim(model, data.domain)
    own = model.predict_proba(frame)
    assert torch.equal(seen.scores(data.x), torch.from_numpy(own.astype(np.float64)))
    assert np.array_equal(np.concatenate([seen.scores(data.x[row : row + 1]).numpy() for row in range(30)]), own[:30])
    assert seen.scores(torch.full((1, 4), torch.nan, dtype=torch.float64)).isfinite().all()


def test_a_model_that_takes_none_is_refused_at_the_first_question(numbers):
    frame, gaps = numbers.domain.frame(numbers.x), numbers.x.isnan()
    skops.io.dump(LogisticRegression().fit(frame.fillna(0), numbers.y.numpy()), "plain.skops")
    seen = load_model("plain.skops", numbers)
    with pytest.raises(LoadError, match=r"plain takes no missing values, but column 'age' has some \(ValueError: Input X contains NaN\): put an imputer"):
        seen.scores(numbers.x)
    assert len(seen.label(numbers.x[~gaps.any(1)])) == int((~gaps.any(1)).sum())
    late = numbers.rows([*(~gaps.any(1)).nonzero().squeeze(1).tolist(), *(gaps[:, 1] & ~gaps[:, 0]).nonzero().squeeze(1).tolist()])
    with pytest.raises(LoadError, match="column 'income' has some"):  # also where the first rows have no gaps
        sp.evaluate(seen, late, sp.rules("rules.yaml"), out="none")
    assert not Path("none").exists()


def test_an_error_that_gaps_did_not_cause_is_the_estimators_own(numbers):
    class Broken(LogisticRegression):
        def predict_proba(self, X):
            raise RuntimeError("out of order")

    model = Broken().fit(np.eye(2), [0, 1])
    with pytest.raises(RuntimeError, match="out of order"):
        victim(model, numbers.domain).scores(numbers.x)


def test_functions_get_nan(numbers):
    seen = []

    def function(rows):
        seen.append(np.isnan(rows).sum())
        return np.stack([np.isnan(rows).any(1), ~np.isnan(rows).any(1)], 1).astype(float)

    scores = victim(function, numbers.domain, classes=2).scores(numbers.x)
    assert seen[-1] == int(numbers.x.isnan().sum())
    assert torch.equal(scores[:, 0] == 1, numbers.x.isnan().any(1))


def test_models_that_cannot_take_them_are_refused_at_the_door(numbers):
    xgboost = pytest.importorskip("xgboost")
    frame = numbers.domain.frame(numbers.x)
    model = xgboost.XGBClassifier(n_estimators=2).fit(frame, numbers.y.numpy())
    model.save_model("trees.json")
    given = {
        "Linear": lambda: victim(torch.nn.Linear(2, 2), numbers.domain),
        "Booster": lambda: victim(model.get_booster(), numbers.domain),
        "trees": lambda: load_model("trees.json", numbers),
        "127.0.0.1:9/x": lambda: load_model("http://127.0.0.1:9/x", numbers),
    }
    for name, wrap in given.items():
        with pytest.raises(LoadError, match=rf"{name} takes no missing values here, but column 'age' may have some: .* give a fitted estimator"):
            wrap()
    whole = Data.of(frame.dropna(), numbers.y[~numbers.x.isnan().any(1)], table(frame.dropna()))
    assert load_model("trees.json", whole).label(whole.x).shape == (len(whole),)


def test_certificates_leave_rows_with_gaps_open(numbers):
    """They are unknown with the reason; the other rows have the certificates that they have alone."""
    frame = numbers.domain.frame(numbers.x)
    seen = victim(pytest.importorskip("xgboost").XGBClassifier(n_estimators=3, max_depth=2).fit(frame, numbers.y.numpy()), numbers.domain)
    x, y = numbers.x[:40], seen.label(numbers.x[:40])
    gaps = x.isnan().any(1)
    found, alone = certify(seen, x, y, linf(0.01)), certify(seen, x[~gaps], y[~gaps], linf(0.01))
    assert {(one.verdict, one.reason) for one, gap in zip(found, gaps, strict=True) if gap} == {
        ("unknown", "the row has a missing value, about which nothing is proved")
    }
    assert [one.verdict for one, gap in zip(found, gaps, strict=True) if not gap] == [one.verdict for one in alone]
    assert alone.proved.any()
    assert {one.verdict for one in certify(seen, x[gaps], y[gaps], linf(0.01))} == {"unknown"}
    direct = find("certifier", "trees")(seen, x, y, linf(0.01), Rng.of(0, range(40)), seconds=None)
    assert all(one.verdict == "unknown" and "missing" in one.reason for one, gap in zip(direct, gaps, strict=True) if gap)


def test_no_check_is_misled_by_gaps(numbers):
    frame = numbers.domain.frame(numbers.x)
    seen = victim(HistGradientBoostingClassifier(max_iter=30).fit(frame, numbers.y.numpy()), numbers.domain)
    assert {str(one.verdict) for one in sp.doctor(seen, numbers, sp.rules("rules.yaml"), deep=True)} == {"ok", "not applicable"}
