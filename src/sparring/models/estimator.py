"""Scikit-learn estimators and pipelines as victims: scores and labels, for tables and for text."""

import io
import warnings
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from sparring.core.domain import Batch, Domain
from sparring.core.errors import LoadError
from sparring.core.fingerprint import digest
from sparring.core.space import has_gaps
from sparring.core.task import Task
from sparring.core.victim import Victim
from sparring.domains.table import Table
from sparring.models.adapter import adapter
from sparring.models.categories import fitted_categories, refuse_cut_words
from sparring.models.class_scores import class_scores, of_pairs
from sparring.models.columns import fed, fitted_names, places_of, rearranged
from sparring.models.http.form import example_of
from sparring.models.label_estimator import label_count, label_scores, refuse_other_classes, sets_of
from sparring.models.state import State, pickled
from sparring.tasks.classes import Classes
from sparring.tasks.labels import Labels
from sparring.tasks.values import Values


@adapter("scikit-learn", lambda model: hasattr(model, "predict") and hasattr(model, "get_params"), order=20)
class EstimatorVictim(Victim):
    """Represent a fitted classifier or regressor.

    Scores of a classifier are probabilities, or the decision function where there are none; an estimator with neither exposes labels only.
    Classes are numbered in the order of `classes_`. Scores of a regressor are what it predicts. An estimator of several labels at once answers what it
    predicts, and its scores are the logits of its probabilities; with a threshold in its task, the probabilities decide instead. LightGBM returns sums
    where the objective was a function of the user: above 0, or the largest of several, is the class.

    task: of a regressor, as the data measured it; without a tolerance if left out. Of an estimator of several labels, `Labels`.
    """

    takes_gaps = True

    def __init__(self, model: Any, domain: Domain, *, name: str | None = None, labels_only: bool = False, task: Task | None = None):
        self.model = model
        self.domain = domain
        self.name = name or type(model).__name__
        self.numeric = is_regressor(model)
        ask = "predict" if self.numeric else next((one for one in ("predict_proba", "decision_function") if hasattr(model, one)), None)
        self._ask = None if labels_only else ask
        self.raw = answers_sums(model) and not self.numeric
        self.pairs = self._ask == "decision_function" and of_pairs(model)
        self.exposes = frozenset({"labels"} if self._ask is None else {"labels", "scores"})
        self.names = fitted_names(model)
        self.places = places_of(self.names, domain, self.name)
        self.categories = fitted_categories(model, self.names) if self.names else {}
        if self.categories and isinstance(domain, Table) and self.names:
            columns = [domain.columns[place] for place in self.places or range(len(domain.columns))]
            refuse_cut_words(model, self.names, columns, self.name)
        self.thresholds = rearranged(split_thresholds(model), self.places)
        self.task: Task = self._values(task) if self.numeric else self._labels(task) or Classes(len(class_names(model)))
        self.class_names = class_names(model) if isinstance(self.task, Classes) else []
        if task is not None and task.kind != self.task.kind:
            raise LoadError(f"{self.name} answers {self.task}, the task is {task}: leave task= out, or fit another model")

    def _labels(self, task: Task | None) -> Labels | None:
        """The task of an estimator that predicts several labels at once, as its predictions about an example show; None for others."""
        if self.raw:
            return None
        try:
            predicted = self.model.predict(self._fed(example_of(self.domain)))
        except Exception as error:
            if isinstance(task, Labels):
                said = (str(error).strip().splitlines() or [""])[0]
                raise LoadError(f"{self.name} cannot take {self.domain} ({type(error).__name__}: {said}): fit it first, on rows like these") from error
            return None  # whatever is wrong here is told when the first question is asked
        if not (count := label_count(predicted)):
            return None
        refuse_other_classes(self.model, self.name)
        if not isinstance(task, Labels):
            raise LoadError(f"{self.name} predicts {count} labels at once: give task=sp.tasks.labels({count}), or a model of one class per sample")
        fitted = task.fitted(sets_of(predicted, task, self.name), self.name)
        if fitted.threshold is not None and self._ask != "predict_proba":
            raise LoadError(f"{self.name} gives no probabilities to compare with threshold={fitted.threshold}: leave out threshold=")
        return fitted

    def _values(self, task: Task | None) -> Values:
        """The task of a regressor: the one given, or as many values as it predicts about an example."""
        try:
            predicted = self._predicted(example_of(self.domain))
        except Exception as error:  # the estimator may raise anything
            said = (str(error).strip().splitlines() or [""])[0]
            raise LoadError(f"{self.name} cannot take {self.domain} ({type(error).__name__}: {said}): fit it first, on rows like these") from error
        return task.fitted(predicted, self.name) if isinstance(task, Values) else Values(predicted.shape[1])

    def _predicted(self, x: Batch) -> Tensor:
        """What a regressor predicts, float64 [n, outputs]."""
        values = torch.from_numpy(np.asarray(self._asked("predict", x), dtype=np.float64))
        return values[:, None] if values.ndim == 1 else values

    def scores(self, x: Batch) -> Tensor:
        if self.numeric:
            return self._predicted(x)
        with np.errstate(all="ignore"):
            given = self._asked(str(self._ask), x)
        if isinstance(self.task, Labels):
            return self.task.shifted(label_scores(given, str(self._ask), getattr(self.model, "classes_", [])))
        chances = self._ask == "predict_proba" and not self.raw
        return torch.from_numpy(class_scores(np.array(given, dtype=np.float64), len(self.class_names), self.name, chances=chances, pairs=self.pairs))

    def answer(self, x: Batch) -> Tensor:
        if self.numeric:
            return self.task.answer(self._predicted(x))
        if isinstance(self.task, Labels) and self.task.threshold is not None:
            return self.task.answer(self.scores(x))
        predicted = self._asked("predict", x)
        if isinstance(self.task, Labels):
            return sets_of(predicted, self.task, self.name)
        if self.raw:
            sums = np.asarray(predicted, dtype=np.float64)
            return torch.from_numpy((sums > 0).astype(np.int64) if sums.ndim == 1 else sums.argmax(1))
        return torch.from_numpy(_places(np.asarray(predicted), np.asarray(self.model.classes_), self.name))

    def decide(self, x: Batch, scores: Tensor) -> Tensor:
        """Return the prediction, which need not be the highest probability.

        Tuned thresholds and SVCs with probabilities differ.
        """
        if self.numeric or (isinstance(self.task, Labels) and self.task.threshold is not None):
            return self.task.answer(scores)
        known = torch.isfinite(scores).all(1)
        return self.answer(x).where(known[:, None] if isinstance(self.task, Labels) else known, -1)

    def _asked(self, what: str, x: Batch) -> Any:
        """Return what a method of the estimator answers; LoadError where it fails about rows with missing values, but not about others."""
        try:
            return getattr(self.model, what)(self._fed(x))
        except Exception as error:  # the estimator may raise anything
            if not has_gaps(x):
                raise
            getattr(self.model, what)(self._fed(example_of(self.domain)))
            gapped = cast(Table, self.domain).names[int(x.isnan().any(0).nonzero()[0])]
            said = (str(error).strip().splitlines() or [""])[0].rstrip(".")
            raise LoadError(
                f"{self.name} takes no missing values, but column {gapped!r} has some ({type(error).__name__}: {said}): "
                "put an imputer into the pipeline, or fill or drop these rows"
            ) from error

    def _fed(self, x: Batch) -> Any:
        if isinstance(self.domain, Table):
            return fed(self.model, self.domain, x, self.names, self.places, self.categories)  # type: ignore[arg-type]
        return self.domain.native(x)

    @property
    def fingerprint(self) -> str:
        """Return the hash of the skops form, which is stable, and of the user's code in it.

        Estimators that skops cannot write are hashed by all that they hold.
        """
        import skops.io

        code = [*State(written).parts] if (written := self._written) else []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return digest(_skops_content(skops.io.dumps(self.model)), str(sorted(self.exposes)), *code)
            except Exception:  # skops raises whatever the foreign object raises
                return digest(*State(self.model).parts, str(sorted(self.exposes)))

    @property
    def complete(self) -> bool:
        return self._written is not None and not State(self._written).missing

    @property
    def _written(self) -> list[Any] | None:
        """Functions and classes of the user that the model holds; None where it cannot be read."""
        try:
            return pickled(self.model)[1]
        except Exception:  # a foreign object may refuse in any way
            return None


def _places(predicted: np.ndarray, classes: np.ndarray, name: str) -> np.ndarray:
    """The places of predicted classes among all, int64 [n]; a column [n, 1] is one class per row.

    Raises:
        LoadError: For a prediction that is none of the classes.
    """
    predicted = predicted[:, 0] if predicted.ndim == 2 and predicted.shape[1] == 1 else predicted
    order = np.argsort(classes, kind="stable")
    places = order[np.searchsorted(classes, predicted, sorter=order).clip(max=len(classes) - 1)]
    if (wrong := np.ravel(classes[places] != predicted)).any():
        listed, seen = ", ".join(map(str, classes[:5])), np.ravel(predicted)[wrong][0]
        raise LoadError(f"{name} predicts {seen}, which is none of its classes {listed}: give an estimator whose predict returns classes, or a function")
    return places.astype(np.int64)


def answers_sums(model: Any) -> bool:
    """Return whether a classifier predicts sums instead of classes.

    Those of LightGBM do that were fitted with an objective of the user.
    """
    return type(model).__module__.partition(".")[0] == "lightgbm" and callable(getattr(model, "objective", None))


def is_regressor(model: Any) -> bool:
    """Return whether an estimator predicts numbers instead of classes."""
    if hasattr(model, "classes_"):
        return False
    from sklearn.base import is_regressor as tagged

    try:
        return bool(tagged(model))
    except AttributeError:  # an estimator of another library, without tags
        return False


def class_names(model: Any) -> list[str]:
    """Return the names of the classes of a fitted classifier, in their order."""
    if not hasattr(model, "classes_"):
        raise LoadError(f"{type(model).__name__} has no classes_: fit it first, and give a classifier or a regressor")
    return [str(one) for one in model.classes_]


def _skops_content(written: bytes) -> bytes:
    """The content of a skops archive without its time stamps and memory addresses."""
    import re
    import zipfile

    with zipfile.ZipFile(io.BytesIO(written)) as archive:
        arrays = [_without_gaps(archive.read(name)) for name in archive.namelist() if not name.endswith("schema.json")]
        schema = re.sub(rb'"(__id__|file)": *("[^"]*"|\d+)', b"", archive.read("schema.json"))
        schema = re.sub(rb"\d{10,}", b"", schema)
    return schema + b"".join(arrays)


def _without_gaps(stored: bytes) -> bytes:
    """An array as it is stored; records (the nodes of a tree) field by field, as what lies between their fields is left over from other uses of the memory."""
    if not stored.startswith(b"\x93NUMPY"):
        return stored
    array = np.load(io.BytesIO(stored), allow_pickle=False)
    return stored if array.dtype.names is None else b"".join(np.ascontiguousarray(array[name]).tobytes() for name in array.dtype.names)


def split_thresholds(model: Any) -> list[np.ndarray] | None:
    """Return the sorted split values per input column of a tree or forest; None for others.

    A tree sends x <= threshold to the left, so only the two sides of each threshold matter to it.
    """
    members = getattr(model, "estimators_", None)
    trees = [model] if hasattr(model, "tree_") else list(np.ravel(members)) if members is not None else []
    if not trees or not all(hasattr(tree, "tree_") for tree in trees):
        return None
    found: list[set[float]] = [set() for _ in range(trees[0].tree_.n_features)]
    for tree in trees:
        for feature, threshold in zip(tree.tree_.feature, tree.tree_.threshold, strict=True):
            if 0 <= feature < len(found):  # in a chain, later trees split on earlier answers as well
                found[feature].add(float(threshold))
    return [np.array(sorted(values)) for values in found]
