"""Models of trees written anew from checked nodes, for the libraries that read them: their own readers trust what a file says about itself."""

import json
from typing import Any

import numpy as np

from sparring.models.trees import lightgbm_text as lightgbm
from sparring.models.trees import xgboost_json as xgboost
from sparring.models.trees.ensemble import Tree

PARAMETERS: dict[str, dict[str, Any]] = {
    "reg:pseudohubererror": {"pseudo_huber_param": {"huber_slope": "1"}},
    "reg:quantileerror": {"quantile_loss_param": {"quantile_alpha": "[0.5]"}},
}
"""Settings of XGBoost's objectives, which matter for training alone; those of several classes have their number."""

USUAL = {"reg_loss_param": {"scale_pos_weight": "1"}}


def xgboost_json(parsed: xgboost.Parsed) -> str:
    """Return the document of a model as XGBoost 3 writes it."""
    count, objective = len(parsed.trees), parsed.objective
    base_score = str(parsed.base_score[0]) if len(parsed.base_score) == 1 else f"[{','.join(map(str, parsed.base_score))}]"
    numbers = {"base_score": base_score, "num_class": str(parsed.outputs if parsed.outputs > 1 else 0), "num_feature": str(parsed.features)}
    settings = {"softmax_multiclass_param": {"num_class": numbers["num_class"]}} if parsed.outputs > 1 else PARAMETERS.get(objective, USUAL)
    outputs = parsed.places if parsed.outputs > 1 else [0] * count
    model = {
        "cats": {"enc": [], "feature_segments": [], "sorted_idx": []},
        "gbtree_model_param": {"num_parallel_tree": str(parsed.parallel), "num_trees": str(count)},
        "iteration_indptr": [*range(0, count, parsed.outputs * parsed.parallel), count],
        "tree_info": outputs,
        "trees": [_tree(place, tree, one, parsed.features) for place, (tree, one) in enumerate(zip(parsed.trees, parsed.conditions, strict=True))],
    }
    learner = {
        "attributes": {},
        "feature_names": [],
        "feature_types": [],
        "gradient_booster": {"name": "gbtree", "model": model},
        "learner_model_param": {**numbers, "boost_from_average": "1", "num_target": "1"},
        "objective": {"name": objective, **settings},
    }
    return json.dumps({"learner": learner, "version": [3, 0, 0]})


def _tree(number: int, tree: Tree, condition: np.ndarray, features: int) -> dict[str, Any]:
    """One tree without the nodes that its root does not lead to."""
    order = [0]
    for node in order:  # grows meanwhile
        if tree.feature[node] >= 0:
            order += [int(tree.left[node]), int(tree.right[node])]
    kept = np.array(order)
    place = np.full(len(tree.feature), -1)
    place[kept] = np.arange(len(kept))
    inner = tree.feature[kept] >= 0
    left, right = (np.where(inner, place[side[kept]], -1) for side in (tree.left, tree.right))
    parents = np.full(len(kept), 2**31 - 1)
    for side in (left, right):
        parents[side[inner]] = np.flatnonzero(inner)
    zeros = [0] * len(kept)
    nothing = [0.0] * len(kept)
    return {
        "base_weights": nothing, "categories": [], "categories_nodes": [], "categories_segments": [], "categories_sizes": [], "default_left": zeros,
        "id": number, "left_children": left.tolist(), "loss_changes": nothing, "parents": parents.tolist(), "right_children": right.tolist(),
        "split_conditions": condition[kept].tolist(), "split_indices": np.where(inner, tree.feature[kept], 0).tolist(), "split_type": zeros,
        "sum_hessian": nothing,
        "tree_param": {"num_deleted": "0", "num_feature": str(features), "num_nodes": str(len(kept)), "size_leaf_vector": "1"},
    }  # fmt: skip


def lightgbm_text(parsed: lightgbm.Parsed) -> str:
    """Return the text of a model as LightGBM 4 writes it."""
    objective = "regression" if parsed.numeric else "binary sigmoid:1" if parsed.outputs == 1 else f"multiclass num_class:{parsed.outputs}"
    blocks = [f"Tree={number}\n{_block(tree)}\n\n\n" for number, tree in enumerate(parsed.trees)]
    columns = range(parsed.features)
    head = [
        "tree", "version=v4", f"num_class={parsed.outputs}", f"num_tree_per_iteration={parsed.outputs}", "label_index=0",
        f"max_feature_idx={parsed.features - 1}", f"objective={objective}", *(["average_output"] if parsed.averaged else []),
        f"feature_names={' '.join(f'Column_{place}' for place in columns)}", f"feature_infos={' '.join('[-1:1]' for _ in columns)}",
        f"tree_sizes={' '.join(str(len(block)) for block in blocks)}",
    ]  # fmt: skip
    return "\n".join([*head, "", "".join(blocks) + "end of trees", ""])


def _block(tree: Tree) -> str:
    value = tree.value.sum(1)
    inner = int((tree.feature >= 0).sum())
    leaves = len(value) - inner
    split, ends = slice(inner), slice(inner, None)
    left, right = (np.where(side[split] < inner, side[split], inner - side[split] - 1) for side in (tree.left, tree.right))
    numbers = {
        "split_feature": tree.feature[split], "split_gain": [0] * inner, "threshold": tree.edge[split].tolist(), "decision_type": [2] * inner,
        "left_child": left, "right_child": right, "leaf_value": value[ends].tolist(), "leaf_weight": [0] * leaves, "leaf_count": [0] * leaves,
        "internal_value": [0] * inner, "internal_weight": [0] * inner, "internal_count": [0] * inner,
    }  # fmt: skip
    lines = [f"num_leaves={leaves}", "num_cat=0", *(f"{key}={' '.join(map(str, one))}" for key, one in numbers.items() if inner or key.startswith("leaf"))]
    return "\n".join([*lines, "is_linear=0", "shrinkage=1"])
