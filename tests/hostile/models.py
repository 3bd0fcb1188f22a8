"""Hostile models that are no networks: trees, fitted estimators, weights, and proof files."""

import io
import json
import pickle
import random
import re
import zipfile

import numpy as np
import safetensors.torch
import torch
from hostile.writer import SEED, npy, repacked

NUMBERS = ("-1", "1000000000", "4611686018427387904", "9" * 400, "nan", "inf", "-inf", "1e308", "x", "", "0.5", "1 " * 5000, "-2147483649")


def write(writer) -> None:
    """Write the files of this room."""
    xgboost(writer)
    dumps(writer)
    lightgbm(writer)
    estimators(writer)
    weights(writer)
    if writer.wants("proof"):
        proofs(writer)
    for suffix in (".pkl", ".joblib", ".ubj", ".cbm", ".h5", ".pt", ".mat"):
        writer.add("refused", "pickle", pickle.dumps(_Trap()), suffix)


class _Trap:
    def __reduce__(self):
        return open, ("CANARY", "w")


def rows() -> tuple[np.ndarray, np.ndarray]:
    """Return inputs [n, 4] and classes of the small tables that the models here are fitted to."""
    x = np.random.default_rng(0).random((200, 4))
    return x, (x[:, 0] * 3).astype(int)


def xgboost(writer) -> None:
    from xgboost import XGBClassifier

    x, y = rows()
    honest = json.loads(XGBClassifier(n_estimators=2, max_depth=3, n_jobs=1).fit(x, y).get_booster().save_raw("json"))
    writer.add("trees", "xgboost-honest", json.dumps(honest), ".json")
    writer.bent("trees-json", json.dumps(honest).encode(), ".json", flips=10)
    writer.documents("xgboost", honest, ".json", 30)

    def tree(name: str, **changes: object) -> None:
        changed = json.loads(json.dumps(honest))
        model = changed["learner"]["gradient_booster"]["model"]
        for key, value in changes.items():
            if key in model["trees"][0]:
                model["trees"][0][key] = value
            elif key in changed["learner"]["learner_model_param"]:
                changed["learner"]["learner_model_param"][key] = value
            elif key in model["gbtree_model_param"]:
                model["gbtree_model_param"][key] = value
            else:
                model[key] = value
        writer.add("trees", f"xgboost-{name}", json.dumps(changed), ".json")

    first = honest["learner"]["gradient_booster"]["model"]["trees"][0]
    count = len(first["left_children"])
    left, right = first["left_children"], first["right_children"]
    tree("self-children", left_children=[0 if one >= 0 else -1 for one in left], right_children=[0 if one >= 0 else -1 for one in right])
    tree("child-outside", left_children=[10**6 if one >= 0 else -1 for one in left])
    tree("child-2-31", left_children=[2**31 - 1 if one >= 0 else -1 for one in left])
    tree("child-negative", right_children=[-7 if one >= 0 else -1 for one in right])
    tree("short-arrays", split_conditions=[0.5])
    tree("long-arrays", split_indices=[0] * 10**6)
    tree("no-nodes", left_children=[], right_children=[], split_indices=[], split_conditions=[])
    tree("feature-outside", split_indices=[10**6] * count)
    tree("feature-negative", split_indices=[-5] * count)
    tree("many-classes", num_class="1000000000")
    tree("no-classes", num_class="0")
    tree("many-columns", num_feature="1000000000")
    tree("many-parallel", num_parallel_tree="1000000000")
    tree("places", tree_info=[10**6] * len(honest["learner"]["gradient_booster"]["model"]["trees"]))
    tree("place-negative", tree_info=[-1] * len(honest["learner"]["gradient_booster"]["model"]["trees"]))
    tree("nan-conditions", split_conditions=[float("nan")] * count)
    tree("huge-conditions", split_conditions=[1e300] * count)
    tree("base-score", base_score="[" + "1," * 10**5 + "1]")
    tree("base-nan", base_score="nan")
    tree("base-one", base_score="1")
    tree("indptr", iteration_indptr=[0, 10**9])
    tree("sizes", tree_param={**first["tree_param"], "num_nodes": "1000000000"})
    tree("deleted", tree_param={**first["tree_param"], "num_deleted": "1000000000"})
    tree("categories", categories=[2**31], categories_sizes=[2**31], categories_segments=[2**31])
    tree("default-left", default_left=[10**9] * 3)
    tree("weights", base_weights=[])
    deep = 200_000
    inner = [place % 2 == 0 and place + 2 < deep for place in range(deep)]
    chain = {
        "left_children": [place + 1 if one else -1 for place, one in enumerate(inner)],
        "right_children": [place + 2 if one else -1 for place, one in enumerate(inner)],
        **dict.fromkeys(("split_indices", "default_left", "split_type", "parents"), [0] * deep),
        **dict.fromkeys(("split_conditions", "base_weights", "sum_hessian", "loss_changes"), [0.5] * deep),
        "tree_param": {**first["tree_param"], "num_nodes": str(deep)},
    }
    tree("deep-chain", **chain)
    writer.add("trees", "xgboost-deep-json", '{"learner": ' + '{"a": ' * 100_000, ".json")
    writer.add(
        "trees", "xgboost-best-round", json.dumps(honest).replace('"attributes": {}', '"attributes": {"best_iteration": "999999999999999999999"}'), ".json"
    )
    writer.add("trees", "xgboost-best-negative", json.dumps(honest).replace('"attributes": {}', '"attributes": {"best_iteration": "-5"}'), ".json")
    writer.add("trees", "xgboost-names", json.dumps(honest).replace('"feature_names": []', '"feature_names": ["\\u001b[31m", 1, null, {}]'), ".json")


def dumps(writer) -> None:
    leaf = {"nodeid": 1, "leaf": 0.5}
    stump = {"nodeid": 0, "split": "f0", "split_condition": 0.5, "yes": 1, "no": 2, "children": [leaf, {"nodeid": 2, "leaf": -0.5}]}
    writer.documents("dump", [stump, stump], ".json", 20)
    nested: dict = leaf
    for number in range(300):
        nested = {
            "nodeid": number + 2,
            "split": "f0",
            "split_condition": 0.5,
            "yes": number + 1 if number else 1,
            "no": 10**6,
            "children": [nested, {"nodeid": 10**6, "leaf": 1}],
        }
    for name, content in {
        "circle": [{**stump, "yes": 0}],
        "same-child": [{**stump, "no": 1}],
        "same-ids": [{**stump, "children": [leaf, leaf]}],
        "nowhere": [{**stump, "yes": 99}],
        "feature": [{**stump, "split": "f" + "9" * 400}],
        "superscript": [{**stump, "split": "f²"}],
        "feature-negative": [{**stump, "split": -3}],
        "feature-large": [{**stump, "split": 10**9}],
        "leaf-text": [{"nodeid": 0, "leaf": "x"}],
        "leaf-list": [{"nodeid": 0, "leaf": []}],
        "nan": [{"nodeid": 0, "leaf": float("nan")}],
        "nested": [nested],
        "many": [{"nodeid": 0, "leaf": 0.0}] * 200_000,
        "empty": [],
        "numbers": [1, 2],
        "null-children": [{**stump, "children": None}],
    }.items():
        writer.add("dump", name, json.dumps(content), ".json")


def lightgbm(writer) -> None:
    from lightgbm import LGBMClassifier

    x, y = rows()
    honest = LGBMClassifier(n_estimators=2, num_leaves=4, verbose=-1, n_jobs=1).fit(x, y).booster_.model_to_string()
    writer.add("trees", "lightgbm-honest", honest, ".txt")
    writer.bent("trees-text", honest.encode(), ".txt", flips=10)
    rng = random.Random(SEED)
    lines = honest.split("\n")
    fields = [place for place, line in enumerate(lines) if re.match(r"\w+=[-\d]", line)]
    for number in range(30):
        changed = list(lines)
        place = rng.choice(fields)
        key, _, value = changed[place].partition("=")
        words = value.split(" ")
        words[rng.randrange(len(words))] = rng.choice(NUMBERS)
        changed[place] = f"{key}={' '.join(words)}"
        writer.add("lightgbm", f"value-{number}", "\n".join(changed), ".txt")
    for name, (pattern, new) in {
        "leaves": (r"num_leaves=\d+", "num_leaves=1000000000"),
        "one-leaf": (r"num_leaves=\d+", "num_leaves=1"),
        "outputs": (r"num_tree_per_iteration=\d+", "num_tree_per_iteration=100000"),
        "no-outputs": (r"num_tree_per_iteration=\d+", "num_tree_per_iteration=0"),
        "class": (r"num_class=\d+", "num_class=1000000000"),
        "columns": (r"max_feature_idx=\d+", "max_feature_idx=1000000000"),
        "no-columns": (r"max_feature_idx=\d+", "max_feature_idx=-5"),
        "self-child": (r"left_child=.*", "left_child=0 0 0"),
        "child-outside": (r"right_child=.*", "right_child=99 99 99"),
        "child-negative": (r"left_child=.*", "left_child=-99 -99 -99"),
        "leaf-twice": (r"right_child=.*", "right_child=-1 -1 -1"),
        "categories": (r"num_cat=0", "num_cat=1000000000"),
        "decision": (r"decision_type=.*", "decision_type=1 1 1"),
        "decision-large": (r"decision_type=.*", "decision_type=255 255 255"),
        "features": (r"split_feature=.*", "split_feature=99 99 99"),
        "short": (r"threshold=.*", "threshold=0.5"),
        "sizes": (r"tree_sizes=.*", "tree_sizes=1000000000"),
        "linear": (r"is_linear=0", "is_linear=1"),
        "objective": (r"objective=.*", "objective=" + "x" * 10_000),
        "nothing": (r"objective=.*", "objective="),
        "names": (r"feature_names=.*", "feature_names=" + "a " * 10**5),
        "infos": (r"feature_infos=.*", "feature_infos=" + "x" * 10**6),
        "version": ("version=v4", "version=v999"),
        "nan": (r"threshold=.*", "threshold=nan nan nan"),
        "huge": (r"leaf_value=.*", "leaf_value=1e400 1e400 1e400 1e400"),
    }.items():
        writer.add("trees", f"lightgbm-{name}", re.sub(pattern, new, honest), ".txt")
    writer.add("trees", "lightgbm-many", honest.split("\nTree=")[0] + "\nTree=0\nnum_leaves=1\nleaf_value=1\n" * 100_000, ".txt")
    writer.add("trees", "lightgbm-text", "just words\n" * 100, ".txt")


def estimators(writer) -> None:
    import skops.io
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import SVC

    x, y = rows()
    for name, model in {
        "forest": RandomForestClassifier(2, max_depth=2, random_state=0),
        "svm": SVC(),
        "boosting": HistGradientBoostingClassifier(max_iter=2),
        "linear": LogisticRegression(),
    }.items():
        honest = skops.io.dumps(model.fit(x, y))
        writer.bent(f"skops-{name}", honest, ".skops", cuts=2, flips=2)
        schema = json.loads(zipfile.ZipFile(io.BytesIO(honest)).read("schema.json"))
        writer.documents(
            f"skops-{name}-schema",
            schema,
            ".skops",
            10,
            lambda text, honest=honest: repacked(honest, lambda name, part: text if name == "schema.json" else part),
        )
        rng = np.random.default_rng(0)
        for number in range(10):

            def wild(member: str, part: bytes, number: int = number, rng: np.random.Generator = rng) -> bytes:
                """Numbers of an array replaced at random, its header kept."""
                if not member.endswith(".npy") or part.endswith(b"\n") or rng.random() < 0.4:
                    return part
                head = part.index(b"\n") + 1
                body = bytearray(part[head:])
                for _ in range(1 + len(body) // 40):
                    body[rng.integers(len(body))] = rng.integers(256) if number % 2 else 255
                return part[:head] + bytes(body)

            writer.add(f"skops-{name}", f"arrays-{number}", lambda wild=wild, honest=honest: repacked(honest, wild), ".skops")
        first = next(one for one in zipfile.ZipFile(io.BytesIO(honest)).namelist() if one.endswith(".npy"))
        for lie, content in {
            "terabyte": npy((2**40,), "<f8", b""),
            "negative": npy((-4,), "<f8", bytes(32)),
            "objects": npy((4,), "|O", pickle.dumps([_Trap()] * 4)),
        }.items():
            writer.add(
                f"skops-{name}", lie, repacked(honest, lambda member, part, content=content, first=first: content if member == first else part), ".skops"
            )
    schema["__module__"], schema["__class__"] = "os", "system"
    writer.add("skops", "system", repacked(honest, lambda member, part: json.dumps(schema).encode() if member == "schema.json" else part), ".skops")
    writer.add("skops", "bomb", lambda: repacked(honest, lambda member, part: part, {"big.npy": bytes(1 << 28)}, compressed=True), ".skops")
    writer.add("skops", "deep", repacked(honest, lambda member, part: b'{"a":' * 100_000 if member == "schema.json" else part), ".skops")
    writer.add("skops", "many-members", lambda: repacked(honest, lambda member, part: part, {f"{place}": b"" for place in range(120_000)}), ".skops")


def weights(writer) -> None:
    state = {"1.weight": torch.zeros(10, 64), "1.bias": torch.zeros(10)}
    honest = safetensors.torch.save(state)
    writer.bent("weights", honest, ".safetensors", flips=8)
    length = int.from_bytes(honest[:8], "little")
    header = json.loads(honest[8 : 8 + length])

    def framed(text: bytes) -> bytes:
        return len(text).to_bytes(8, "little") + text + honest[8 + length :]

    writer.documents("weights", header, ".safetensors", 12, framed)
    writer.add("weights", "header-huge", (2**62).to_bytes(8, "little") + honest[8:], ".safetensors")
    writer.add("weights", "header-deep", framed(b"[" * 100_000), ".safetensors")
    packed = io.BytesIO()
    torch.save(state, packed)
    writer.bent("weights-pth", packed.getvalue(), ".pth", flips=8)
    for name, content in {
        "trap": _Trap(),
        "list": [1, 2],
        "nested": {"state_dict": {"model": {"state_dict": {}}}},
        "names": {1: torch.zeros(1)},
        "text": {"1.weight": "x", "1.bias": "y"},
    }.items():
        made = io.BytesIO()
        torch.save(content, made)
        writer.add("weights", name, made.getvalue(), ".pth")
    writer.add("weights", "old-pickle", pickle.dumps(_Trap()), ".pth")
    expanded = io.BytesIO()
    torch.save({"1.weight": torch.zeros(1).expand(10, 64), "1.bias": torch.zeros(1).expand(2**40)}, expanded)
    writer.add("weights", "expanded", expanded.getvalue(), ".pth")
    strange = io.BytesIO()
    torch.save({"1.weight": torch.zeros(10, 64, device="meta"), "1.bias": torch.zeros(10).to_sparse()}, strange)
    writer.add("weights", "meta", strange.getvalue(), ".pth")
    member = next(name for name in zipfile.ZipFile(packed).namelist() if name.endswith("data/0"))
    writer.add("weights", "short-storage", repacked(packed.getvalue(), lambda name, part: part[:8] if name == member else part), ".pth")


def proofs(writer) -> None:
    from sparring.certification.certify import certify
    from sparring.domains.image import image
    from sparring.models.adapter import victim
    from sparring.threats import linf

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3)).eval()
    model = victim(net, image(2, 2))
    x = torch.rand(2, 1, 2, 2)
    path = writer.folder / "made.proof"
    certify(model, x, model.label(x), linf(0.001), proofs=True).write_proofs(str(path))
    honest = path.read_bytes()
    path.unlink()
    writer.bent("proof", honest, ".proof", flips=8)
    header = json.loads(zipfile.ZipFile(io.BytesIO(honest)).read("header.json"))
    writer.documents("proof", header, ".proof", 20, lambda text: repacked(honest, lambda name, part: text if name == "header.json" else part))
    writer.add(
        "proof",
        "bomb",
        lambda: repacked(honest, lambda name, part: npy((2**30,), "<f8", bytes(300 << 20)) if name == "a1.npy" else part, compressed=True),
        ".proof",
    )
    writer.add("proof", "terabyte", repacked(honest, lambda name, part: npy((2**40,), "<f8", b"") if name == "a1.npy" else part), ".proof")
    writer.add("proof", "deep", repacked(honest, lambda name, part: b"[" * 100_000 if name == "header.json" else part), ".proof")
    writer.add("proof", "objects", repacked(honest, lambda name, part: npy((1,), "|O", pickle.dumps(_Trap())) if name == "a1.npy" else part), ".proof")
