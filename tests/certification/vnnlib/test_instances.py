"""Lists of instances: every line gets its row, whatever happens, and no row is made twice."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from certification.vnnlib.small import absolute, identity, write_property

from sparring.certification.vnnlib import instance
from sparring.certification.vnnlib.instances import Row, read_instances, read_results, run_instances
from sparring.core.errors import LoadError

SOURCES = Path(__file__).parents[3] / "src"
ANSWERS = {"safe": "unsat", "unsafe": "sat"}


@pytest.fixture
def listed(tmp_path):
    """A folder with two networks, two properties and a list of all four pairs, 10 seconds each."""
    folder = tmp_path / "benchmark"
    (folder / "onnx").mkdir(parents=True)
    (folder / "vnnlib").mkdir()
    absolute(folder / "onnx" / "absolute.onnx")
    identity(folder / "onnx" / "identity.onnx")
    write_property(folder / "vnnlib" / "safe.vnnlib", 0, 1, "(>= Y_0 2.5)")
    write_property(folder / "vnnlib" / "unsafe.vnnlib", 0, 1, "(>= Y_0 0.5)")
    lines = [f"onnx/{network}.onnx,vnnlib/{asked}.vnnlib,10" for network in ("absolute", "identity") for asked in ANSWERS]
    path = folder / "instances.csv"
    path.write_text("\n".join(lines) + "\n")
    instance._network.cache_clear()
    instance._property.cache_clear()
    return path


def test_every_instance_gets_its_row(listed, tmp_path):
    """The answers known by hand, written as a table; each file is read once."""
    out, heard = tmp_path / "new" / "results.csv", []
    rows = run_instances(listed, out, counterexamples=tmp_path / "answers", listen=heard.append)
    assert heard == rows
    with out.open() as file:
        written = list(csv.DictReader(file))
    assert [row["result"] for row in written] == [row.result for row in rows] == ["unsat", "sat", "unsat", "sat"]
    assert [row["onnx"] for row in written] == [f"onnx/{name}.onnx" for name in ("absolute", "absolute", "identity", "identity")]
    assert all(float(row["seconds"]) > 0 and row["verifier"] for row in written)
    assert instance._network.cache_info().misses == instance._property.cache_info().misses == 2
    assert (tmp_path / "answers" / "identity.safe.txt").read_text() == "unsat\n"
    assert (tmp_path / "answers" / "identity.unsafe.txt").read_text().startswith("sat\n((X_0 ")


def test_rows_that_are_there_are_kept(listed, tmp_path, monkeypatch):
    """The same command again asks nothing; after an interruption, in the middle of a line even, it asks the rest."""
    out = tmp_path / "results.csv"
    first = run_instances(listed, out)
    text = out.read_text()
    heard = []
    run_instances(listed, out, listen=heard.append)
    assert out.read_text() == text
    assert not heard
    lines = text.splitlines(keepends=True)
    out.write_text("".join(lines[:3]) + lines[3][:25])
    again = run_instances(listed, out, listen=heard.append)
    assert [row[:2] for row in heard] == [row[:2] for row in first[2:]]
    assert [row.result for row in again] == [row.result for row in first]
    assert out.read_text().splitlines()[:3] == text.splitlines()[:3]
    assert len(read_results(out)) == 4


def test_an_instance_listed_twice_has_two_rows(listed, tmp_path):
    listed.write_text(listed.read_text() * 2)
    rows = run_instances(listed, tmp_path / "results.csv")
    assert len(rows) == 8
    assert len(run_instances(listed, tmp_path / "results.csv")) == 8


def test_broken_instances_cost_only_themselves(listed, tmp_path, monkeypatch):
    """A missing network, a property that cannot be read, one that does not fit, and a slip of the engine."""
    folder = listed.parent
    (folder / "vnnlib" / "broken.vnnlib").write_text("(assert (<= X_0")
    write_property(folder / "vnnlib" / "two.vnnlib", 0, 1, "(>= Y_0 2.5)", inputs=2)
    extra = ["onnx/none.onnx,vnnlib/safe.vnnlib,10", "onnx/identity.onnx,vnnlib/broken.vnnlib,10", "onnx/identity.onnx,vnnlib/two.vnnlib,10"]
    listed.write_text("\n".join(extra) + "\n" + listed.read_text())
    rows = run_instances(listed, tmp_path / "results.csv")
    assert [row.result for row in rows] == ["error"] * 3 + ["unsat", "sat"] * 2
    for row, word in zip(rows, ("none.onnx", "unmatched opening parenthesis", "give a property for this network"), strict=False):
        assert word in row.reason

    def slip(*arguments, **settings):
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(instance, "decide_instance", slip)
    rows = run_instances(listed, tmp_path / "slips.csv")
    assert {(row.result, row.reason) for row in rows} == {("error", "ZeroDivisionError: by zero")}


def test_limits(listed, tmp_path, monkeypatch):
    """Those of the file, or one for all."""
    limits = []

    def decide(network, asked, seconds, **settings):
        limits.append(seconds)
        return instance.InstanceAnswer("timeout", 1.0, reason="time: the limit was reached")

    monkeypatch.setattr(instance, "decide_instance", decide)
    listed.write_text("a.onnx,a.vnnlib,10\nb.onnx,b.vnnlib\n\nc.onnx, c.vnnlib , 2.5\n")
    assert run_instances(listed, tmp_path / "one.csv")[0] == Row("a.onnx", "a.vnnlib", "timeout", 1.0, "", "time: the limit was reached")
    run_instances(listed, tmp_path / "two.csv", seconds=7)
    assert limits == [10, None, 2.5, 7, 7, 7]


@pytest.mark.slow
def test_processes_give_the_same_rows(listed, tmp_path):
    """Two processes, in whatever order they end."""
    one = run_instances(listed, tmp_path / "one.csv")
    two = run_instances(listed, tmp_path / "two.csv", workers=2)
    assert sorted(row[:3] for row in one) == sorted(row[:3] for row in two)
    assert len(read_results(tmp_path / "two.csv")) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n", "has no instances"),
        ("a.onnx\n", "line 1: 'a.onnx' is not network"),
        ("a,b,1\nonnx,vnnlib,timeout\n", "line 2"),
        ("a,b,-1\n", "positive"),
        ("a,b,1,2\n", "line 1"),
        ("a,,1\n", "line 1"),
    ],
)
def test_wrong_lists(tmp_path, text, message):
    path = tmp_path / "instances.csv"
    path.write_text(text)
    with pytest.raises(LoadError, match=message):
        read_instances(path)
    with pytest.raises(LoadError, match="does not exist"):
        read_instances(tmp_path / "none.csv")


@pytest.mark.parametrize("text", ["a,b,c\n1,2,3\n", "onnx,vnnlib,result,seconds,verifier\nx,y\n", "onnx,vnnlib,result,seconds,verifier\nx,y,sat,soon,crown\n"])
def test_other_tables_are_not_overwritten(listed, tmp_path, text):
    """A file that is no table of results stays as it is."""
    out = tmp_path / "results.csv"
    out.write_text(text)
    with pytest.raises(LoadError, match="write to another file"):
        run_instances(listed, out)
    assert out.read_text() == text


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="reads /proc")
def test_a_signal_ends_the_workers_too(listed):
    """SIGTERM while both are busy for long: they end with the command, which says so."""
    busy = "import pathlib, time\nif b'spawn_main' in pathlib.Path('/proc/self/cmdline').read_bytes():\n    time.sleep(1000)\n"
    (listed.parent / "sitecustomize.py").write_text(busy)
    words = [sys.executable, "-m", "sparring", "certify", "--instances", listed, "--out", listed.parent / "results.csv", "--workers", "2"]
    environment = {**os.environ, "PYTHONPATH": f"{SOURCES}{os.pathsep}{listed.parent}"}
    command = subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True)
    children = Path(f"/proc/{command.pid}/task/{command.pid}/children")
    while len(workers := [int(one) for one in children.read_text().split() if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()]) < 2:
        time.sleep(0.1)
    time.sleep(0.5)
    command.send_signal(signal.SIGTERM)
    try:
        _, said = command.communicate(timeout=20)
    finally:
        left = [one for one in workers if Path(f"/proc/{one}").exists()]
        for one in left:
            os.kill(one, signal.SIGKILL)
        command.kill()
    assert command.returncode == 3
    assert "stopped by SIGTERM" in said
    assert not left
