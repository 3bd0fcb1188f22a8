"""Arrays inside scikit-learn's objects that its compiled code follows without looking, checked after a file was opened."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from sparring.core.errors import LoadError
from sparring.models.trees.structure import check_range, check_structure

MOST_PARTS = 1_000_000
"""Objects that a model may consist of."""

MOST_JOBS = 256
"""Threads that a model may ask for."""


def check_arrays(model: Any, source: str) -> None:
    """Refuse a model whose nodes or support vectors lead outside its arrays.

    Raises:
        LoadError: Names what is wrong.
    """
    for part in _parts(model, source):
        kind = f"{type(part).__module__}.{type(part).__name__}"
        if kind == "sklearn.tree._tree.Tree":
            _check_tree(part, source)
        elif kind == "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor":
            _check_predictor(part, source)
        elif kind.startswith("sklearn.svm._classes.") and hasattr(part, "_n_support"):
            _check_support(part, source)
        jobs = getattr(part, "n_jobs", None)
        if jobs is not None and not (isinstance(jobs, int | np.integer) and abs(int(jobs)) <= MOST_JOBS):
            raise LoadError(f"{source} asks for n_jobs={str(jobs)[:40]}, the limit is {MOST_JOBS}: save it with n_jobs=None")


def _parts(model: Any, source: str) -> Iterator[Any]:
    """The model and everything inside it, each once."""
    waiting, seen = [model], {id(model)}
    while waiting:
        part = waiting.pop()
        yield part
        if isinstance(part, dict):
            inner = list(part.values())
        elif isinstance(part, list | tuple | set | frozenset):
            inner = list(part)
        elif isinstance(part, np.ndarray):
            inner = list(part.flat) if part.dtype == object else []
        else:
            inner = list(getattr(part, "__dict__", {}).values())
        for one in inner:
            if isinstance(one, str | bytes | int | float | None) or id(one) in seen:
                continue
            seen.add(id(one))
            waiting.append(one)
        if len(seen) > MOST_PARTS:
            raise LoadError(f"{source} consists of more than {MOST_PARTS:,} objects: save a smaller model")


def _check_tree(tree: Any, source: str) -> None:
    left, right = (np.asarray(side, dtype=np.int64) for side in (tree.children_left, tree.children_right))
    feature = np.where(left >= 0, np.asarray(tree.feature, dtype=np.int64), -1)
    if len(feature) < 1 or len(tree.value) != len(feature):
        raise LoadError(f"{source} has a tree of {len(feature)} nodes and {len(tree.value)} values: save the model again")
    check_structure(feature, left, right, np.zeros(1, dtype=np.int64), int(tree.n_features), source)


def _check_predictor(tree: Any, source: str) -> None:
    nodes = tree.nodes
    leaf = nodes["is_leaf"].astype(bool)
    feature = np.where(leaf, -1, nodes["feature_idx"].astype(np.int64))
    if len(nodes) < 1:
        raise LoadError(f"{source} has a tree without nodes: save the model again")
    check_structure(feature, nodes["left"].astype(np.int64), nodes["right"].astype(np.int64), np.zeros(1, dtype=np.int64), 1 << 31, source)
    categorical = nodes[nodes["is_categorical"].astype(bool) & ~leaf]
    check_range(
        categorical["bitset_idx"].astype(np.int64), 0, min(len(tree.raw_left_cat_bitsets), len(tree.binned_left_cat_bitsets)), f"{source} has the bitset"
    )


def _check_support(machine: Any, source: str) -> None:
    counts, weights, rows = np.asarray(machine._n_support), machine._dual_coef_, len(machine.support_vectors_)
    classes = len(machine.classes_) if hasattr(machine, "classes_") else 2
    own = counts if hasattr(machine, "classes_") else counts[:1]
    if counts.min(initial=0) < 0 or int(own.sum()) != rows or len(machine.support_) != rows or weights.shape != (classes - 1, rows):
        raise LoadError(f"{source} has {rows} support vectors, {counts.tolist()} by class, and weights {weights.shape}: save the model again")
    pairs = classes * (classes - 1) // 2
    if len(np.ravel(machine._intercept_)) != pairs or machine.support_vectors_.shape[1] != machine.shape_fit_[1]:
        said = f"vectors {machine.support_vectors_.shape} and {len(np.ravel(machine._intercept_))} intercepts"
        raise LoadError(f"{source} has {said} for {classes} classes: save the model again")
    probabilities = {len(np.ravel(getattr(machine, name))) for name in ("_probA", "_probB")}
    if len(probabilities) > 1 or not probabilities <= {0, pairs}:
        raise LoadError(f"{source} has {sorted(probabilities)} numbers for the probabilities of {pairs} pairs of classes: save the model again")
