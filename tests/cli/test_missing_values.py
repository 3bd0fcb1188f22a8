"""Runs on tables with missing values, from the file to the report."""

import importlib.util

import numpy as np
import pandas as pd
import pytest

from sparring.bench.run import Run

MAKERS = {
    "hist": ("sklearn.ensemble", "HistGradientBoostingClassifier(max_iter=100)"),
    "xgboost": ("xgboost", "XGBClassifier(n_estimators=20, max_depth=3)"),
    "imputer": ("sklearn.pipeline", "make_pipeline(SimpleImputer(), LogisticRegression())"),
}
MADE = """
import pandas as pd
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from {home} import *

def fitted():
    frame = pd.read_csv("people.csv")
    return {maker}.fit(frame[["age", "income"]], frame.label)
"""


@pytest.fixture
def people(folder):
    """A file of 300 people; of a fifth the age is missing, of a fifth the income."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"age": rng.integers(18, 80, 300).astype(float), "income": rng.normal(3000, 800, 300).round(2)})
    label = (frame.income + 10 * frame.age > 3500).astype(int)
    frame = frame.mask(rng.random(frame.shape) < 0.2).astype({"age": "Int64"}).assign(label=label)
    frame.to_csv(folder / "people.csv", index=False)
    (folder / "rules.yaml").write_text("radius: 2\ncolumns:\n  age: {reach: 10, cost: 0.1}\n  income: {reach: 900, cost: 0.001}\n")
    return frame


def made(folder, kind, name):
    """What a plan calls the model, in a module of this name, and the model itself."""
    home, maker = MAKERS[kind]
    pytest.importorskip(home)
    path = folder / f"{name}.py"
    path.write_text(MADE.format(home=home, maker=maker))
    spec = importlib.util.spec_from_file_location(f"own_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return f"{name}:fitted", module.fitted()


@pytest.mark.parametrize("kind", MAKERS)
def test_clean_accuracy_is_the_librarys_own_and_rows_with_gaps_break(spar, folder, people, kind):
    model, own = made(folder, kind, f"gapped_run_{kind}")
    said = spar("run", f"model={model}", "data=people.csv", "threat=rules rules.yaml", "take=100", "out=runs", "points=all", "--quiet")
    assert said.code == 0, said.err
    path = next((folder / "runs").iterdir())
    run = Run.open(str(path))
    rows, first = run.table(), pd.read_csv("people.csv").head(100)
    assert run.clean_accuracy.value == (own.predict(first[["age", "income"]]) == first.label).mean()
    assert not (rows.status == "error").any()
    gapped = {place for place, gaps in enumerate(first.isna().any(axis=1)) if gaps}
    assert gapped & set(rows[(rows.status == "broken") & (rows.attack == "coordinate")].position)
    stored = [np.load(one) for one in path.glob("cells/*/points/*.npz")]
    assert sum(int(np.isnan(points["before"]).sum()) for points in stored) > 0
    for points in stored:
        assert np.array_equal(np.isnan(points["before"]), np.isnan(points["after"]))
    assert (path / "report.html").exists()


def test_certify_proves_the_other_rows(spar, folder, people):
    model, _ = made(folder, "xgboost", "gapped_certify")
    said = spar("certify", f"model={model}", "data=people.csv", "threat=linf 0.001", "take=40")
    assert said.code == 0, said.err
    assert f"{int(people.head(40).isna().any(axis=1).sum())} unknown: the row has a missing value" in said.out


def test_a_ball_is_refused_before_the_record(spar, folder, people):
    model, _ = made(folder, "hist", "gapped_ball")
    said = spar("run", f"model={model}", "data=people.csv", "threat=linf 0.1", "out=runs")
    assert said.code == 2
    assert "linf 0.1 changes every value, but the data has missing ones in the columns 'age', 'income': give rules" in said.err
    assert not (folder / "runs").exists()
