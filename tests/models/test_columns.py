"""Columns of tables reach a fitted model by their names and with the types it was fitted on."""

import contextlib
import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import sparring as sp
from sparring.core.errors import LoadError
from sparring.domains.table import Column, Table
from sparring.models.categories import as_fitted
from sparring.models.columns import places_of

RNG = np.random.default_rng(0)
FRAME = pd.DataFrame({"speed": RNG.random(200), "load": RNG.random(200) * 10, "heat": RNG.random(200) * 100})
Y = (FRAME.speed > 0.5).astype(int).to_numpy()


def accuracy(model, frame, y=Y):
    data = sp.Data.of(frame, y, sp.table(frame))
    victim = sp.victim(model, data.domain)
    right = float((victim.label(data.x) == data.y).double().mean())
    assert right == pytest.approx(float((model.predict(frame[list(model.feature_names_in_)]) == y).mean()))
    return right


MODELS = {
    "forest": lambda: RandomForestClassifier(10, random_state=0),
    "pipeline": lambda: make_pipeline(StandardScaler(), LogisticRegression(C=100)),
    "boosting": lambda: HistGradientBoostingClassifier(max_iter=10),
}


@pytest.mark.parametrize("order", [["speed", "load", "heat"], ["heat", "load", "speed"], ["load", "heat", "speed"]])
@pytest.mark.parametrize("name", MODELS)
def test_any_order_of_the_columns_gives_the_same_answers(name, order):
    assert accuracy(MODELS[name]().fit(FRAME, Y), FRAME[order]) > 0.95


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (FRAME.set_axis(["a", "b", "c"], axis=1), "the data lacks 'speed', 'load', 'heat' and the model does not know 'a', 'b', 'c'"),
        (FRAME[["speed", "load"]], "the data lacks 'heat'"),
        (FRAME.assign(more=1.0), "the model does not know 'more'"),
    ],
)
def test_other_columns_are_refused(frame, said):
    with pytest.raises(LoadError, match=said):
        sp.victim(RandomForestClassifier(5, random_state=0).fit(FRAME, Y), sp.table(frame))


def test_columns_without_names_are_taken_as_they_stand():
    """A file without a header, or a model that was fitted on an array, leaves nothing to compare."""
    model = RandomForestClassifier(10, random_state=0).fit(FRAME, Y)
    bare = sp.table(FRAME.set_axis(["column 0", "column 1", "column 2"], axis=1))
    x = torch.tensor(FRAME.to_numpy())
    assert (sp.victim(model, bare).label(x).numpy() == model.predict(FRAME)).all()
    model.fit(FRAME.to_numpy(), Y)
    assert (sp.victim(model, sp.table(FRAME)).label(x).numpy() == model.predict(FRAME.to_numpy())).all()


def test_a_certificate_of_trees_knows_the_order():
    """Radii are those of the data in the order of the model; the thresholds that attacks ask about are those of their column."""
    model = RandomForestClassifier(5, max_depth=3, random_state=0).fit(FRAME, Y)
    radii, thresholds = {}, {}
    for order in (["speed", "load", "heat"], ["heat", "speed", "load"]):
        domain = sp.table(FRAME[order])
        victim = sp.victim(model, domain)
        x = domain.check(FRAME[order])[:10]
        radii[tuple(order)] = [one.radius for one in sp.certified_radius(victim, x, torch.tensor(Y[:10]), sp.linf(50.0), ["trees"])]
        thresholds[tuple(order)] = dict(zip(order, [list(one) for one in victim.thresholds], strict=True))
    first, second = radii.values()
    assert first == second
    assert any(first)
    first, second = thresholds.values()
    assert first == second


FLAGS = pd.DataFrame({"a": RNG.normal(size=300), "flag": RNG.random(300) < 0.5})
FLAGGED = ((FLAGS.a > 0) ^ FLAGS.flag).astype(int).to_numpy()


@pytest.mark.parametrize("source", ["frame", "csv", "parquet"])
@pytest.mark.parametrize("encoder", [None, OneHotEncoder(), OneHotEncoder(handle_unknown="ignore")])
def test_truth_values_stay_truth_values(source, encoder, tmp_path):
    forest = RandomForestClassifier(20, random_state=0)
    model = forest if encoder is None else make_pipeline(make_column_transformer((encoder, ["flag"]), remainder="passthrough"), forest)
    model.fit(FLAGS, FLAGGED)
    if source == "frame":
        data = sp.Data.of(FLAGS, FLAGGED, sp.table(FLAGS))
    else:
        path, table = tmp_path / f"t.{source}", FLAGS.assign(target=FLAGGED)
        (table.to_csv if source == "csv" else table.to_parquet)(path, index=False)
        data = sp.load(path)
    assert (sp.victim(model, data.domain).label(data.x).numpy() == model.predict(FLAGS)).all()


def boosters():
    yield "scikit-learn", HistGradientBoostingClassifier(categorical_features="from_dtype", max_iter=20)
    try:
        import xgboost

        yield "XGBoost", xgboost.XGBClassifier(enable_categorical=True, n_estimators=20, max_depth=4)
    except ImportError:
        pass
    try:
        import lightgbm

        yield "LightGBM", lightgbm.LGBMClassifier(n_estimators=20, verbose=-1)
    except ImportError:
        pass


LEVELS = [["p", "q", "r"], ["Bonn", "Köln", "Ulm"], [3, 1, 2], ["3", "1", "2"], [True, False], ["True", "False"], [0.5, 1.5, 2.0]]


@pytest.mark.parametrize("levels", LEVELS, ids=str)
@pytest.mark.parametrize("name", ["scikit-learn", "XGBoost", "LightGBM"])
def test_boosters_get_their_categories(name, levels, tmp_path):
    """Words, numbers and truth values, in the order of the type and not of the alphabet; also from a file, which has no categorical type."""
    model = dict(boosters()).get(name) or pytest.skip(f"NOT TESTED: {name} is not installed")
    if name == "XGBoost" and isinstance(levels[0], bool | float):
        pytest.skip("NOT TESTED: XGBoost takes no categories of this type")
    drawn = np.array(levels)[RNG.integers(0, len(levels), 400)]
    frame = pd.DataFrame({"a": RNG.random(400), "z": pd.Categorical(drawn, categories=levels)})
    y = ((frame.a > 0.5).to_numpy() ^ (frame.z == levels[1]).to_numpy()).astype(int)
    model.fit(frame, y)
    assert accuracy(model, frame, y) > 0.9
    frame.assign(target=y).sample(frac=1, random_state=0).to_csv(tmp_path / "t.csv", index=False)
    data = sp.load(tmp_path / "t.csv")
    assert (sp.victim(model, data.domain).label(data.x).numpy() == model.predict(frame.sample(frac=1, random_state=0))).all()


@pytest.mark.parametrize("levels", [["Köln", "Ulm", "Bonn"], ["Ärzte", "Öl", "Zug"], ["Bonn", "Ulm"]])
def test_words_that_xgboost_cuts_at_wrong_places_are_never_mixed_up(levels):
    """XGBoost 3.2 mistakes words beyond ASCII for each other, where data have another order than training."""
    xgboost = pytest.importorskip("xgboost")
    drawn = np.array(levels)[RNG.integers(0, len(levels), 300)]
    y = (drawn == levels[0]).astype(int)
    model = xgboost.XGBClassifier(enable_categorical=True, n_estimators=5).fit(pd.DataFrame({"z": pd.Categorical(drawn, categories=levels)}), y)
    refused = {}
    for order in itertools.permutations(levels):
        frame = pd.DataFrame({"z": pd.Categorical(drawn, categories=list(order))})
        with contextlib.suppress(LoadError):
            refused[order] = True
            victim = sp.victim(model, sp.table(frame))
            refused[order] = False
            assert (victim.label(victim.domain.check(frame)).numpy() == y).all()
    (held,) = (found for _, found in model.get_booster().get_categories(export_to_arrow=True).to_arrow())
    assert not refused[tuple(levels)]
    assert any(refused.values()) == (held.view("binary")[0].as_py() != levels[0].encode())


def test_a_category_that_a_booster_does_not_know_stays_one():
    """It is the library that decides about it; gaps are gaps."""
    for known, values, wanted in (
        ([3, 1], pd.Series([1.0, np.nan, 3.0, 7.0]), [1, None, 3, 7]),
        (["3", "1"], pd.Series([1, 3, 7]), ["1", "3", "7"]),
        ([False, True], pd.Series([1, 0]), [True, False]),
        ([1, 0], pd.Series([True, False]), [1, 0]),
    ):
        found = as_fitted(values, known, "column 'z'")
        assert [None if one != one else one for one in found.tolist()] == wanted
        assert found.cat.categories.tolist()[: len(known)] == known
        assert {type(one) for one in found.cat.categories.tolist()} == {type(known[0])}
    with pytest.raises(LoadError, match="column 'z' has the category 'x', the model was fitted on 3, 1"):
        as_fitted(pd.Series(["x"]), [3, 1], "column 'z'")


def test_files_of_boosters_know_their_columns(tmp_path):
    """Also where LightGBM wrote a blank as an underscore."""
    lightgbm, xgboost = pytest.importorskip("lightgbm"), pytest.importorskip("xgboost")
    frame = FRAME.rename(columns={"load": "the load"})
    light, trees = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1).fit(frame, Y), xgboost.XGBClassifier(n_estimators=5).fit(frame, Y)
    light.booster_.save_model(tmp_path / "light.txt")
    trees.save_model(tmp_path / "trees.json")
    for order in (list(frame), ["heat", "speed", "the load"]):
        domain = sp.table(frame[order])
        x = domain.check(frame[order])
        for model, file in ((light, "light.txt"), (trees, "trees.json")):
            for given in (str(tmp_path / file), model, model.booster_ if model is light else model.get_booster()):
                assert (sp.victim(given, domain).label(x).numpy() == model.predict(frame)).all()
    with pytest.raises(LoadError, match="the model does not know 'hot'"):
        sp.victim(str(tmp_path / "trees.json"), sp.table(frame.rename(columns={"heat": "hot"})))


def test_a_model_that_stopped_early_predicts_with_its_best_round(tmp_path):
    xgboost = pytest.importorskip("xgboost")
    x, random = RNG.random((400, 3)), np.random.default_rng(1)
    y = np.digitize(x[:, 0] + 0.3 * random.normal(size=400), [0.3, 0.7])
    model = xgboost.XGBClassifier(n_estimators=100, max_depth=5, learning_rate=0.5, early_stopping_rounds=5, num_parallel_tree=2)
    model.fit(x[:200], y[:200], eval_set=[(x[200:], y[200:])], verbose=False)
    assert model.best_iteration + 1 < model.get_booster().num_boosted_rounds()
    model.save_model(tmp_path / "early.json")
    domain = sp.table(["a", "b", "c"])
    for given in (model, str(tmp_path / "early.json")):
        victim = sp.victim(given, domain)
        assert (victim.label(domain.check(x)).numpy() == model.predict(x)).all()


def test_values_are_written_with_their_types():
    domain = Table(
        (
            Column("n", "integer", 0, 9, dtype="int32"), Column("f", "real", dtype="float32"), Column("b", "category", levels=("False", "True"), dtype="bool"),
            Column("c", "category", levels=("3", "1"), dtype="category[int64]"), Column("w", "category", levels=("x", "y")),
        )
    )  # fmt: skip
    rows = domain.frame(torch.tensor([[3.0, 0.5, 1.0, 0.0, 1.0], [4.0, 0.25, 0.0, 1.0, 0.0]], dtype=torch.float64))
    assert [str(one) for one in rows.dtypes[:4]] == ["int32", "float32", "bool", "category"]
    assert rows.iloc[0].tolist() == [3, 0.5, True, 3, "y"]
    assert rows.c.cat.categories.tolist() == [3, 1]
    assert Table.restore(domain.describe()) == domain
    assert domain.frame(torch.tensor([[3.5, 0.5, 1.0, 0.0, 1.0]], dtype=torch.float64)).n.tolist() == [3.5], "a point between whole numbers stays one"


def test_places():
    domain = sp.table(["a", "b c"])
    assert places_of(None, domain, "m") is None
    assert places_of(["a", "b c"], domain, "m") is None
    assert places_of(["b_c", "a"], domain, "m") == [1, 0]
    with pytest.raises(LoadError, match="a name occurs twice"):
        places_of(["a", "b c", "a"], domain, "m")


def test_files_of_trees_that_compare_a_category_as_a_number_are_refused(tmp_path):
    """By which numbers the words stood in training, the file does not say; a column that no tree looks at does no harm."""
    lightgbm = pytest.importorskip("lightgbm")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"size": rng.random(80), "kind": rng.integers(0, 2, 80)})
    for name, truth in (("kind", frame.kind), ("size", (frame["size"] > 0.5).astype(int))):
        model = lightgbm.LGBMClassifier(n_estimators=2, verbose=-1, min_child_samples=1).fit(frame, truth)
        path = tmp_path / f"{name}.txt"
        model.booster_.save_model(path)
        words = frame.assign(kind=np.where(frame.kind == 1, "old", "new"))
        if name == "kind":
            with pytest.raises(LoadError, match="compares column 'kind' as a number, but the data has the categories new, old: give the estimator"):
                sp.victim(str(path), sp.table(words))
        else:
            victim = sp.victim(str(path), sp.table(words))
            assert victim.label(victim.domain.check(words)).tolist() == model.predict(frame).tolist()
