"""A record that lacks rows is never judged on what is there."""

import json
from pathlib import Path

import pytest
from killing import content

import sparring as sp
from sparring.bench.gate import judge_gate
from sparring.bench.run import Run
from sparring.cli.app import main
from sparring.core.errors import RecordError

GATE = "clean_accuracy >= 0.01"


@pytest.fixture
def run(small, tmp_path):
    """A run that met its gate."""
    made = small(out=str(tmp_path / "runs"), gate=GATE).run()
    assert [one["met"] for one in made.record.header["gate"]] == [True]
    return made


@pytest.fixture
def spar(capsys, monkeypatch):
    """Call the command line; returns the code and what was printed."""

    def call(*words):
        monkeypatch.setattr("sys.argv", ["spar", *map(str, words)])
        monkeypatch.setattr("sys.path", [])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, capsys.readouterr()

    return call


def parts(run, attack=""):
    keys = [cell["key"] for case in run.record.header["cases"] for cell in case["cells"] if attack in cell["attack"]["say"]]
    return [part for key in keys for part in sorted(Path(run.path, "cells", key).glob("*.parquet"))]


@pytest.mark.few(2)
@pytest.mark.parametrize(("gone", "named"), [("one part", "fgsm: 16 of 20 rows, positions 0 to 3"), ("a cell", "fgsm: 0 of 20"), ("most parts", "and 1 more")])
def test_what_is_missing_is_named(gone, named, run, spar, small):
    """Gate, show and the numbers of a run, though its header says that it is done; the same command completes it."""
    whole = content(run)
    for part in {"one part": parts(run, "fgsm")[:1], "a cell": parts(run, "fgsm"), "most parts": [one for one in parts(run) if "0000000" not in one.name]}[
        gone
    ]:
        part.unlink()
    for words in (("gate", run.path), ("gate", run.path, "--rule", GATE)):
        code, said = spar(*words)
        assert code == 3
        assert named in said.err
        assert "met" not in said.out
    code, said = spar("show", run.path)
    assert code == 3
    assert "missing   digits-plain · linf 0.1, fgsm" in said.out
    assert json.loads(spar("show", run.path, "--json")[1].out)["missing"]
    found = Run.open(run.path)
    with pytest.raises(RecordError, match="run the same command again"):
        judge_gate(found, [GATE])
    for number in ("clean_accuracy", "robust_accuracy", "certified_accuracy", "band"):
        with pytest.raises(RecordError, match="lacks digits-plain"):
            getattr(found, number)
    assert "missing" in found._repr_html_()
    again = small(out=str(Path(run.path).parent), gate=GATE).run()
    assert again.record.header["gate"][0]["met"]
    assert content(again).equals(whole)
    assert spar("gate", run.path)[0] == 0


def test_a_shard_is_not_judged(small, tmp_path, spar):
    """Neither met nor missed, by the shard itself and by `spar gate`; when the other one is merged, the gate is judged."""
    one, two = (small(out=str(tmp_path / name), gate=GATE, shard=f"{name}/2").run() for name in "12")
    assert (one.status, one.record.header["gate"]) == ("partial", [])
    code, said = spar("show", one.path)
    assert code == 3
    assert f"gate   {GATE}   not judged, because the run is partial" in said.out
    assert "MISSED" not in said.out
    code, said = spar("gate", one.path)
    assert code == 3
    assert "is partial and lacks digits-plain" in said.err
    assert spar("merge", one.path, two.path, "--quiet")[0] == 0
    assert Run.open(one.path).record.header["gate"][0]["met"]
    assert spar("gate", one.path)[0] == 0


def test_a_gate_that_was_never_judged_is_not_met(run, spar):
    """Killed after the last row and before the gate."""
    run.record.header["gate"] = []
    run.record.save_header()
    code, said = spar("show", run.path)
    assert code == 3
    assert "not judged" in said.out
    assert spar("gate", run.path)[0] == 0, "it is judged now"


def test_an_interrupted_evaluation(tmp_path):
    """From Python: the numbers are refused, the table is there."""

    def stop(event, details):
        if event == "batch" and details["attack"] == "fgsm":
            raise KeyboardInterrupt

    data = sp.load("digits", take=4)
    with pytest.raises(KeyboardInterrupt):
        sp.evaluate("zoo:digits-plain", data, sp.linf(0.1), ["fgsm", "pgd(steps=1)"], certify="none", self_check=False, gate=GATE, out=tmp_path, listen=stop)
    run = Run.open(next(tmp_path.iterdir()))
    assert run.status == "interrupted"
    assert len(run.table()) == 8
    assert run.missing() == [f"digits-plain · linf 0.1, pgd(steps=1): 0 of 4 rows, positions 0 to 3 (cells/{run.record.header['cases'][0]['cells'][2]['key']})"]
    with pytest.raises(RecordError, match=r"pgd\(steps=1\): 0 of 4 rows"):
        _ = run.robust_accuracy


def test_a_shard_keeps_what_another_one_found(small, tmp_path):
    """Contradictions, warnings and the re-evaluation of one that ended before or while it ran."""
    rate = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 8}
    looked = {"plain": "unreliable", "clean": rate, "claimed": rate, "best_known": rate, "remedies": []}
    found = {"case": "c", "certificate": "n", "attack": "a", "ids": ["x"], "file": "f"}

    def write(event, details):
        if event == "batch" and not other.record.header["contradictions"]:
            other.record.header["contradictions"].append(found)
            other.record.header["cases"][0]["reevaluation"] = looked
            other.record.save_header()

    other = small(out=str(tmp_path), shard="1/3").run()
    other.record.header["warnings"].append("before")
    other.record.save_header()
    header = small(out=str(tmp_path), shard="2/3").run(listen=write).record.header
    assert (header["warnings"], header["contradictions"], header["status"]) == (["before"], [found], "contradicted")
    assert header["cases"][0]["reevaluation"] == looked
    assert small(out=str(tmp_path), shard="3/3").run().status == "contradicted"
