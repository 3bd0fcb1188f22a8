"""LightGBM's text form: what `booster.save_model` writes and `booster.model_to_string()` returns."""

import re

import numpy as np

from sparring.core.errors import LoadError
from sparring.models.trees.ensemble import DOUBLE, Ensemble, Tree, column, gather

CATEGORICAL = 1
ZERO_IS_MISSING = 4
VALUES = ("regression", "regression_l1", "huber", "fair", "quantile", "mape")
"""Objectives whose sum is the value that is predicted. Those of counts and durations predict its exponential and cannot be read."""

MISSING = 12
"""Bits of `decision_type` (LightGBM, include/LightGBM/tree.h): 1 is a split on categories, 4 and 8 hold how missing values are told (4: zero is one)."""


def is_text(content: str) -> bool:
    """Return whether this is a model in LightGBM's text form."""
    return content.startswith("tree\n") and "\nTree=" in content


def read_text(content: str, source: str = "the LightGBM model", *, features: int | None = None) -> Ensemble:
    """Return the ensemble in a model text.

    features: columns of a row, at least what the model was trained on.

    Raises LoadError for splits on categories, zero as missing value, linear trees and objectives that are not known.
    """
    head, *blocks = content.split("\nTree=")
    fields = _fields(head)
    try:
        objective = fields["objective"].split()
        numeric = objective[0] in VALUES
        if not numeric and objective[0] not in ("binary", "multiclass", "multiclassova"):
            raise LoadError(f"{source} has the objective {objective[0]}: supported are binary, multiclass, multiclassova and {', '.join(VALUES)}")
        if numeric and "sqrt" in objective[1:]:
            raise LoadError(f"{source} was trained with reg_sqrt and squares its sum: train with reg_sqrt=false")
        outputs = int(fields["num_tree_per_iteration"])
        classes = 1 if numeric else max(outputs, 2)
        trees = [_tree(_fields(block), 0 if numeric else 1 if outputs == 1 else place % outputs, classes, source) for place, block in enumerate(blocks)]
        if numeric and re.search(r"^average_output$", head, re.MULTILINE):  # a forest: its value is the mean
            trees = [tree._replace(value=tree.value / len(trees)) for tree in trees]
        count = max(int(fields["max_feature_idx"]) + 1, features or 0)
        return gather(trees, np.zeros(classes), count, unit=DOUBLE, source=source, names=fields.get("feature_names", "").split())
    except (KeyError, IndexError, ValueError) as error:
        if isinstance(error, LoadError):
            raise
        raise LoadError(f"{source} does not have the format of LightGBM 3 and 4 ({type(error).__name__}: {error}): save it again with save_model") from error


def _fields(block: str) -> dict[str, str]:
    return {name: value for name, sign, value in (line.partition("=") for line in block.split("\n")) if sign}


def _numbers(text: str, kind: type) -> np.ndarray:
    return np.array(text.split(), dtype=kind)


def _tree(fields: dict[str, str], place: int, classes: int, source: str) -> Tree:
    """Inner nodes first, then the leaves; LightGBM numbers leaf k as -(k + 1). (Forests take the mean of the leaves, which decides as the sum.)"""
    if int(fields.get("is_linear", "0")):
        raise LoadError(f"{source} has linear trees, whose leaves are not constant: train with linear_tree=false")
    value = _numbers(fields["leaf_value"], np.float64)
    count = int(fields["num_leaves"])
    if count == 1:
        return Tree(np.array([-1]), np.zeros(1), np.array([-1]), np.array([-1]), column(value[:1], place, classes))
    kinds = _numbers(fields["decision_type"], np.int64)
    if (kinds & CATEGORICAL).any():
        raise LoadError(f"{source} splits on categories: train on numeric columns only")
    if ((kinds & MISSING) == ZERO_IS_MISSING).any():
        raise LoadError(f"{source} treats zero as a missing value: train with zero_as_missing=false")
    inner = count - 1
    left, right = (_numbers(fields[side], np.int64) for side in ("left_child", "right_child"))
    blank = np.full(count, -1)
    left, right = (np.concatenate([np.where(side >= 0, side, inner - side - 1), blank]) for side in (left, right))
    return Tree(
        np.concatenate([_numbers(fields["split_feature"], np.int64), blank]),
        np.concatenate([_numbers(fields["threshold"], np.float64), np.zeros(count)]),
        left,
        right,
        column(np.concatenate([np.zeros(inner), value]), place, classes),
    )
