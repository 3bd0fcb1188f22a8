"""Files of trees as victims: XGBoost models and dumps (.json), LightGBM models (.txt)."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparring.core.documents import parse_json
from sparring.core.domain import Batch, Domain
from sparring.core.errors import LoadError
from sparring.core.files import decoded, path_of, read_file
from sparring.core.fingerprint import digest
from sparring.core.task import Task
from sparring.core.victim import Victim
from sparring.models.adapter import adapter
from sparring.models.columns import named, places_of
from sparring.models.http.form import example_of
from sparring.models.trees import lightgbm_text as lightgbm
from sparring.models.trees import xgboost_json as xgboost
from sparring.models.trees.ensemble import Ensemble, agree
from sparring.models.trees.lightgbm_text import is_text
from sparring.models.trees.rewritten import lightgbm_text, xgboost_json
from sparring.models.trees.xgboost_json import is_dump, is_model, read_dump
from sparring.tasks.classes import Classes
from sparring.tasks.values import Values

SUFFIXES = (".json", ".txt")


def _is_file(model: Any) -> bool:
    return isinstance(model, Ensemble) or _is_booster(model) or (isinstance(model, str | Path) and str(model).lower().endswith(SUFFIXES))


def _is_booster(model: Any) -> bool:
    """Whether this is a model of XGBoost's or LightGBM's own interface, not that of scikit-learn."""
    return type(model).__name__ == "Booster" and type(model).__module__.partition(".")[0] in ("xgboost", "lightgbm")


@adapter("trees", _is_file, order=12)
class TreeVictim(Victim):
    """Represent an `Ensemble`, or a file of one.

    Scores are the sums, those of a model with one score standing beside 0; of a regression the sum is the value.

    model: FILE.json, as `save_model` of XGBoost writes it or a JSON dump; FILE.txt of LightGBM; a `Booster` of either; an `Ensemble`.
    classes, base, first: see `read_dump`; for bare dumps alone. task: of a regression, as the data measured it; a bare dump is read as one where it is given.
    A model file is compared with its library where that is installed.
    """

    def __init__(self, model: Any, domain: Domain, *, name: str | None = None, classes: int = 2, base: float = 0.0, first: int = 0, task: Task | None = None):
        columns = len(getattr(domain, "columns", ()))
        if not columns:
            raise LoadError(f"trees take table rows, but the inputs are {domain}: use sp.table(frame)")
        values = isinstance(task, Values)
        count = 1 if values else classes
        if isinstance(model, Ensemble):
            opened = model
        elif _is_booster(model):
            text = model.model_to_string() if hasattr(model, "model_to_string") else model.save_raw("json").decode()
            opened = read_trees(text, "the booster", domain, values=values)
        else:
            opened = open_trees(Path(model), domain, classes=count, base=base, first=first, values=values)
        self.ensemble = opened.over(places_of(named(opened.names), domain, name or opened.source or "the model"))
        if self.ensemble.features != columns:
            raise LoadError(f"the trees take {self.ensemble.features} columns but the inputs are {domain}")
        self.domain = domain
        self.name = name or self.ensemble.source or "trees"
        _refuse_categories(self.ensemble, domain, self.name)
        shown: Task = Values() if self.ensemble.numeric else Classes(self.ensemble.classes)
        if task is not None and task.kind != shown.kind:
            raise LoadError(f"{self.name} answers {shown}, the task is {task}: leave task= out, or name other trees")
        self.task = task.fitted(self.scores(example_of(domain)), self.name) if task is not None else shown
        self.exposes = frozenset({"scores", "labels"})

    def scores(self, x: Batch) -> Tensor:
        return torch.from_numpy(self.ensemble.scores(np.asarray(x, dtype=np.float64)))

    @property
    def fingerprint(self) -> str:
        one = self.ensemble
        arrays = (one.feature, one.edge, one.left, one.right, one.value, one.root, one.base)
        return digest(*(np.ascontiguousarray(array).tobytes() for array in arrays), str(one.features))


def _refuse_categories(ensemble: Ensemble, domain: Domain, name: str) -> None:
    """Refuse trees that compare a column whose values in the data are names of categories: by which numbers they stood in training is not known."""
    used = {int(place) for place in np.unique(ensemble.feature) if place >= 0}
    for place, column in enumerate(getattr(domain, "columns", ())):
        if place in used and column.kind == "category" and column.dtype != "bool":
            raise LoadError(
                f"{name} compares column {column.name!r} as a number, but the data has the categories {', '.join(column.levels[:5])}: "
                "give the estimator, which knows its categories, or data with the numbers it was trained on"
            )


def open_trees(path: Path, domain: Domain, *, classes: int = 2, base: float = 0.0, first: int = 0, values: bool = False) -> Ensemble:
    """Return the trees in a file; LoadError where it holds none."""
    path = path_of(path)
    return read_trees(decoded(read_file(path), str(path)), path.stem, domain, classes=classes, base=base, first=first, values=values)


def read_trees(text: str, source: str, domain: Domain, *, classes: int = 2, base: float = 0.0, first: int = 0, values: bool = False) -> Ensemble:
    """Return the trees in the text of a model; LoadError where it holds none.

    classes, base, first: see `read_dump`. values: whether the sums of a model that names no objective are values.
    """
    names = tuple(getattr(domain, "names", ()))
    if is_text(text):
        return _against_lightgbm(lightgbm.parse_text(text, source, values=values), source, len(names))
    if text.lstrip()[:1] not in ("{", "["):
        raise LoadError(f"{source} holds neither JSON nor a LightGBM model: give what save_model wrote")
    content = parse_json(text, source)
    if is_model(content):
        return _against_xgboost(xgboost.parse_model(content, source), source, len(names))
    if is_dump(content):
        return read_dump(content, len(names), classes=classes, base=base, first=first, source=source, names=names)
    raise LoadError(f"{source} holds no trees: expected what XGBoost's save_model or dump_model(dump_format='json') writes, or LightGBM's save_model")


def _against_xgboost(parsed: xgboost.Parsed, source: str, features: int) -> Ensemble:
    """The ensemble, compared with XGBoost's answers on a document that was written anew: its own reader trusts what a file says about itself."""
    ensemble = _of_width(xgboost.ensemble_of(parsed, source, features=features), features)
    if importlib.util.find_spec("xgboost") is None:
        return ensemble
    from xgboost import Booster, DMatrix
    from xgboost.core import XGBoostError

    booster = Booster()
    try:
        booster.load_model(bytearray(xgboost_json(parsed).encode()))
    except XGBoostError as error:
        raise LoadError(f"{source} cannot be read by XGBoost ({str(error).splitlines()[0][:200]}): save the model again") from error

    def scores(rows: np.ndarray) -> np.ndarray:
        return booster.predict(DMatrix(rows[:, : parsed.features]), output_margin=True, validate_features=False)

    return agree(ensemble, "xgboost", lambda rows: _winner(scores(rows)), scores)


def _against_lightgbm(parsed: lightgbm.Parsed, source: str, features: int) -> Ensemble:
    """The ensemble, compared with LightGBM's answers on a text that was written anew."""
    ensemble = _of_width(lightgbm.ensemble_of(parsed, source, features=features), features)
    if importlib.util.find_spec("lightgbm") is None:
        return ensemble
    from lightgbm import Booster
    from lightgbm.basic import LightGBMError

    try:
        booster = Booster(model_str=lightgbm_text(parsed))
    except LightGBMError as error:
        raise LoadError(f"{source} cannot be read by LightGBM ({str(error).splitlines()[0][:200]}): save the model again") from error

    def scores(rows: np.ndarray) -> np.ndarray:
        return np.asarray(booster.predict(rows[:, : parsed.features], raw_score=not ensemble.numeric))

    return agree(ensemble, "lightgbm", lambda rows: _winner(scores(rows)), scores)


def _of_width(ensemble: Ensemble, features: int) -> Ensemble:
    """The ensemble, refused where it takes more columns than rows have."""
    if ensemble.features > features > 0:
        raise LoadError(f"{ensemble.source} takes {ensemble.features} columns, the inputs have {features}: give the data that it was trained on")
    return ensemble


def _winner(scores: np.ndarray) -> np.ndarray:
    return scores.argmax(1) if scores.ndim == 2 and scores.shape[1] > 1 else (scores.reshape(-1) > 0).astype(np.int64)
