"""No file from a stranger runs code, ends the process, hangs, fills the memory or ends in a traceback."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hostile.doors import DOORS
from hostile.make import make
from hostile.run import GOOD

RUNNER = Path(__file__).parent / "run.py"
HONEST = {
    "pt2": "read",
    "onnx": "read",
    "npz": "read",
    "csv": "read",
    "parquet": "read",
    "lines": "read",
    "plan": "read",
    "rules": "read",
    "vnnlib": "read",
    "weights": "read",
    "proof": "read",
}

CHOSEN = (
    "npz--honest",
    "npz--bomb",
    "npz--terabyte",
    "npz--label-1e8",
    "npz--objects",
    "idx--bomb",
    "csv--honest",
    "csv--bomb",
    "csv--columns",
    "csv--long-field",
    "parquet--honest",
    "parquet--wide",
    "parquet--meta-deep",
    "parquet--column-binary",
    "lines--honest",
    "plan--laughs",
    "plan--date",
    "plan--data-device",
    "plan--data-pipe",
    "rules--honest",
    "rules--twice-inside",
    "vnnlib--honest",
    "vnnlib--bomb",
    "vnnlib--deep-and",
    "instances--devices",
    "trees--xgboost-honest",
    "trees--xgboost-self-children",
    "trees--xgboost-child-outside",
    "trees--lightgbm-honest",
    "trees--lightgbm-leaves",
    "trees--lightgbm-self-child",
    "dump--circle",
    "skops-forest--arrays-1",
    "skops-svm--arrays-0",
    "weights--honest",
    "weights--trap",
    "onnx--honest",
    "onnx--expand",
    "onnx--concat",
    "onnx--chain.",
    "onnx--divide-smallest",
    "onnx--outside-absolute",
    "onnx--functions",
    "pt2--honest",
    "pt2--from-file",
    "pt2--name-of-a-value",
    "pt2--tree-enum",
    "pt2--opaque-object",
    "pt2--archive-other-suffix.",
    "pt2--grows-full",
    "pt2--expression-power.",
)
"""Beginnings of the names of files that are opened in the fast suite, one of each kind."""


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """A folder of all files; made once."""
    folder = tmp_path_factory.mktemp("hostile")
    make(folder)
    return folder


def opened(folder, pattern):
    """What files of these names did, by name: each in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HOSTILE_JSON": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, str(RUNNER), str(folder), pattern], capture_output=True, text=True, env=environment, check=False)
    assert done.stdout, done.stderr[-3000:]
    return {one["file"]: one for one in json.loads(done.stdout)}


def judged(found):
    """The files that did what none may, and honest ones that were refused."""
    wrong = [
        f"{one['file']}: {one['outcome']}, {one['seconds']} s, {one['peak'] >> 20} MB, {one['said'][-300:]}"
        for one in found.values()
        if one["outcome"] not in GOOD
    ]
    return wrong + [
        f"{name}: {one['said']}" for name, one in found.items() if "--honest" in name and HONEST.get(name.split("--")[0]) == "read" != one["outcome"]
    ]


@pytest.mark.slow
def test_there_are_files_for_every_reader(corpus):
    names = [one.name for one in corpus.iterdir() if "--" in one.name]
    assert len(names) > 1000
    assert {name.split("--")[0].split("-")[0] for name in names} >= set(DOORS) - {"trees-json", "trees-text", "weights-pth"}


def test_one_of_each_kind(tmp_path):
    make(tmp_path, CHOSEN)
    found = opened(tmp_path, "*")
    assert len(found) >= len(CHOSEN)
    assert not judged(found)


@pytest.mark.slow
@pytest.mark.parametrize("reader", sorted(DOORS))
def test_every_file(corpus, reader):
    found = opened(corpus, f"{reader}*")
    assert found
    assert not judged(found)


def test_the_runner_notices_what_it_looks_for(tmp_path, monkeypatch):
    """A reader that writes a file, one that ends the process, one that fails, one that fills the memory, and one that never ends."""
    code = """
import os, sys
from pathlib import Path
sys.path[:0] = [{tests!r}]
from hostile import doors, run
run.SECONDS, run.GRACE, run.MEMORY = 2.0, 0.5, 1 << 27
doors.DOORS.clear()
doors.DOORS.update(
    writes=lambda path: Path("CANARY").write_text(""), ends=lambda path: os.kill(os.getpid(), 11), fails=lambda path: [][0],
    fills=lambda path: bytearray(b"x") * (1 << 28),
    sleeps=lambda path: __import__("time").sleep(60), reads=lambda path: path.read_bytes(),
)
folder = Path({folder!r})
(folder / "here").mkdir()
for name in doors.DOORS:
    (folder / f"{{name}}--file").write_text("x")
print(__import__("json").dumps([run.opened(folder / f"{{name}}--file", folder / "here")["outcome"] for name in doors.DOORS]))
"""
    program = code.format(tests=str(RUNNER.parents[1]), folder=str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    assert json.loads(done.stdout) == ["code ran", "signal -11", "other error", "large", "hang", "read"], done.stderr[-2000:]
