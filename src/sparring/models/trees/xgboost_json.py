"""XGBoost's two JSON forms: the model (`save_model("FILE.json")`) and the bare dump (`dump_model(..., dump_format="json")`)."""

import re
from typing import Any, NamedTuple

import numpy as np

from sparring.core.errors import LoadError
from sparring.domains.table import MOST_COLUMNS
from sparring.models.trees.ensemble import SINGLE, Ensemble, Tree, below_single, column, gather
from sparring.models.trees.structure import check_numbers, check_range

ONE_SCORE = {"binary:logistic": True, "reg:logistic": True, "binary:logitraw": False}
"""Objectives with one score, class 1 above 0 -> is the base score a probability?"""

MANY_SCORES = {"multi:softmax", "multi:softprob"}

VALUES = {"reg:squarederror", "reg:absoluteerror", "reg:pseudohubererror", "reg:quantileerror", "reg:squaredlogerror", "reg:linear"}
"""Objectives whose sum is the value that is predicted. Those of counts and durations predict its exponential and cannot be read."""


def is_model(content: Any) -> bool:
    """Return whether this parsed JSON is a model as `save_model` writes it."""
    return isinstance(content, dict) and isinstance(content.get("learner"), dict)


def is_dump(content: Any) -> bool:
    """Return whether this parsed JSON is a bare dump, a list of nested trees."""
    return isinstance(content, list) and bool(content) and all(isinstance(one, dict) and ("leaf" in one or "split_condition" in one) for one in content)


class Parsed(NamedTuple):
    """Represent the content of a model that decides its answers, checked.

    trees: up to the best round. conditions: float32 [nodes] per tree, thresholds and leaf values as they stand in the file.
    places: the class that each tree counts for. outputs: trees of one round, without those that are grown in parallel. base_score: as it stands in the
    file, one number or one per class.
    """

    trees: list[Tree]
    conditions: list[np.ndarray]
    places: list[int]
    objective: str
    classes: int
    outputs: int
    parallel: int
    base_score: list[float]
    features: int
    names: list[str]


def read_model(content: dict[str, Any], source: str = "the XGBoost model", *, features: int | None = None) -> Ensemble:
    """Read the parsed JSON that `save_model` wrote.

    features: columns of a row, at least as many as the model was trained on.

    Raises LoadError for other boosters than gbtree, categorical splits, leaves that hold vectors, objectives that are not known, and nodes that are no trees.
    """
    return ensemble_of(parse_model(content, source), source, features=features)


def ensemble_of(parsed: Parsed, source: str, *, features: int | None = None) -> Ensemble:
    """Return a parsed model as an ensemble over rows with at least so many columns."""
    bases = np.array(parsed.base_score)
    if parsed.objective in ONE_SCORE:
        with np.errstate(divide="ignore", invalid="ignore"):
            bases = np.log(bases / (1 - bases)) if ONE_SCORE[parsed.objective] else bases
        base = np.array([0.0, bases[0]])
    else:
        base = np.broadcast_to(bases, parsed.classes)
    return gather(parsed.trees, base, max(parsed.features, features or 0), unit=SINGLE, source=source, names=parsed.names)


def parse_model(content: dict[str, Any], source: str) -> Parsed:
    """Return the parts of a model that decide its answers; LoadError as for `read_model`."""
    try:
        learner = content["learner"]
        objective, booster, parameters = learner["objective"]["name"], learner["gradient_booster"], learner["learner_model_param"]
        if booster["name"] != "gbtree":
            raise LoadError(f"{source} is a {str(booster['name'])[:40]} booster: train with booster=gbtree")
        if objective not in ONE_SCORE and objective not in MANY_SCORES and objective not in VALUES:
            known = ", ".join([*ONE_SCORE, *sorted(MANY_SCORES), *sorted(VALUES)])
            raise LoadError(f"{source} has the objective {str(objective)[:40]}: supported are {known}")
        if int(parameters.get("num_target", 1)) > 1:
            what = "values" if objective in VALUES else "labels"
            cure = "train one model per value" if what == "values" else f"give the estimator itself with task=sp.tasks.labels({parameters['num_target']})"
            raise LoadError(f"{source} predicts {parameters['num_target']} {what} at once: {cure}")
        classes = int(parameters["num_class"]) if objective in MANY_SCORES else 1 if objective in VALUES else 2
        outputs = classes if objective in MANY_SCORES else 1
        model = booster["model"]
        parallel, features = max(1, int(model["gbtree_model_param"].get("num_parallel_tree", 1))), int(parameters["num_feature"])
        best = best_round(learner.get("attributes") or {})
        end = len(model["trees"]) if best is None else min(len(model["trees"]), (best + 1) * outputs * parallel)
        written = model["trees"][:end]
        if not 0 < features <= MOST_COLUMNS or not 0 < parallel <= max(1, len(model["trees"])) or end < 0:
            raise LoadError(f"{source} has {features} columns, {parallel} parallel trees and {end} trees up to its best round: save the model again")
        check_numbers(sum(len(tree["left_children"]) for tree in written), classes, source)
        check_numbers(len(written), outputs, source)
        places = [1] * end if objective in ONE_SCORE else [0] * end if objective in VALUES else [int(place) for place in model["tree_info"][:end]]
        check_range(np.array(places, dtype=np.int64), 0, classes, f"{source} has a tree for class")
        read = [_model_tree(tree, place, classes, features, source) for tree, place in zip(written, places, strict=True)]
        base_score = [float(one) for one in str(parameters["base_score"]).strip("[]").split(",")]
        if len(base_score) not in (1, classes) or (len(base_score) > 1 and outputs == 1):
            raise LoadError(f"{source} has {len(base_score)} base scores for {outputs} outputs: save the model again")
        names = [str(name) for name in learner.get("feature_names") or ()]
        return Parsed([tree for tree, _ in read], [one for _, one in read], places, objective, classes, outputs, parallel, base_score, features, names)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        if isinstance(error, LoadError):
            raise
        raise LoadError(f"{source} does not have the format of XGBoost 1.7 to 3 ({type(error).__name__}: {error}): save it again with save_model") from error


def best_round(attributes: dict[str, Any]) -> int | None:
    """Return the last round with which a model predicts that was stopped early; None for others."""
    return int(attributes["best_iteration"]) if "best_iteration" in attributes else None


def _model_tree(tree: dict[str, Any], place: int, classes: int, features: int, source: str) -> tuple[Tree, np.ndarray]:
    if int(tree["tree_param"].get("size_leaf_vector", 1)) > 1:
        raise LoadError(f"{source} has leaves that hold vectors (multi_output_tree): train with one tree per output")
    if any(tree.get("split_type", [])) or tree.get("categories_nodes"):
        raise LoadError(f"{source} splits on categories: train on numeric columns only")
    left, right, split = (np.array(tree[key], dtype=np.int64) for key in ("left_children", "right_children", "split_indices"))
    conditions = np.array(tree["split_conditions"], dtype=np.float64)
    if len({part.shape for part in (left, right, split, conditions)}) > 1 or left.ndim != 1 or not len(left):
        raise LoadError(f"{source} has a tree with {len(left)} left and {len(right)} right children and {len(conditions)} conditions: save the model again")
    if not (np.isfinite(conditions) & (np.abs(conditions) <= np.finfo(np.float32).max)).all():
        raise LoadError(f"{source} has a leaf value or a threshold that is NaN or infinite, so it cannot be certified")
    check_range(split[left >= 0], 0, features, f"{source} splits on column")
    leaf, conditions = left < 0, conditions.astype(np.float32)
    return Tree(np.where(leaf, -1, split), below_single(conditions), left, right, column(np.where(leaf, conditions, 0.0), place, classes)), conditions


def read_dump(
    content: list[dict[str, Any]], features: int, *, classes: int = 2, base: float = 0.0, first: int = 0, source: str = "the dump", names: tuple[str, ...] = ()
) -> Ensemble:
    """Return a bare dump, parsed.

    It lacks what the sum begins with and what it is for, and nothing can be compared with it.

    features: columns of a row. classes: with two, all trees count for class 1 above 0; with more, the trees take turns; with 1 the sum is a
    value. base: what the sum
    begins with, in the unit of the leaves (XGBoost's base_score of 0.5 is 0 here). first: the number the dump gives to column 0 (1 for models
    trained on libsvm files without a column 0). names: of the columns, where the dump names them.

    Raises LoadError for splits on categories, unknown names and node numbers that lead nowhere.
    """
    known = {name: place for place, name in enumerate(names)}
    check_numbers(len(content), classes, source)
    if classes > 2 and len(content) % classes:
        raise LoadError(f"{source} has {len(content)} trees for {classes} classes: the number of trees must be a multiple of the number of classes")
    places = [1 if classes == 2 else place % classes for place in range(len(content))]
    trees = [_dump_tree(tree, place, classes, first, known, source) for tree, place in zip(content, places, strict=True)]
    lowest = min((int(tree.feature[tree.feature != -1].min()) for tree in trees if (tree.feature != -1).any()), default=0)
    if lowest < 0:
        raise LoadError(f"{source} splits on column {lowest + first}, but the first column is {first}: give first=0")
    return gather(trees, np.full(classes, base) * (np.arange(classes) == 1 if classes == 2 else 1.0), features, unit=SINGLE, source=source)


def _dump_tree(tree: dict[str, Any], place: int, classes: int, first: int, names: dict[str, int], source: str) -> Tree:
    nodes, stack = [], [tree]
    try:
        while stack:
            node = stack.pop()
            nodes.append(node)
            stack.extend(node.get("children", []))
        number = {int(node["nodeid"]): order for order, node in enumerate(nodes)}
        leaves = [np.float32(node.get("leaf", 0)) for node in nodes]
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise LoadError(f"{source} holds a node that is none ({type(error).__name__}: {error}): dump the model again") from error
    check_numbers(len(nodes), classes, source)
    feature, edge = np.full(len(nodes), -1), np.zeros(len(nodes), dtype=np.float32)
    left, right, value = np.full(len(nodes), -1), np.full(len(nodes), -1), np.zeros(len(nodes))
    for order, node in enumerate(nodes):
        if "leaf" in node:
            value[order] = leaves[order]
            continue
        try:
            feature[order] = _column(node["split"], names, source) - first
            edge[order] = np.float32(node["split_condition"])
            left[order], right[order] = number[int(node["yes"])], number[int(node["no"])]
        except (ArithmeticError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, LoadError):
                raise
            raise LoadError(f"{source}: node {node.get('nodeid')} is not a numeric split with two children ({type(error).__name__}: {error})") from error
        if feature[order] < 0:
            raise LoadError(f"{source} splits on column {feature[order] + first}, but the first column is {first}: give first=0")
    return Tree(feature, below_single(edge), left, right, column(value, place, classes))


def _column(split: int | str, names: dict[str, int], source: str) -> int:
    if isinstance(split, int):
        return split
    if split in names:
        return names[split]
    if re.fullmatch(r"f[0-9]{1,9}", split):
        return int(split[1:])
    raise LoadError(f"{source} splits on the column {split!r}, which the table lacks; its columns are {', '.join(names) or 'no names'}")
