"""Proof files, which `check_proof` can verify without this package.

A zip of header.json and arrays (.npy, little-endian, C order): the network as `Network.describe` gives it (or trees), where it came from, and for
each sample the input set, the rows, and the leaves side by side. Names of entries stand in the header where arrays belong.
"""

import gzip
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparring.certification.networks.proof.form import BoxLeaf, InputProof, ReluLeaf, ReluProof, Tightening
from sparring.certification.networks.proof.sample import SampleProof
from sparring.certification.networks.query import Query
from sparring.certification.trees.proof import TreeProof
from sparring.core.errors import InputError
from sparring.graph.network import Network
from sparring.models.trees.ensemble import Ensemble
from sparring_check import check_proof

TOGETHER = 256
"""Leaves in one part of a file: what a checker bounds at once."""


def write_proof(path: str | Path, proofs: Sequence[SampleProof | TreeProof], source: str | Path | None = None) -> int:
    """Write proofs about one model to a file, and return how many bytes it has.

    source: the ONNX file (.onnx or .onnx.gz) that the network was read from: its sha256, unpacked, is written down. Raises InputError where there is
    nothing to write or the proofs are of different models. The file is not checked: `spar check-proof` does that.
    """
    if not proofs:
        raise InputError("no proofs to write: nothing was proved, or only by methods without proof files (milp, smoothing)")
    models = {id(one.ensemble if isinstance(one, TreeProof) else one.query.network) for one in proofs}
    if len(models) > 1:
        raise InputError(f"proofs of {len(models)} models do not fit into one file: write one file per model")
    temporary = Path(path).with_name(f"{Path(path).name}.{os.getpid()}")
    entries = Entries(temporary)
    first, header = proofs[0], {"format": check_proof.FORMAT, "source": None if source is None else _source(source)}
    header |= {"trees": _trees(entries, first.ensemble)} if isinstance(first, TreeProof) else {"network": _network(entries, first.query.network)}
    written = [_tree_sample(entries, one) if isinstance(one, TreeProof) else _sample(entries, one.query, one.leaves) for one in proofs]
    entries.close({**header, "statement": [one.pop("words") for one in written], "samples": written})
    temporary.replace(path)
    return Path(path).stat().st_size


def _source(path: str | Path) -> dict[str, str]:
    content = Path(path).read_bytes()
    content = gzip.decompress(content) if str(path).endswith(".gz") else content
    return {"file": Path(path).name, "sha256": hashlib.sha256(content).hexdigest()}


class Entries:
    """Represent a zip file that is being written: arrays by name, each once."""

    def __init__(self, path: str | Path):
        self.zip = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=6)
        self.count = 0

    def array(self, value: Any, kind: Any) -> str:
        """Return the name under which it is in the file."""
        name = f"a{self.count}"
        self.count += 1
        content = io.BytesIO()
        np.lib.format.write_array(content, np.ascontiguousarray(np.asarray(value, dtype=kind)).reshape(np.shape(value)), version=(1, 0), allow_pickle=False)
        self.zip.writestr(f"{name}.npy", content.getvalue())
        return name

    def close(self, header: Mapping[str, Any]) -> None:
        """Write the header last, which names the arrays."""
        self.zip.writestr("header.json", json.dumps(header, indent=1))
        self.zip.close()


def _trees(entries: Entries, ensemble: Ensemble) -> dict[str, str]:
    """The nodes in an order in which children follow their parents. A threshold that is infinite is written as the largest number."""
    order: list[int] = []
    waiting = ensemble.root.tolist()
    for node in waiting:
        order.append(node)
        if ensemble.feature[node] >= 0:
            waiting += [int(ensemble.left[node]), int(ensemble.right[node])]
    place = np.full(len(ensemble.feature), -1)
    place[order] = np.arange(len(order))
    inner = ensemble.feature[order] >= 0
    most = np.finfo(np.float64).max
    return {
        "feature": entries.array(ensemble.feature[order], np.int64),
        "edge": entries.array(np.where(inner, np.clip(np.nan_to_num(ensemble.edge[order], posinf=most, neginf=-most), -most, most), 0.0), np.float64),
        **{side: entries.array(np.where(inner, place[getattr(ensemble, side)[order]], -1), np.int64) for side in ("left", "right")},
        "value": entries.array(ensemble.value[order], np.float64),
        "root": entries.array(place[ensemble.root], np.int64),
        "base": entries.array(ensemble.base, np.float64),
    }


def _tree_sample(entries: Entries, proof: TreeProof) -> dict[str, Any]:
    sides = {name: entries.array(value, np.float64) for name, value in (("low", proof.low), ("high", proof.high), ("margin", np.float64(proof.margin)))}
    rivals = {
        str(rival): {side: entries.array(value, np.float64) for side, value in zip(("low", "high"), boxes, strict=True)}
        for rival, boxes in proof.rivals.items()
    }
    words = check_proof.tree_words(proof.low, proof.high, proof.whole, proof.right, proof.margin, rivals)
    return {**sides, "whole": entries.array(proof.whole, np.int8), "right": proof.right, "rivals": rivals, "words": words}


def _network(entries: Entries, network: Network) -> list[dict[str, Any]]:
    found = []
    for node in network.to(torch.float64).describe():
        entry = {}
        for name, value in node.items():
            if isinstance(value, Tensor):
                value = entries.array(value.detach().cpu().numpy(), np.float64 if value.is_floating_point() else np.int64)
            entry[name] = value
        found.append(entry)
    return found


def _sample(entries: Entries, query: Query, proof: ReluProof | InputProof) -> dict[str, Any]:
    inputs, real = query.inputs, (query.disjunct[0] >= 0).cpu().numpy()
    low, high = inputs.low[0].flatten().double().cpu().numpy(), inputs.high[0].flatten().double().cpu().numpy()
    rows, offset, clause = (value[0].cpu().numpy()[real] for value in (query.constraints, query.offset, query.disjunct))
    ball = named = None
    if inputs.center is not None and inputs.radius is not None:
        ball = (inputs.center[0].flatten().double().cpu().numpy(), float(inputs.radius[0]), int(inputs.order))
        named = {"center": entries.array(ball[0], np.float64), "radius": entries.array(np.float64(ball[1]), np.float64), "order": ball[2]}
    entry: dict[str, Any] = {name: entries.array(value, np.float64) for name, value in (("low", low), ("high", high), ("rows", rows), ("offset", offset))}
    entry |= {"ball": named, "clause": entries.array(clause, np.int64), "words": check_proof.words(low, high, ball, rows, offset, clause)}
    if isinstance(proof, InputProof):
        parts = [_boxes(entries, proof.leaves[begin : begin + TOGETHER], real) for begin in range(0, len(proof.leaves), TOGETHER)]
        return {**entry, "tightenings": [], "parts": parts}
    return {**entry, "tightenings": [_tightening(entries, one) for one in proof.tightenings], "parts": [_part(entries, some, real) for some in _groups(proof)]}


def _groups(proof: ReluProof) -> list[list[ReluLeaf]]:
    """Leaves that can be written side by side."""
    groups: dict[Any, list[ReluLeaf]] = {}
    for place, leaf in enumerate(proof.leaves):
        alone = place if leaf.tightenings else -1
        groups.setdefault((leaf.tightened, frozenset(leaf.slopes), frozenset(leaf.multipliers), alone), []).append(leaf)
    return [leaves[begin : begin + TOGETHER] for leaves in groups.values() for begin in range(0, len(leaves), TOGETHER)]


def _by_activation(entries: Entries, given: Mapping[int, np.ndarray], count: int, kind: Any) -> dict[str, str]:
    return {str(activation): entries.array(value.reshape(count, -1), kind) for activation, value in given.items()}


def _tightening(entries: Entries, one: Tightening) -> dict[str, Any]:
    count = len(one.index)
    return {
        "node": one.node,
        "leaf": entries.array(np.zeros(count), np.int64),
        "index": entries.array(one.index, np.int64),
        "sign": entries.array(one.sign, np.int8),
        "slopes": _by_activation(entries, one.slopes, count, np.float32),
        "multipliers": _by_activation(entries, one.multipliers, count, np.float64),
    }


def _part(entries: Entries, leaves: Sequence[ReluLeaf], keep: np.ndarray) -> dict[str, Any]:
    count = len(leaves)
    splits = [(number, *split) for number, leaf in enumerate(leaves) for split in leaf.splits]
    slopes, multipliers = (
        {activation: np.stack([getattr(leaf, what)[activation] for leaf in leaves]) for activation in getattr(leaves[0], what)}
        for what in ("slopes", "multipliers")
    )
    return {
        "tightened": leaves[0].tightened,
        "boxes": None,
        "box": entries.array(np.zeros(count), np.int64),
        "clause": entries.array([leaf.disjunct for leaf in leaves], np.int64),
        "weights": entries.array(np.stack([leaf.weights for leaf in leaves])[:, keep], np.float64),
        "splits": entries.array(np.array(splits, dtype=np.int64).reshape(-1, 4), np.int64),
        "slopes": _by_activation(entries, slopes, count, np.float32),
        "multipliers": _by_activation(entries, multipliers, count, np.float64),
        "tightenings": [_tightening(entries, one) for one in leaves[0].tightenings],
    }


def _boxes(entries: Entries, boxes: Sequence[BoxLeaf], keep: np.ndarray) -> dict[str, Any]:
    leaves = [(place, clause, weights[keep], leaf.slopes) for place, leaf in enumerate(boxes) for clause, weights in leaf.weights.items()]
    slopes = {activation: np.stack([own[activation] for _, _, _, own in leaves]) for activation in leaves[0][3]}
    ends = {side: entries.array(np.stack([getattr(leaf, side).reshape(-1) for leaf in boxes]), np.float64) for side in ("low", "high")}
    return {
        "tightened": 0,
        "boxes": ends,
        "box": entries.array([place for place, _, _, _ in leaves], np.int64),
        "clause": entries.array([clause for _, clause, _, _ in leaves], np.int64),
        "weights": entries.array(np.stack([weights for _, _, weights, _ in leaves]), np.float64),
        "splits": entries.array(np.zeros((0, 4)), np.int64),
        "slopes": _by_activation(entries, slopes, len(leaves), np.float32),
        "multipliers": {},
        "tightenings": [],
    }
