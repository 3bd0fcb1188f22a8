"""Estimators that predict several labels at once: recognised, asked for their sets, and agreeing with `predict` on every row, ties included."""

import functools
import warnings

import numpy as np
import pytest
import skops.io
import torch
from scipy.sparse import csr_matrix
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

import sparring as sp
from sparring.core.errors import LoadError
from sparring.models.load import load_model
from sparring.tasks.classes import Classes
from sparring.tasks.labels import labels

X, KIND = load_iris(return_X_y=True)
Y = np.stack([KIND == 1, X[:, 0] > 5.8, X[:, 1] > 3], 1).astype(int)
DOMAIN = sp.table(["a", "b", "c", "d"])


def xgboost_classifier():
    return pytest.importorskip("xgboost").XGBClassifier(n_estimators=3, n_jobs=1)


MODELS = {
    "forest": lambda: RandomForestClassifier(4, random_state=0),  # four trees and four neighbours are often divided
    "tree": lambda: DecisionTreeClassifier(max_depth=2),
    "neighbours": lambda: KNeighborsClassifier(4),
    "network": lambda: MLPClassifier((4,), max_iter=20, random_state=0),
    "one against the rest": lambda: OneVsRestClassifier(LogisticRegression()),
    "margins": lambda: OneVsRestClassifier(LinearSVC()),
    "ridge": RidgeClassifier,
    "several": lambda: MultiOutputClassifier(LogisticRegression()),
    "several without scores": lambda: MultiOutputClassifier(LinearSVC()),
    "chain": lambda: ClassifierChain(LogisticRegression()),
    "pipeline": lambda: make_pipeline(StandardScaler(), KNeighborsClassifier(4)),
    "search": lambda: GridSearchCV(DecisionTreeClassifier(), {"max_depth": [1, 2]}, cv=2),
    "boosting": xgboost_classifier,
}
TIES = {"forest": 1, "neighbours": 1, "pipeline": 1}
"""Models that call some labels of these rows with a probability of exactly one half."""


@pytest.fixture(scope="module")
def fitted():
    """A function from the name of a model to the model, fitted once."""

    @functools.cache
    def one(name):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a network that has not converged is good enough here
            return MODELS[name]().fit(X, Y)

    return one


@pytest.mark.parametrize("name", MODELS)
def test_answers_are_what_the_estimator_predicts(name, fitted):
    """By answers, by scores and alone; where a probability is one half, as `predict` decides."""
    model = fitted(name)
    x, predicted = DOMAIN.check(X), torch.from_numpy(np.asarray(model.predict(X)).astype(np.int64))
    victim = sp.victim(model, DOMAIN, task=labels(names=["cat", "dog", "bird"]))
    assert victim.task.count == 3
    assert torch.equal(victim.answer(x), predicted)
    assert torch.equal(torch.cat([victim.answer(x[row : row + 1]) for row in range(20)]), predicted[:20])
    if name == "several without scores":
        assert victim.exposes == {"labels"}
        return
    scores = victim.scores(x)
    assert scores.shape == (len(x), 3)
    assert torch.isfinite(scores).all()
    assert torch.equal(victim.decide(x, scores), predicted)
    assert torch.equal(victim.task.answer(scores), predicted)
    assert int((scores == 0).sum()) >= TIES.get(name, 0)


@pytest.mark.parametrize("name", MODELS)
def test_without_a_task_it_is_refused_with_the_cure(name, fitted):
    with pytest.raises(LoadError, match=r"predicts 3 labels at once: give task=sp\.tasks\.labels\(3\), or a model of one class per sample"):
        sp.victim(fitted(name), DOMAIN)


def test_what_does_not_fit_is_refused(fitted):
    with pytest.raises(LoadError, match="3 scores per sample, but the task has 4 labels"):
        sp.victim(fitted("forest"), DOMAIN, task=labels(4))
    with pytest.raises(LoadError, match="fit it first, on rows like these"):
        sp.victim(RandomForestClassifier(), DOMAIN, task=labels(3))
    with pytest.raises(LoadError, match="answers 3 classes, the task is sets of 3 labels"):
        sp.victim(LogisticRegression(max_iter=1000).fit(X, KIND), DOMAIN, task=labels(3))
    with pytest.raises(LoadError, match=r"give task=sp\.tasks\.labels\(3\)"):
        sp.victim(fitted("forest"), DOMAIN, task=Classes(3))
    with pytest.raises(LoadError, match=r"gives no probabilities to compare with threshold=0.3: leave out threshold="):
        sp.victim(fitted("margins"), DOMAIN, task=labels(3, threshold=0.3))
    several = RandomForestClassifier(2).fit(X, np.stack([KIND, 1 - KIND % 2], 1))
    for task in ({}, {"task": labels(2)}):
        with pytest.raises(LoadError, match="predicts the class 2 in output 0: several outputs are supported where each is a label, 0 or 1"):
            sp.victim(several, DOMAIN, **task)


def test_a_label_that_was_never_there_is_never_answered():
    """A forest knows one class of such a label, and gives one column of probabilities for it."""
    table = Y.copy()
    table[:, 1], table[:, 2] = 0, 1
    victim = sp.victim(RandomForestClassifier(3, random_state=0).fit(X, table), DOMAIN, task=labels(3))
    answers = victim.task.answer(victim.scores(DOMAIN.check(X)))
    assert torch.equal(answers[:, 1:], torch.tensor([[0, 1]]).expand(len(X), 2))
    assert torch.equal(answers, victim.answer(DOMAIN.check(X)))


def test_other_forms_of_predictions():
    """Sparse tables, booleans, and labels alone."""
    x = DOMAIN.check(X)
    sparse = OneVsRestClassifier(LogisticRegression()).fit(X, csr_matrix(Y))
    assert torch.equal(sp.victim(sparse, DOMAIN, task=labels()).answer(x), torch.from_numpy(sparse.predict(X).toarray().astype(np.int64)))
    truths = RandomForestClassifier(3, random_state=0).fit(X, Y.astype(bool))
    victim = sp.victim(truths, DOMAIN, task=labels(), labels_only=True)
    assert victim.exposes == {"labels"}
    assert torch.equal(victim.answer(x), torch.from_numpy(truths.predict(X).astype(np.int64)))


def test_a_threshold_decides_instead_of_predict(fitted):
    """A label is there above a probability of 0.2, whatever `predict` says."""
    model, x = fitted("forest"), DOMAIN.check(X)
    victim = sp.victim(model, DOMAIN, task=labels(3, threshold=0.2))
    expected = np.stack([one[:, 1] for one in model.predict_proba(X)], 1) > 0.2
    assert torch.equal(victim.answer(x), torch.from_numpy(expected.astype(np.int64)))
    assert torch.equal(victim.decide(x, victim.scores(x)), victim.answer(x))
    assert (expected != model.predict(X)).any()


def test_a_file_is_attacked(fitted, tmp_path):
    """A forest from its file, on data of the task; the judge and the scores agree, and the run ends."""
    skops.io.dump(fitted("forest"), tmp_path / "forest.skops")
    data = sp.Data.of(X[:30], Y[:30], DOMAIN, task=labels(names=["cat", "dog", "bird"]))
    victim = load_model(str(tmp_path / "forest.skops"), data)
    run = sp.evaluate(victim, data, sp.linf(0.5), ["square(queries=60)", "noise"], out=tmp_path / "runs")
    assert run.status == "done"
    table = run.table()
    judged = table[table.status.isin(["broken", "held"])]
    given, wanted = (victim.task.unpack(judged[column].tolist()) for column in ("given", "wanted"))
    assert ((given != wanted).any(1).numpy() == (judged.status == "broken")).all()
    assert run.robust_accuracy.value < run.clean_accuracy.value


def test_a_file_of_boosted_trees_of_several_labels_is_refused(fitted, tmp_path):
    fitted("boosting").save_model(tmp_path / "model.json")
    with pytest.raises(LoadError, match=r"predicts 3 labels at once: give the estimator itself with task=sp\.tasks\.labels\(3\)"):
        sp.victim(str(tmp_path / "model.json"), DOMAIN)
