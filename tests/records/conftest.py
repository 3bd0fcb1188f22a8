"""A small run, whole and in shards, to be damaged and merged."""

import shutil
from pathlib import Path

import pytest

from sparring.bench.plan import Plan

KEYS = {
    "model": "zoo:digits-plain", "data": "digits", "take": 12, "threat": "linf 0.1", "attacks": ["noise(tries=2)", "fgsm"], "batch": 4,
    "certify": "none", "self_check": False, "gate": "clean_accuracy >= 0.1",
}  # fmt: skip


def plan_of(out, **changes):
    return Plan.of({**KEYS, "out": str(out), **changes})


@pytest.fixture
def plan():
    """`plan_of`."""
    return plan_of


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Folders of runs: the whole, and three shards each in a folder of its own."""
    out = tmp_path_factory.mktemp("made")
    return {name: plan_of(out / name.replace("/", "of"), shard=name).run().path for name in ("1/1", "1/3", "2/3", "3/3")}


@pytest.fixture
def copy(made, tmp_path):
    """Copies one of these folders, under a name."""

    def copied(name, into=None):
        out = tmp_path / (into or name.replace("/", "of"))
        return Path(shutil.copytree(made[name], out / Path(made[name]).name, symlinks=True))

    return copied
