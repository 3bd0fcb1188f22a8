"""LightGBM's text form: what `booster.save_model` writes and `booster.model_to_string()` returns."""

import re
from typing import NamedTuple

import numpy as np

from sparring.core.errors import LoadError
from sparring.domains.table import MOST_COLUMNS
from sparring.models.trees.ensemble import DOUBLE, Ensemble, Tree, column, gather
from sparring.models.trees.structure import check_numbers, check_range

CATEGORICAL = 1
ZERO_IS_MISSING = 4
VALUES = ("regression", "regression_l1", "huber", "fair", "quantile", "mape")
"""Objectives whose sum is the value that is predicted. Those of counts and durations predict its exponential and cannot be read."""

MISSING = 12
"""Bits of `decision_type` (LightGBM, include/LightGBM/tree.h): 1 is a split on categories, 4 and 8 hold how missing values are told (4: zero is one)."""


def is_text(content: str) -> bool:
    """Return whether this is a model in LightGBM's text form."""
    return content.startswith("tree\n") and "\nTree=" in content


class Parsed(NamedTuple):
    """Represent the content of a model, checked: its trees and what else decides its answers.

    trees: inner nodes first, then the leaves. outputs: trees of one round. averaged: the value is the mean of the trees, not their sum.
    """

    trees: list[Tree]
    outputs: int
    classes: int
    numeric: bool
    averaged: bool
    features: int
    names: list[str]


def read_text(content: str, source: str = "the LightGBM model", *, features: int | None = None) -> Ensemble:
    """Return the ensemble in a model text.

    features: columns of a row, at least what the model was trained on.

    Raises LoadError for splits on categories, zero as missing value, linear trees, objectives that are not known, and nodes that are no trees.
    """
    return ensemble_of(parse_text(content, source), source, features=features)


def ensemble_of(parsed: Parsed, source: str, *, features: int | None = None) -> Ensemble:
    """Return a parsed model as an ensemble over rows with at least so many columns."""
    trees = parsed.trees
    if parsed.numeric and parsed.averaged:  # a forest: its value is the mean
        trees = [tree._replace(value=tree.value / len(trees)) for tree in trees]
    return gather(trees, np.zeros(parsed.classes), max(parsed.features, features or 0), unit=DOUBLE, source=source, names=parsed.names)


def parse_text(content: str, source: str, *, values: bool = False) -> Parsed:
    """Return the parts of a model that decide its answers; LoadError as for `read_text`.

    values: read the sums of a model without an objective as values.
    """
    head, *blocks = content.split("\nTree=")
    fields = _fields(head)
    try:
        objective = fields["objective"].split() if "objective" in fields else [_without_objective(fields, values, source)]
        numeric = objective[0] in VALUES
        if not numeric and objective[0] not in ("binary", "multiclass", "multiclassova"):
            raise LoadError(f"{source} has the objective {objective[0][:40]}: supported are binary, multiclass, multiclassova and {', '.join(VALUES)}")
        if numeric and "sqrt" in objective[1:]:
            raise LoadError(f"{source} was trained with reg_sqrt and squares its sum: train with reg_sqrt=false")
        outputs, features = int(fields["num_tree_per_iteration"]), int(fields["max_feature_idx"]) + 1
        classes = 1 if numeric else max(outputs, 2)
        if not 0 < outputs <= max(1, len(blocks)) or len(blocks) % outputs or (outputs > 1 and objective[0] in ("binary", *VALUES)):
            raise LoadError(f"{source} has {len(blocks)} trees, and {outputs} per round of the objective {objective[0]}: save the model again")
        if not 0 < features <= MOST_COLUMNS:
            raise LoadError(f"{source} was trained on {features} columns, the limit is {MOST_COLUMNS:,}: save the model again")
        written = [_fields(block) for block in blocks]
        check_numbers(sum(2 * tree["leaf_value"].count(" ") + 1 for tree in written), classes, source)
        trees = [_tree(tree, 0 if numeric else 1 if outputs == 1 else place % outputs, classes, features, source) for place, tree in enumerate(written)]
        averaged = re.search(r"^average_output$", head, re.MULTILINE) is not None
        return Parsed(trees, outputs, classes, numeric, averaged, features, fields.get("feature_names", "").split())
    except (ArithmeticError, LookupError, ValueError) as error:
        if isinstance(error, LoadError):
            raise
        raise LoadError(f"{source} does not have the format of LightGBM 3 and 4 ({type(error).__name__}: {error}): save it again with save_model") from error


def _without_objective(fields: dict[str, str], values: bool, source: str) -> str:
    """The objective of a model that was trained with a function of the user, whose sums LightGBM returns as they are."""
    outputs = int(fields["num_tree_per_iteration"])
    if values and outputs == 1:
        return "regression"
    if not values and outputs > 1:
        return "multiclass"
    cure = "write task=values if its sums are the values, and where they stand for classes give a function of the rows that returns a score for each class"
    raise LoadError(f"{source} names no objective, because it was trained with a function of your own: {cure}")


def _fields(block: str) -> dict[str, str]:
    return {name: value for name, sign, value in (line.partition("=") for line in block.split("\n")) if sign}


def _numbers(text: str, kind: type) -> np.ndarray:
    return np.array(text.split(), dtype=kind)


def _tree(fields: dict[str, str], place: int, classes: int, features: int, source: str) -> Tree:
    """Inner nodes first, then the leaves; LightGBM numbers leaf k as -(k + 1). (Forests take the mean of the leaves, which decides as the sum.)"""
    if int(fields.get("is_linear", "0")):
        raise LoadError(f"{source} has linear trees, whose leaves are not constant: train with linear_tree=false")
    value = _numbers(fields["leaf_value"], np.float64)
    count = int(fields["num_leaves"])
    if count != len(value) or count < 1:
        raise LoadError(f"{source} has a tree that is said to have {count} leaves and holds {len(value)}: save the model again")
    if count == 1:
        return Tree(np.array([-1]), np.zeros(1), np.array([-1]), np.array([-1]), column(value[:1], place, classes))
    kinds = _numbers(fields["decision_type"], np.int64)
    if (kinds & CATEGORICAL).any():
        raise LoadError(f"{source} splits on categories: train on numeric columns only")
    if ((kinds & MISSING) == ZERO_IS_MISSING).any():
        raise LoadError(f"{source} treats zero as a missing value: train with zero_as_missing=false")
    inner = count - 1
    left, right, feature = (_numbers(fields[key], np.int64) for key in ("left_child", "right_child", "split_feature"))
    edge = _numbers(fields["threshold"], np.float64)
    if {len(one) for one in (left, right, feature, edge, kinds)} != {inner}:
        raise LoadError(f"{source} has a tree of {count} leaves that does not hold {inner} splits: save the model again")
    blank = np.full(count, -1)
    check_range(feature, 0, features, f"{source} splits on column")
    for side in (left, right):
        check_range(side, -count, inner, f"{source} has the child")
    left, right = (np.concatenate([np.where(side >= 0, side, inner - side - 1), blank]) for side in (left, right))
    if not np.array_equal(np.sort(np.concatenate([left[:inner], right[:inner]])), np.arange(1, inner + count)):
        raise LoadError(f"{source} has a tree in which a node is reached twice or never: save the model again")
    spread = column(np.concatenate([np.zeros(inner), value]), place, classes)
    return Tree(np.concatenate([feature, blank]), np.concatenate([edge, np.zeros(count)]), left, right, spread)
