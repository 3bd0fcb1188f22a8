"""Fitted classifiers made of trees, of scikit-learn, XGBoost and LightGBM, as an `Ensemble` that agrees with them."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from sparring.core.errors import LoadError
from sparring.models.trees.ensemble import DOUBLE, Ensemble, Tree, agree, column, gather, up_to_single
from sparring.models.trees.lightgbm_text import read_text
from sparring.models.trees.xgboost_json import read_model

FORESTS = ("RandomForestClassifier", "ExtraTreesClassifier")
SINGLES = ("DecisionTreeClassifier", "ExtraTreeClassifier")


def innermost(model: Any) -> Any:
    """Return the classifier of a pipeline whose other steps do nothing.

    Any other model as it is. LoadError where a step changes the rows.
    """
    if not hasattr(model, "steps"):
        return model
    *before, (_, last) = model.steps
    working = [name for name, step in before if step is not None and step != "passthrough"]
    if working:
        raise LoadError(f"the pipeline changes the rows in {', '.join(working)} before the trees see them: fit the trees on unchanged rows")
    return innermost(last)


def readable(model: Any) -> str:
    """Return why no reader supports this model; empty if one does."""
    try:
        _reader(innermost(model))
    except LoadError as error:
        return str(error)
    return ""


def read_estimator(model: Any) -> Ensemble:
    """Return the trees of a fitted classifier.

    Classes are numbered as in `classes_`.

    model: DecisionTree, ExtraTree, RandomForest, ExtraTrees, GradientBoosting or HistGradientBoosting classifier of scikit-learn; XGBClassifier;
    LGBMClassifier; a pipeline that ends in one and does nothing else. Raises LoadError for other models, and where the
    trees as read do not predict what the model predicts.
    """
    inner = innermost(model)
    ensemble = _reader(inner)(inner)
    places = np.asarray(inner.classes_)

    def label(rows: np.ndarray) -> np.ndarray:
        return np.searchsorted(places, np.asarray(inner.predict(_fed(inner, rows))).reshape(-1))

    raw = _raw(inner)
    return agree(ensemble, type(inner).__name__, label, lambda rows: raw(_fed(inner, rows)))


def _reader(model: Any) -> Callable[[Any], Ensemble]:
    name, home = type(model).__name__, type(model).__module__.partition(".")[0]
    if home == "sklearn" and getattr(model, "n_outputs_", 1) != 1:
        raise LoadError(f"{name} predicts {model.n_outputs_} outputs at once: fit one model per output")
    readers: dict[tuple[str, str], Callable[[Any], Ensemble]] = {
        **{("sklearn", one): _forest for one in FORESTS},
        **{("sklearn", one): _single for one in SINGLES},
        ("sklearn", "GradientBoostingClassifier"): _gradient_boosting,
        ("sklearn", "HistGradientBoostingClassifier"): _histogram_boosting,
        ("xgboost", "XGBClassifier"): _xgboost,
        ("xgboost", "XGBRFClassifier"): _xgboost,
        ("lightgbm", "LGBMClassifier"): _lightgbm,
    }
    if (home, name) not in readers:
        raise LoadError(f"{home}'s {name} is not a supported tree model: supported are {', '.join(one for _, one in readers)}")
    return readers[home, name]


def _fed(model: Any, rows: np.ndarray) -> Any:
    names = getattr(model, "feature_names_in_", None)
    return rows if names is None else pd.DataFrame(rows, columns=names)


def _raw(model: Any) -> Callable[[Any], np.ndarray]:
    """The library's sums, before sigmoid or softmax."""
    name = type(model).__name__
    if name.startswith("XGB"):
        return lambda rows: model.predict(rows, output_margin=True)
    if name.startswith("LGBM"):
        return lambda rows: model.predict(rows, raw_score=True)
    if "GradientBoosting" in name:
        return model.decision_function
    return model.predict_proba


def _grown(tree: Any, value: np.ndarray) -> Tree:
    """A tree of scikit-learn, which compares float32 rows with float64 thresholds."""
    feature = np.where(tree.children_left >= 0, tree.feature, -1)
    return Tree(feature, up_to_single(tree.threshold), tree.children_left, tree.children_right, value)


def _shares(tree: Any) -> np.ndarray:
    """float64 [nodes, classes]: the share of each class; older versions keep counts."""
    value = tree.value[:, 0, :]
    return value / value.sum(1, keepdims=True)


def _single(model: Any) -> Ensemble:
    _classes(model)
    return gather([_grown(model.tree_, _shares(model.tree_))], np.zeros(len(model.classes_)), model.n_features_in_, unit=DOUBLE, source=type(model).__name__)


def _forest(model: Any) -> Ensemble:
    _classes(model)
    count = len(model.estimators_)
    trees = [_grown(one.tree_, _shares(one.tree_) / count) for one in model.estimators_]
    return gather(trees, np.zeros(len(model.classes_)), model.n_features_in_, unit=DOUBLE, source=type(model).__name__)


def _gradient_boosting(model: Any) -> Ensemble:
    classes = _classes(model)
    if not (model.init is None or model.init == "zero" or type(model.init).__name__ == "DummyClassifier"):
        raise LoadError(f"the boosting starts from a {type(model.init).__name__}, which is not constant: leave out init")
    grid = model.estimators_
    trees = [
        _grown(one.tree_, column(model.learning_rate * one.tree_.value[:, 0, 0], place if grid.shape[1] > 1 else 1, classes))
        for row in grid
        for place, one in enumerate(row)
    ]
    start = np.asarray(model._raw_predict_init(np.zeros((1, model.n_features_in_), dtype=np.float32)), dtype=np.float64)[0]
    base = start if len(start) == classes else np.array([0.0, start[0]])
    return gather(trees, base, model.n_features_in_, unit=DOUBLE, source=type(model).__name__)


def _histogram_boosting(model: Any) -> Ensemble:
    """Compares float64 rows with float64 thresholds."""
    classes = _classes(model)
    if getattr(model, "_preprocessor", None) is not None or getattr(model, "is_categorical_", None) is not None:
        raise LoadError("the boosting splits on categories: use numeric columns only")
    trees = []
    for row in model._predictors:
        for place, one in enumerate(row):
            nodes = one.nodes
            leaf = nodes["is_leaf"].astype(bool)
            value = column(np.where(leaf, nodes["value"], 0.0), place if len(row) > 1 else 1, classes)
            sides = nodes["left"].astype(np.int64), nodes["right"].astype(np.int64)
            trees.append(Tree(np.where(leaf, -1, nodes["feature_idx"].astype(np.int64)), nodes["num_threshold"].astype(np.float64), *sides, value))
    start = np.ravel(model._baseline_prediction)
    base = start if len(start) == classes else np.array([0.0, start[0]])
    return gather(trees, base, model.n_features_in_, unit=DOUBLE, source=type(model).__name__)


def _xgboost(model: Any) -> Ensemble:
    missing = getattr(model, "missing", np.nan)
    if missing is not None and not np.isnan(missing):
        raise LoadError(f"the classifier treats {missing} as a missing value, but a threat treats it as a number: train with missing=nan")
    booster = model.get_booster()
    return read_model(json.loads(booster.save_raw("json")), type(model).__name__, features=model.n_features_in_)


def _lightgbm(model: Any) -> Ensemble:
    return read_text(model.booster_.model_to_string(), type(model).__name__, features=model.n_features_in_)


def _classes(model: Any) -> int:
    if not hasattr(model, "classes_"):
        raise LoadError(f"{type(model).__name__} has no classes_: fit it first")
    if len(model.classes_) < 2:
        raise LoadError(f"{type(model).__name__} knows only the class {model.classes_[0]!r}: train it with at least two")
    return len(model.classes_)
