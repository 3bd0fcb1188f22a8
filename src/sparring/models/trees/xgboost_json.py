"""XGBoost's two JSON forms: the model (`save_model("FILE.json")`) and the bare dump (`dump_model(..., dump_format="json")`)."""

from typing import Any

import numpy as np

from sparring.core.errors import LoadError
from sparring.models.trees.ensemble import SINGLE, Ensemble, Tree, below_single, column, gather

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


def read_model(content: dict[str, Any], source: str = "the XGBoost model", *, features: int | None = None) -> Ensemble:
    """Read the parsed JSON that `save_model` wrote.

    features: columns of a row, at least as many as the model was trained on.

    Raises LoadError for other boosters than gbtree, categorical splits, leaves that hold vectors and objectives that are not known.
    """
    try:
        learner = content["learner"]
        objective, booster, parameters = learner["objective"]["name"], learner["gradient_booster"], learner["learner_model_param"]
        if booster["name"] != "gbtree":
            raise LoadError(f"{source} is a {booster['name']} booster: train with booster=gbtree")
        if objective not in ONE_SCORE and objective not in MANY_SCORES and objective not in VALUES:
            raise LoadError(f"{source} has the objective {objective}: supported are {', '.join([*ONE_SCORE, *sorted(MANY_SCORES), *sorted(VALUES)])}")
        if int(parameters.get("num_target", 1)) > 1:
            what = "values" if objective in VALUES else "labels"
            cure = "train one model per value" if what == "values" else f"give the estimator itself with task=sp.tasks.labels({parameters['num_target']})"
            raise LoadError(f"{source} predicts {parameters['num_target']} {what} at once: {cure}")
        classes = int(parameters["num_class"]) if objective in MANY_SCORES else 1 if objective in VALUES else 2
        bases = np.array([float(one) for one in str(parameters["base_score"]).strip("[]").split(",")])
        if objective in ONE_SCORE:
            with np.errstate(divide="ignore"):
                bases = np.log(bases / (1 - bases)) if ONE_SCORE[objective] else bases
            base = np.array([0.0, bases[0]])
        else:
            base = np.broadcast_to(bases, classes)
        outputs = classes if objective in MANY_SCORES else 1
        model = _up_to_the_best(booster["model"], learner.get("attributes") or {}, outputs)
        places = [1] * len(model["trees"]) if objective in ONE_SCORE else [0] * len(model["trees"]) if objective in VALUES else model["tree_info"]
        trees = [_model_tree(tree, int(place), classes, source) for tree, place in zip(model["trees"], places, strict=True)]
        count = max(int(parameters["num_feature"]), features or 0)
        return gather(trees, base, count, unit=SINGLE, source=source, names=learner.get("feature_names") or ())
    except (KeyError, TypeError, IndexError, ValueError) as error:
        if isinstance(error, LoadError):
            raise
        raise LoadError(f"{source} does not have the format of XGBoost 1.7 to 3 ({type(error).__name__}: {error}): save it again with save_model") from error


def best_round(attributes: dict[str, Any]) -> int | None:
    """Return the last round with which a model predicts that was stopped early; None for others."""
    return int(attributes["best_iteration"]) if "best_iteration" in attributes else None


def _up_to_the_best(model: dict[str, Any], attributes: dict[str, Any], outputs: int) -> dict[str, Any]:
    """The trees of a model without those that were grown after its best round; a round grows one tree or more per output."""
    best = best_round(attributes)
    if best is None:
        return model
    end = (best + 1) * outputs * max(1, int(model["gbtree_model_param"].get("num_parallel_tree", 1)))
    return {**model, "trees": model["trees"][:end], "tree_info": model["tree_info"][:end]}


def _model_tree(tree: dict[str, Any], place: int, classes: int, source: str) -> Tree:
    if int(tree["tree_param"].get("size_leaf_vector", 1)) > 1:
        raise LoadError(f"{source} has leaves that hold vectors (multi_output_tree): train with one tree per output")
    if any(tree.get("split_type", [])) or tree.get("categories_nodes"):
        raise LoadError(f"{source} splits on categories: train on numeric columns only")
    left, right = np.array(tree["left_children"], dtype=np.int64), np.array(tree["right_children"], dtype=np.int64)
    leaf = left < 0
    condition = np.array(tree["split_conditions"], dtype=np.float64).astype(np.float32)
    feature = np.where(leaf, -1, np.array(tree["split_indices"], dtype=np.int64))
    return Tree(feature, below_single(condition), left, right, column(np.where(leaf, condition, 0.0), place, classes))


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
    while stack:
        node = stack.pop()
        nodes.append(node)
        stack.extend(node.get("children", []))
    number = {int(node["nodeid"]): order for order, node in enumerate(nodes)}
    feature, edge = np.full(len(nodes), -1), np.zeros(len(nodes), dtype=np.float32)
    left, right, value = np.full(len(nodes), -1), np.full(len(nodes), -1), np.zeros(len(nodes))
    for order, node in enumerate(nodes):
        if "leaf" in node:
            value[order] = np.float32(node["leaf"])
            continue
        try:
            feature[order] = _column(node["split"], names, source) - first
            edge[order] = np.float32(node["split_condition"])
            left[order], right[order] = number[int(node["yes"])], number[int(node["no"])]
        except (KeyError, TypeError, ValueError) as error:
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
    if split[:1] == "f" and split[1:].isdigit():
        return int(split[1:])
    raise LoadError(f"{source} splits on the column {split!r}, which the table lacks; its columns are {', '.join(names) or 'no names'}")
