"""Estimators of scikit-learn and XGBoost that predict several labels at once: their sets, and a logit per label."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparring.core.errors import LoadError
from sparring.tasks.labels import Labels, logits_of


def label_count(predicted: Any) -> int:
    """Return how many labels a prediction tells at once; 0 where it tells one class per sample."""
    shape = np.shape(predicted) if not hasattr(predicted, "toarray") else predicted.shape
    return int(shape[1]) if len(shape) == 2 and shape[1] > 1 else 0


def sets_of(predicted: Any, task: Labels, name: str) -> Tensor:
    """Return what `predict` gave as answers of the task, int64 [n, labels].

    Raises:
        LoadError: Where it is anything but 0 and 1, as of models with several classes per output.
    """
    table = np.asarray(predicted.toarray() if hasattr(predicted, "toarray") else predicted)
    if table.dtype.kind not in "biuf":
        raise LoadError(f"{name} predicts {table.dtype} such as {table.ravel()[:3].tolist()}: fit it on 0 and 1 per label")
    return task.answers_of(torch.from_numpy(table.astype(np.float64)), name)


def refuse_other_classes(model: Any, name: str) -> None:
    """Raise LoadError where one of several outputs has other classes than 0 and 1."""
    known = getattr(model, "classes_", None)
    for place, classes in enumerate(known if isinstance(known, list) else []):
        strange = [one for one in np.ravel(classes).tolist() if one not in (0, 1)]
        if strange:
            raise LoadError(f"{name} predicts the class {strange[0]!r} in output {place}: several outputs are supported where each is a label, 0 or 1")


def label_scores(given: Any, ask: str, classes: Any) -> Tensor:
    """Return the logits of the labels, float64 [n, labels].

    Args:
        given: What the estimator returned: an array [n, labels], or a list with probabilities [n, classes] per label.
        ask: Its method: "predict_proba", whose probabilities become logits, or "decision_function".
        classes: `classes_` of the estimator: for a list, the classes of each label; a label that was never (or always) there in training has one.
    """
    if isinstance(given, list):
        given = np.stack([_present(np.asarray(one, dtype=np.float64), np.ravel(known)) for one, known in zip(given, classes, strict=True)], axis=1)
    scores = torch.from_numpy(np.asarray(given, dtype=np.float64))
    return logits_of(scores) if ask == "predict_proba" else scores


def _present(probabilities: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The probabilities [n] that one label is there."""
    places = np.flatnonzero(classes == 1)
    return probabilities[:, places[0]] if len(places) else np.zeros(len(probabilities))
