"""Tree ensembles: exact smallest changes, clique bounds, the solver, and Veritas, on the same rows.

python -m benchmarks.trees [--rows 20] [--solver 3] [--states 1000] [--norms linf l2 l1]

First the published case: eight robust trees and 100 rows of breast-cancer (Chen et al. 2019), whose exact mean Linf distance is 0.39611 and whose
error at 0.3 is 0.13; the mean of the bound published for 500 rows (max_clique 2, max_level 1) is 0.39518. Then models trained here on two
thirds of scikit-learn's breast-cancer, scaled to [0, 1], for rows of the other third. A row that is misclassified counts with distance 0.

Columns: mean distance (for stopped searches what was proved), share of rows that were decided exactly, mean of the clique bound, processor
milliseconds a row, setting up included, for search and bound; of the solver on the first rows: milliseconds, and how far its mean is from the search's.
Veritas, where it can be imported (dtai-veritas 0.3.1), searches by halving with 20 steps: mean of its lower and upper ends. Last line: one JSON object.
"""

import argparse
import importlib
import importlib.util
import json
import time
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import ExtraTreesClassifier, GradientBoostingClassifier, RandomForestClassifier
from sklearn.preprocessing import minmax_scale

from benchmarks import networks
from sparring.bench.environment import environment
from sparring.certification.trees.clique import clique_bound, levels
from sparring.certification.trees.milp import solve
from sparring.certification.trees.parts import Parts, duel
from sparring.certification.trees.search import search
from sparring.models.trees.ensemble import Ensemble
from sparring.models.trees.estimators import read_estimator
from sparring.models.trees.xgboost_json import read_dump

SHARED = networks.WEIGHTS.parent / "trees"
ORDERS = {"linf": np.inf, "l2": 2.0, "l1": 1.0}


def published() -> tuple[Ensemble, np.ndarray, np.ndarray]:
    x, y = np.zeros((100, 10)), np.zeros(100, dtype=np.int64)
    for place, line in enumerate((SHARED / "example_breast_cancer0.libsvm").read_text().splitlines()):
        label, *parts = line.split()
        y[place] = int(label)
        for part in parts:
            column, value = part.split(":")
            x[place, int(column) - 1] = float(value)
    return read_dump(json.loads((SHARED / "breast_cancer_robust.0008.json").read_text()), 10, first=1), x, y


def models() -> dict[str, Any]:
    made: dict[str, Any] = {
        "forest 20, depth 5": RandomForestClassifier(20, max_depth=5, random_state=0),
        "extra trees 20, depth 5": ExtraTreesClassifier(20, max_depth=5, random_state=0),
        "boosting 50, depth 3": GradientBoostingClassifier(n_estimators=50, random_state=0),
    }
    if importlib.util.find_spec("xgboost"):
        xgboost = importlib.import_module("xgboost")
        made["xgboost 50, depth 4"] = xgboost.XGBClassifier(n_estimators=50, max_depth=4, n_jobs=1)
        made["xgboost 100, depth 6"] = xgboost.XGBClassifier(n_estimators=100, max_depth=6, n_jobs=1)
    if importlib.util.find_spec("lightgbm"):
        lightgbm = importlib.import_module("lightgbm")
        made["lightgbm 50, 15 leaves"] = lightgbm.LGBMClassifier(n_estimators=50, num_leaves=15, verbose=-1, n_jobs=1)
        made["lightgbm 100, 31 leaves"] = lightgbm.LGBMClassifier(n_estimators=100, verbose=-1, n_jobs=1)
    return made


def measure(ensemble: Ensemble, x: np.ndarray, y: np.ndarray, order: float, box: float, solver: int, states: int) -> dict[str, float]:
    """Everything on the same rows. box: the domain is [-box, box + 1] in every column."""
    low, high, whole = np.full(ensemble.features, -box), np.full(ensemble.features, 1.0 + box), np.zeros(ensemble.features, dtype=bool)
    proved, distance, exact = np.zeros(len(x)), np.zeros(len(x)), np.zeros(len(x), dtype=bool)
    bound, asked = {level: np.zeros(len(x)) for level in (0, 1, 2)}, np.zeros(len(x))
    spent, merged = 0.0, dict.fromkeys(bound, 0.0)
    solved: list[tuple[float, float, float]] = []
    theirs: list[tuple[float, float, float]] = []
    for right in (0, 1):
        rows = np.flatnonzero(y == right)
        if not len(rows):
            continue
        began = time.process_time()
        parts = duel(ensemble, right, 1 - right, low, high, whole)
        found = search(parts, x[rows], order, states=states)
        spent += time.process_time() - began
        proved[rows], distance[rows], exact[rows], asked[rows] = found.proved, found.distance, found.done, found.states
        for level in bound:
            began = time.process_time()
            bound[level][rows] = clique_bound(levels(parts, 2, level), x[rows], order)
            merged[level] += time.process_time() - began
        for row in rows[: max(1, solver // 2)] if solver else []:
            solved.append(by_solver(parts, x[row], order, float(proved[row]), bool(exact[row])))
        if order == np.inf and importlib.util.find_spec("veritas"):
            theirs += by_veritas(ensemble, right, x[rows])
    result = {
        "distance": float(np.minimum(proved, 1e9).mean()),
        "error at 0.3": float((distance <= 0.3).mean()),
        "exact": float(exact.mean()),
        "states": float(asked.mean()),
        "search ms": 1e3 * spent / len(x),
        **{f"clique {level}": float(np.minimum(values, 1e9).mean()) for level, values in bound.items()},
        **{f"clique {level} ms": 1e3 * each / len(x) for level, each in merged.items()},
    }
    if solved:
        gaps, times, ended = np.array(solved).T
        result |= {"solver gap": float(np.nanmax(np.append(gaps, -1.0))), "solver ms": 1e3 * float(times.mean()), "solver ended": float(ended.mean())}
    if theirs:
        lower, upper, times = np.array(theirs).T
        result |= {"veritas lower": float(lower.mean()), "veritas upper": float(upper.mean()), "veritas ms": 1e3 * float(times.mean())}
    return result


def by_solver(parts: Parts, x: np.ndarray, order: float, proved: float, exact: bool) -> tuple[float, float, float]:
    """Difference from the search (NaN where either was stopped), processor seconds, did it end?"""
    began = time.process_time()
    answer = solve(parts, x, order, seconds=10.0)
    seconds = time.process_time() - began
    return abs(answer.distance - proved) if exact and not answer.reason else np.nan, seconds, float(not answer.reason)


def by_veritas(ensemble: Ensemble, right: int, x: np.ndarray) -> list[tuple[float, float, float]]:
    """Lower and upper end of Veritas's halving for each row, and processor seconds; the trees are handed over node by node."""
    veritas = importlib.import_module("veritas")
    trees = veritas.AddTree(1, veritas.AddTreeType.REGR)
    sign = 1.0 if right == 0 else -1.0
    for root in ensemble.root:
        tree, stack = trees.add_tree(), [(int(root), 0)]
        while stack:
            node, place = stack.pop()
            if ensemble.feature[node] < 0:
                tree.set_leaf_value(place, 0, sign * float(ensemble.value[node, 1] - ensemble.value[node, 0]))
                continue
            tree.split(place, int(ensemble.feature[node]), float(np.nextafter(ensemble.edge[node], np.inf)))
            stack += [(int(ensemble.left[node]), tree.left(place)), (int(ensemble.right[node]), tree.right(place))]
    trees.set_base_score(0, sign * float(ensemble.base[1] - ensemble.base[0]))
    answers = []
    for row in x:
        began = time.process_time()
        if float(np.ravel(trees.eval(row[None]))[0]) >= 0:
            answers.append((0.0, 0.0, time.process_time() - began))
            continue
        finder = veritas.VeritasRobustnessSearch(row, 1.0, None, trees, num_steps=20, silent=True, max_time=10)
        _, lower, upper = finder.search()
        answers.append((float(lower), float(upper), time.process_time() - began))
    return answers


def show(title: str, row: dict[str, float]) -> None:
    solver = f"{row['solver ms']:9.0f} {row['solver gap']:9.1e}" if "solver ms" in row else f"{'':19}"
    theirs = f"{row['veritas lower']:8.5f} {row['veritas upper']:8.5f} {row['veritas ms']:8.1f}" if "veritas ms" in row else ""
    cliques = " ".join(f"{row[f'clique {level}']:8.5f}" for level in (0, 1, 2))
    print(f"{title:30} {row['distance']:8.5f} {row['exact']:6.0%} {row['search ms']:9.2f} {cliques} {row['clique 1 ms']:9.3f} {solver} {theirs}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20)
    parser.add_argument("--solver", type=int, default=4, help="rows that the solver is asked about")
    parser.add_argument("--states", type=int, default=1000, help="limit of the search, a row")
    parser.add_argument("--norms", nargs="+", choices=ORDERS, default=list(ORDERS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, Any] = {"environment": environment(), "date": time.strftime("%Y-%m-%d"), "seed": 0, "options": vars(options), "cases": {}}
    result["versions"] = {name: version(name) for name in ("xgboost", "xgboost-cpu", "lightgbm", "dtai-veritas") if _installed(name)}
    head = f"{'distance':>8} {'exact':>6} {'search ms':>9} {'clique 0':>8} {'clique 1':>8} {'clique 2':>8} {'1, ms':>9} {'solver ms':>9} {'gap':>9}"
    print(f"{'':30} {head} {'veritas: lower, upper, ms' if importlib.util.find_spec('veritas') else ''}")
    if SHARED.is_dir():
        ensemble, x, y = published()
        for norm in options.norms:
            result["cases"][f"published, {norm}"] = row = measure(ensemble, x, y, ORDERS[norm], np.inf, options.solver, options.states)
            show(f"published, {norm}", row)
    else:
        print("the published case is skipped: the shared data is not beside the checkout")
    x, y = load_breast_cancer(return_X_y=True)
    x, test = minmax_scale(x), np.arange(len(y)) % 3 == 2
    for name, model in models().items():
        ensemble = read_estimator(model.fit(x[~test], y[~test]))
        for norm in options.norms:
            some = slice(0, options.rows)
            result["cases"][f"{name}, {norm}"] = row = measure(ensemble, x[test][some], y[test][some], ORDERS[norm], 0.0, options.solver, options.states)
            show(f"{name}, {norm}", row)
    print(json.dumps(result))


def _installed(name: str) -> bool:
    try:
        version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


if __name__ == "__main__":
    main()
