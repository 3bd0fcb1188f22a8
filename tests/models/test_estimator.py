"""Scikit-learn estimators are judged by what they predict."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import make_classification
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import sparring as sp
from sparring.core.errors import LoadError
from sparring.core.rng import Rng
from sparring.judge.judge import Status, judge
from sparring.models.estimator import EstimatorVictim
from sparring.tasks.classes import Classes


class Tuned:
    """A classifier that says 1 from a probability of 0.2 on."""

    classes_ = np.array([0, 1])

    def get_params(self, deep=True):
        return {}

    def predict_proba(self, x):
        return np.stack([1 - x[:, 0], x[:, 0]], axis=1)

    def predict(self, x):
        return (x[:, 0] >= 0.2).astype(int)


def test_the_prediction_decides_not_the_highest_probability():
    """A row at 0.3 is class 1 for the deployed model, though its probability is below one half."""
    victim = sp.victim(Tuned(), sp.table(["x"]))
    x, y = torch.tensor([[0.1]], dtype=torch.float64), torch.tensor([0])
    threat = sp.rules(rules_of_one_column())
    criterion = threat.goal.freeze(y, Classes(2), Rng.of(0, ["a"]))
    verdicts = judge(victim, x, torch.tensor([[0.3]], dtype=torch.float64), criterion, threat, torch.tensor([False]))
    assert verdicts.status == [Status.BROKEN]
    assert verdicts.answers.tolist() == [1]


def rules_of_one_column():
    from sparring.threats.rules import Rule, Rules

    return Rules(1.0, (Rule("x"),))


def test_the_fingerprint_of_a_forest_outlives_writing_and_reading():
    """Between the fields of its nodes lie bytes that nobody sets."""
    import skops.io
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import RandomForestClassifier

    x, y = load_breast_cancer(return_X_y=True)
    table = sp.table([f"column {place}" for place in range(x.shape[1])])
    forest, other = (RandomForestClassifier(n_estimators=3, random_state=seed).fit(x, y) for seed in (0, 1))
    written = skops.io.dumps(forest)
    again = skops.io.loads(written, trusted=skops.io.get_untrusted_types(data=written))
    assert EstimatorVictim(again, table).fingerprint == EstimatorVictim(forest, table).fingerprint
    assert EstimatorVictim(other, table).fingerprint != EstimatorVictim(forest, table).fingerprint


def test_an_estimator_of_several_labels_is_refused():
    """Whatever form its classes have: an answer for one label would be silently wrong."""
    import pytest
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.multioutput import MultiOutputClassifier

    from sparring.core.errors import LoadError

    x = np.random.default_rng(0).normal(size=(40, 2))
    y = (np.stack([x[:, 0], x[:, 1], x.sum(1)], 1) > 0).astype(int)
    for model in (RandomForestClassifier(2), OneVsRestClassifier(LogisticRegression()), MultiOutputClassifier(LogisticRegression())):
        with pytest.raises(LoadError, match="predicts 3 labels at once"):
            sp.victim(model.fit(x, y), sp.table(["a", "b"]))


class Odd(Tuned):
    """A classifier whose predictions have the form that is asked for."""

    classes_ = np.array(["a", "b"])

    def __init__(self, form):
        self.form = form

    def predict(self, x):
        return self.form(np.where(x[:, 0] >= 0.5, "b", "a"))


def test_a_column_of_predictions_is_one_class_per_row():
    """As CatBoost answers."""
    victim = sp.victim(Odd(lambda labels: labels[:, None]), sp.table(["x"]))
    assert victim.label([[0.1], [0.9]]).tolist() == [0, 1]


@pytest.mark.parametrize("form", [lambda labels: (labels == "b") * 2.0 - 1, lambda labels: np.char.upper(labels), lambda labels: labels == "b"])
def test_predictions_that_are_none_of_the_classes_are_refused(form):
    victim = sp.victim(Odd(form), sp.table(["x"]))
    with pytest.raises(LoadError, match=r"predicts .*, which is none of its classes a, b: give an estimator whose predict returns classes"):
        victim.label([[0.1], [0.9]])


def logistic(truth, sums):
    share = 1 / (1 + np.exp(-sums))
    return share - truth, share * (1 - share)


def one_against_all(truth, sums):
    return sums - np.eye(3)[truth.astype(int)], np.ones_like(sums)


@pytest.mark.filterwarnings("ignore:Cannot compute class probabilities")
@pytest.mark.parametrize(("classes", "objective"), [(2, logistic), (3, one_against_all)])
def test_sums_of_an_objective_of_the_user_are_no_classes(classes, objective, tmp_path):
    """LightGBM predicts sums there; its text says nothing of what they mean."""
    lightgbm = pytest.importorskip("lightgbm")
    rows = np.random.default_rng(0).random((300, 2))
    y = (rows[:, 0] * classes).astype(int)
    model = lightgbm.LGBMClassifier(objective=objective, n_estimators=40, verbose=-1).fit(rows, y)
    domain = sp.table(["a", "b"])
    victim = sp.victim(model, domain)
    assert (victim.label(rows).numpy() == y).mean() > 0.95
    assert (victim.scores(rows).argmax(1) == victim.label(rows)).all()
    model.booster_.save_model(tmp_path / "own.txt")
    for one in (model.booster_, str(tmp_path / "own.txt")):
        if classes == 3:
            assert (sp.victim(one, domain).label(rows) == victim.label(rows)).all()
            continue
        values = sp.victim(one, domain, task=sp.tasks.Values())
        assert np.allclose(values.scores(rows).numpy()[:, 0], model.booster_.predict(rows))
        with pytest.raises(LoadError, match="names no objective, because it was trained with a function of your own: write task=values if"):
            sp.victim(one, domain)


class Shaped(Tuned):
    """A classifier whose probabilities have the form that is asked for."""

    def __init__(self, form):
        self.form = form

    def predict_proba(self, x):
        return self.form(np.asarray(x)[:, 0])

    def predict(self, x):
        return (np.asarray(x)[:, 0] > 0.5).astype(int)


@pytest.mark.parametrize("form", [lambda p: p, lambda p: p[:, None], lambda p: pd.DataFrame({"no": 1 - p, "yes": p})])
def test_one_probability_is_that_of_class_1(form):
    """As wrappers of networks that end in one sigmoid return it."""
    victim = sp.victim(Shaped(form), sp.table(["x"]))
    assert victim.scores([[0.25], [0.75]]).tolist() == [[0.75, 0.25], [0.25, 0.75]]


def test_scores_of_other_counts_than_classes_are_refused():
    victim = sp.victim(Shaped(lambda p: np.ones((len(p), 3))), sp.table(["x"]))
    with pytest.raises(LoadError, match=r"gives scores of shape \[3\] per row for 2 classes: give an estimator of one score per class"):
        victim.scores([[0.25]])


@pytest.mark.parametrize("wrap", [lambda model: model, lambda model: make_pipeline(StandardScaler(), model), lambda model: GridSearchCV(model, {"C": [1.0]})])
@pytest.mark.parametrize("classes", [2, 3, 4])
def test_margins_of_pairs_are_no_scores_of_classes(classes, wrap):
    """Three classes have three pairs, so that their count tells nothing."""
    x, y = make_classification(300, 4, n_informative=4, n_redundant=0, n_classes=classes, n_clusters_per_class=1, random_state=0)
    model = wrap(SVC(decision_function_shape="ovo")).fit(x, y)
    victim = sp.victim(model, sp.table(["a", "b", "c", "d"]))
    scores = victim.scores(x)
    assert scores.shape == (300, classes)
    assert (scores.argmax(1).numpy() == model.predict(x)).all()
