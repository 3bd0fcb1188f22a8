"""Proof files of small queries, and files taken apart and put together again."""

import io
import json
import zipfile

import numpy as np
import torch
from certification.networks.small_networks import box, mlp, residual

from sparring.certification.networks.decide import decide
from sparring.certification.networks.proof.sample import SampleProof
from sparring.certification.networks.query import Query
from sparring.certification.proof.file import write_proof
from sparring.certification.trees.proof import prove
from sparring.models.trees.ensemble import Tree, gather
from sparring_check import check_proof


def proofs_of(query, verifiers):
    """The proofs of all samples that these verifiers prove."""
    answers = decide(query, verifiers=verifiers, proofs=True)
    return [SampleProof(query.take(torch.tensor([row])), one.proof) for row, one in enumerate(answers) if one.proof is not None]


def hard(count=8, seed=1, radius=0.4):
    """Queries of a small network that need splits."""
    network = mlp(seed, (3, 8, 8, 3))
    x = torch.rand(count, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return Query.robustness(network, box(x, radius), network(x).argmax(1))


def easy(seed=0, radius=0.02, count=3):
    network = residual(seed)
    x = torch.rand(count, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return Query.robustness(network, box(x, radius), network(x).argmax(1))


def stumps(seed=0, trees=5, features=3):
    """An ensemble of trees of depth 2 with three classes."""
    draw = np.random.default_rng(seed)
    grown = [
        Tree(
            np.array([draw.integers(features), draw.integers(features), draw.integers(features), -1, -1, -1, -1]),
            np.concatenate([draw.integers(1, 8, 3) / 8, np.zeros(4)]),
            np.array([1, 3, 5, -1, -1, -1, -1]),
            np.array([2, 4, 6, -1, -1, -1, -1]),
            np.concatenate([np.zeros((3, 3)), draw.normal(size=(4, 3))]),
        )
        for _ in range(trees)
    ]
    return gather(grown, np.zeros(3), features, unit=2.0**-52, source="made up")


def tree_proofs(seed=0, radius=0.2, count=20):
    """Proofs for rows of `stumps` where there is one; (ensemble, rows, radius, proofs or None)."""
    ensemble = stumps(seed)
    rows = np.random.default_rng(seed + 1).uniform(size=(count, 3))
    found = []
    for row in rows:
        right = int(ensemble.label(row[None])[0])
        rivals = [one for one in range(3) if one != right]
        found.append(prove(ensemble, right, rivals, row - radius, row + radius, np.zeros(3, dtype=bool), margin=2 * ensemble.slack))
    return ensemble, rows, found


def unpack(path):
    """(header, arrays by name) of a proof file."""
    with zipfile.ZipFile(path) as file:
        header = json.loads(file.read("header.json"))
        return header, {name[:-4]: np.load(io.BytesIO(file.read(name))) for name in file.namelist() if name.endswith(".npy")}


def pack(path, header, arrays):
    """The file of them; arrays of type object are pickled, bytes written as they are."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, value in arrays.items():
            content = io.BytesIO()
            if isinstance(value, bytes):
                content.write(value)
            else:
                np.lib.format.write_array(content, value, version=(1, 0), allow_pickle=True)
            file.writestr(f"{name}.npy", content.getvalue())
        file.writestr("header.json", json.dumps(header))
    return path


def restate(header, arrays):
    """Make the words of a file those of its arrays, so that only the proof can be wrong."""
    said = []
    for sample in header["samples"]:
        low, high = (arrays[sample[side]] for side in ("low", "high"))
        if "trees" in header:
            margin = float(arrays[sample["margin"]])
            said.append(check_proof.tree_words(low, high, arrays[sample["whole"]] == 1, sample["right"], margin, sample["rivals"]))
        else:
            ball = sample["ball"] and (arrays[sample["ball"]["center"]], float(arrays[sample["ball"]["radius"]]), sample["ball"]["order"])
            said.append(check_proof.words(low, high, ball, *(arrays[sample[name]] for name in ("rows", "offset", "clause"))))
    header["statement"] = said


def written(path, proofs):
    write_proof(path, proofs)
    return path
