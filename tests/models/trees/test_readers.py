"""What is read predicts what the library predicts, on thresholds too; what is not understood is refused."""

import json

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.ensemble import ExtraTreesClassifier, GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, ExtraTreeClassifier

import sparring as sp
from sparring.core.errors import LoadError
from sparring.domains.table import Column, Table
from sparring.models.trees.ensemble import agree, below_single, up_to_single
from sparring.models.trees.estimators import read_estimator
from sparring.models.trees.files import TreeVictim, open_trees
from sparring.models.trees.xgboost_json import read_dump

SETS = {2: load_breast_cancer, 3: load_iris}


def data(classes):
    return SETS[classes](return_X_y=True)


SKLEARN = {
    "tree": lambda: DecisionTreeClassifier(max_depth=5, random_state=0),
    "extra tree": lambda: ExtraTreeClassifier(max_depth=5, random_state=0),
    "forest": lambda: RandomForestClassifier(8, random_state=0),
    "weighted forest": lambda: RandomForestClassifier(8, class_weight="balanced", random_state=0),
    "extra trees": lambda: ExtraTreesClassifier(8, max_depth=6, random_state=0),
    "boosting": lambda: GradientBoostingClassifier(n_estimators=8, random_state=0),
    "boosting from zero": lambda: GradientBoostingClassifier(n_estimators=8, init="zero", random_state=0),
    "histograms": lambda: HistGradientBoostingClassifier(max_iter=8, random_state=0),
}


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", SKLEARN)
def test_scikit_learn_models_are_read_as_they_predict(name, classes):
    x, y = data(classes)
    model = SKLEARN[name]().fit(x, y)
    ensemble = read_estimator(model)
    assert ensemble.checked
    x = np.concatenate([x, ensemble.points(400, seed=7)])
    scores = ensemble.scores(x)
    ranked = np.sort(scores, 1)
    clear = ranked[:, -1] - ranked[:, -2] > 1e-9
    assert clear.mean() > 0.8
    np.testing.assert_array_equal(scores.argmax(1)[clear], model.predict(x)[clear])


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("settings", [{}, {"base_score": 0.3}, {"num_parallel_tree": 3, "subsample": 0.5}, {"max_depth": 1}])
def test_xgboost_models_are_read_as_they_predict(classes, settings):
    xgboost = pytest.importorskip("xgboost")
    x, y = data(classes)
    model = xgboost.XGBClassifier(n_estimators=6, n_jobs=1, **settings).fit(x, y)
    ensemble = read_estimator(model)
    points = ensemble.points(400, seed=7)
    raw = model.predict(points, output_margin=True).astype(float)
    own = ensemble.scores(points)
    np.testing.assert_allclose(own[:, 1] if classes == 2 else own, raw, atol=ensemble.slack)
    assert ensemble.slack < 1e-4


def test_xgboost_stops_early_where_it_predicts_early():
    xgboost = pytest.importorskip("xgboost")
    x, y = data(2)
    model = xgboost.XGBClassifier(n_estimators=40, early_stopping_rounds=1, learning_rate=1.0, n_jobs=1).fit(
        x[::2], y[::2], eval_set=[(x[1::2], y[1::2])], verbose=False
    )
    assert model.best_iteration < 39
    assert read_estimator(model).trees == model.best_iteration + 1


@pytest.mark.parametrize("settings", [{}, {"boosting_type": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}, {"boosting_type": "dart"}])
@pytest.mark.parametrize("classes", [2, 3])
def test_lightgbm_models_are_read_as_they_predict(classes, settings):
    lightgbm = pytest.importorskip("lightgbm")
    x, y = data(classes)
    model = lightgbm.LGBMClassifier(n_estimators=6, verbose=-1, n_jobs=1, **settings).fit(x, y)
    ensemble = read_estimator(model)
    points = ensemble.points(400, seed=7)
    raw = model.predict(points, raw_score=True)
    own = ensemble.scores(points)
    np.testing.assert_allclose(own[:, 1] if classes == 2 else own, raw, atol=1e-9)


class TestRefused:
    def test_a_pipeline_that_changes_the_rows(self):
        x, y = data(2)
        with pytest.raises(LoadError, match="standardscaler before the trees"):
            read_estimator(make_pipeline(StandardScaler(), DecisionTreeClassifier(max_depth=2)).fit(x, y))

    def test_not_a_pipeline_that_does_nothing(self):
        x, y = data(2)
        model = Pipeline([("nothing", "passthrough"), ("tree", DecisionTreeClassifier(max_depth=2))]).fit(x, y)
        assert read_estimator(model).trees == 1

    def test_other_models(self):
        x, y = data(3)
        with pytest.raises(LoadError, match="LogisticRegression is not a supported tree model"):
            read_estimator(LogisticRegression(max_iter=5000).fit(x, y))

    def test_boosting_that_begins_with_a_model(self):
        x, y = data(2)
        model = GradientBoostingClassifier(n_estimators=2, init=DecisionTreeClassifier(max_depth=1)).fit(x, y)
        with pytest.raises(LoadError, match="not constant"):
            read_estimator(model)

    def test_a_number_as_missing_value(self):
        xgboost = pytest.importorskip("xgboost")
        x, y = data(3)
        with pytest.raises(LoadError, match="missing value"):
            read_estimator(xgboost.XGBClassifier(n_estimators=2, missing=0.0).fit(x, y))

    def test_boosters_that_are_no_trees_or_drop_them(self):
        xgboost = pytest.importorskip("xgboost")
        x, y = data(2)
        with pytest.raises(LoadError, match="dart booster"):
            read_estimator(xgboost.XGBClassifier(n_estimators=2, booster="dart").fit(x, y))

    def test_zero_as_missing_and_categories_of_lightgbm(self):
        lightgbm = pytest.importorskip("lightgbm")
        x, y = data(2)
        with pytest.raises(LoadError, match="zero as a missing value"):
            read_estimator(lightgbm.LGBMClassifier(n_estimators=2, verbose=-1, zero_as_missing=True).fit(np.where(x > np.median(x, 0), x, 0), y))
        grouped = x.copy()
        grouped[:, 0] = np.digitize(x[:, 0], np.quantile(x[:, 0], [0.2, 0.4, 0.6, 0.8]))
        model = lightgbm.LGBMClassifier(n_estimators=2, verbose=-1, max_cat_to_onehot=1, min_data_per_group=1, cat_smooth=0)
        with pytest.raises(LoadError, match="categories"):
            read_estimator(model.fit(grouped[:, :1], y, categorical_feature=[0]))

    def test_a_changed_tree(self):
        """The comparison itself: one threshold moved by one column's spread, and it notices."""
        x, y = data(2)
        model = RandomForestClassifier(3, random_state=0).fit(x, y)
        ensemble = read_estimator(model)
        root = int(ensemble.root[0])
        ensemble.edge[root] += x[:, ensemble.feature[root]].std()
        with pytest.raises(LoadError, match=r"disagree|differ"):
            agree(ensemble, "scikit-learn", model.predict)


class TestFiles:
    @pytest.fixture
    def domain(self):
        return Table(tuple(Column(f"column {place}") for place in range(30)))

    def test_a_saved_xgboost_model(self, tmp_path, domain):
        xgboost = pytest.importorskip("xgboost")
        x, y = data(2)
        model = xgboost.XGBClassifier(n_estimators=5, n_jobs=1).fit(x, y)
        model.save_model(tmp_path / "trees.json")
        victim = sp.victim(tmp_path / "trees.json", domain)
        assert isinstance(victim, TreeVictim)
        assert victim.name == "trees"
        assert "xgboost" in victim.ensemble.checked
        np.testing.assert_array_equal(victim.label(torch.from_numpy(x)).numpy(), model.predict(x))

    def test_a_planted_wrong_model_is_refused(self, tmp_path, domain):
        """A leaf order that XGBoost does not have (a file whose children are swapped as we read it) cannot pass."""
        xgboost = pytest.importorskip("xgboost")
        x, y = data(2)
        model = xgboost.XGBClassifier(n_estimators=5, n_jobs=1).fit(x, y)
        model.save_model(tmp_path / "trees.json")
        right = open_trees(tmp_path / "trees.json", domain)
        right.left[right.root[0]], right.right[right.root[0]] = right.right[right.root[0]], right.left[right.root[0]]
        with pytest.raises(LoadError, match="differ from xgboost's"):
            agree(right, "xgboost", model.predict, lambda rows: model.predict(rows, output_margin=True))

    def test_a_dump_decides_as_its_booster_without_being_checked(self, tmp_path, domain):
        xgboost = pytest.importorskip("xgboost")
        x, y = data(2)
        model = xgboost.XGBClassifier(n_estimators=5, base_score=0.5, n_jobs=1).fit(x, y)
        model.get_booster().dump_model(str(tmp_path / "dump.json"), dump_format="json")
        victim = sp.victim(str(tmp_path / "dump.json"), domain)
        assert victim.ensemble.checked == ""
        points = victim.ensemble.points(300)
        np.testing.assert_allclose(victim.scores(torch.from_numpy(points))[:, 1], model.predict(points, output_margin=True), atol=1e-5)

    def test_a_dump_of_many_classes_takes_turns(self, tmp_path):
        xgboost = pytest.importorskip("xgboost")
        x, y = data(3)
        model = xgboost.XGBClassifier(n_estimators=5, base_score=0.5, n_jobs=1).fit(x, y)
        content = [json.loads(one) for one in model.get_booster().get_dump(dump_format="json")]
        ensemble = read_dump(content, 4, classes=3, base=0.5)
        points = ensemble.points(300)
        np.testing.assert_allclose(ensemble.scores(points), model.predict(points, output_margin=True), atol=1e-5)
        with pytest.raises(LoadError, match="15 trees for 4 classes"):
            read_dump(content, 4, classes=4)

    def test_a_saved_lightgbm_model(self, tmp_path, domain):
        lightgbm = pytest.importorskip("lightgbm")
        x, y = data(2)
        model = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1, n_jobs=1).fit(x, y)
        model.booster_.save_model(tmp_path / "trees.txt")
        victim = sp.victim(tmp_path / "trees.txt", domain)
        assert "lightgbm" in victim.ensemble.checked
        np.testing.assert_array_equal(victim.label(torch.from_numpy(x)).numpy(), model.predict(x))

    @pytest.mark.parametrize(
        ("text", "message"), [("{}", "holds no trees"), ("[1]", "holds no trees"), ("tree", "neither JSON"), ('{"learner": {}}', "does not have the format")]
    )
    def test_files_without_trees_say_so(self, tmp_path, domain, text, message):
        (tmp_path / "model.json").write_text(text)
        with pytest.raises(LoadError, match=message):
            sp.victim(tmp_path / "model.json", domain)

    def test_more_columns_than_the_table_has(self):
        with pytest.raises(LoadError, match="splits on column 7, but rows have the columns 0 to 2"):
            read_dump(
                [{"nodeid": 0, "split": 7, "split_condition": 1.0, "yes": 1, "no": 2, "children": [{"nodeid": 1, "leaf": 1.0}, {"nodeid": 2, "leaf": 0.0}]}], 3
            )

    def test_columns_counted_from_one(self):
        stump = [{"nodeid": 0, "split": 1, "split_condition": 1.0, "yes": 1, "no": 2, "children": [{"nodeid": 1, "leaf": -1.0}, {"nodeid": 2, "leaf": 1.0}]}]
        assert read_dump(stump, 1, first=1).label([[0.5], [1.0], [np.nan], [np.inf]]).tolist() == [0, 1, -1, -1]
        with pytest.raises(LoadError, match="the first column is"):
            read_dump(stump, 1, first=2)


class TestEdges:
    """Comparison in float32 as one float64 edge, against the comparison itself."""

    values = np.array([0.5, 0.1, -0.1, 1e-40, 0.0, -0.0, 3.4e38, -3.4e38, 1 / 3, 16777217.0, 1e-310])

    def around(self, edge):
        return np.array([edge, np.nextafter(edge, np.inf), np.nextafter(edge, -np.inf), edge * (1 + 1e-9), edge * (1 - 1e-9)])

    @pytest.mark.parametrize("value", values)
    def test_up_to(self, value):
        for threshold in (value, np.nextafter(value, 1), float(np.float32(value))):
            rows = np.concatenate([self.around(up_to_single(threshold)), self.around(threshold)])
            np.testing.assert_array_equal(rows <= up_to_single(threshold), rows.astype(np.float32).astype(np.float64) <= threshold)

    @pytest.mark.parametrize("value", values)
    def test_below(self, value):
        threshold = np.float32(value)
        rows = np.concatenate([self.around(below_single(threshold)), self.around(float(threshold))])
        np.testing.assert_array_equal(rows <= below_single(threshold), rows.astype(np.float32) < threshold)

    def test_the_largest_float32(self):
        rows = np.array([3.4e38, 3.4028235677973362e38, 3.40282356779733661e38, 3.5e38])
        with np.errstate(over="ignore"):
            expected = rows.astype(np.float32) <= np.finfo(np.float32).max
        np.testing.assert_array_equal(rows <= up_to_single(float(np.finfo(np.float32).max)), expected)
