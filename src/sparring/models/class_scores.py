"""What the methods of a classifier return, as one score per class."""

from typing import Any

import numpy as np

from sparring.core.errors import LoadError

WRAPPED = ("best_estimator_", "estimator_", "_final_estimator")
"""Where estimators of scikit-learn keep the fitted one that answers for them: searches, tuned thresholds and pipelines."""


def class_scores(given: np.ndarray, classes: int, name: str, *, chances: bool, pairs: bool) -> np.ndarray:
    """Return scores, float64 [n, classes].

    Args:
        given: What the estimator returned, [n, classes]; of two classes it may be one number per row, that of class 1.
        classes: How many there are.
        name: The model, for errors.
        chances: Whether it returned probabilities.
        pairs: Whether there is a column per pair of classes instead; see `of_pairs`.

    Raises:
        LoadError: For another number of columns.
    """
    given = given[:, 0] if given.ndim == 2 and given.shape[1] == 1 else given
    if given.ndim == 1 and classes == 2:
        return np.stack([1 - given, given] if chances else [-given, given], axis=1)
    if pairs and classes > 2 and given.shape[1:] == (classes * (classes - 1) // 2,):
        return _won(given, classes)
    if given.shape[1:] != (classes,):
        raise LoadError(f"{name} gives scores of shape {list(given.shape[1:])} per row for {classes} classes: give an estimator of one score per class")
    return given


def of_pairs(model: Any) -> bool:
    """Return whether the decision function has a column per pair of classes.

    That of SVC(decision_function_shape="ovo") has.
    """
    seen = 0
    while seen < len(WRAPPED) ** 2 and (inner := next((one for key in WRAPPED if (one := getattr(model, key, None)) is not None), None)) is not None:
        model, seen = inner, seen + 1
    return getattr(model, "decision_function_shape", None) == "ovo"


def _won(margins: np.ndarray, classes: int) -> np.ndarray:
    """How many of its pairs each class wins, and a share below a half by how much: the order by which scikit-learn tells the best class of pairs."""
    votes, sums = np.zeros((len(margins), classes)), np.zeros((len(margins), classes))
    for margin, first, second in zip(margins.T, *np.triu_indices(classes, 1), strict=True):
        votes[:, first] += margin > 0
        votes[:, second] += margin <= 0
        sums[:, first] += margin
        sums[:, second] -= margin
    return votes + sums / (3 * (np.abs(sums) + 1))
