"""spar certify: what it prints and writes, and the code it ends with."""

import json

import pandas as pd
import pytest
from certification.vnnlib.small import absolute, identity, write_property

from sparring.certification.vnnlib import instance


@pytest.fixture
def files(folder):
    """absolute.onnx (y = |x|), identity.onnx (y = x), a property that holds and one that does not, and a list of instances."""
    absolute(folder / "absolute.onnx")
    identity(folder / "identity.onnx")
    write_property(folder / "safe.vnnlib", -1, 1, "(>= Y_0 2.5)")
    write_property(folder / "unsafe.vnnlib", 0, 1, "(>= Y_0 0.5)")
    (folder / "instances.csv").write_text("absolute.onnx,safe.vnnlib,10\nidentity.onnx,unsafe.vnnlib,10\n")
    instance._network.cache_clear()
    instance._property.cache_clear()
    return folder


def test_a_property_that_holds(spar, files):
    said = spar("certify", "absolute.onnx", "safe.vnnlib", "--timeout", "10", "--out", "answer.txt")
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[0] == "unsat"
    assert lines[1].startswith("decided by ")
    assert (files / "answer.txt").read_text() == "unsat\n"


def test_a_property_that_does_not(spar, files):
    """The counterexample on the screen, in a file and as JSON."""
    said = spar("certify", "identity.onnx", "unsafe.vnnlib")
    assert said.code == 0
    assert said.out.startswith("sat\n((X_0 ")
    assert spar("certify", "identity.onnx", "unsafe.vnnlib", "--quiet", "--out", "answer.txt") == (0, "", "")
    assert (files / "answer.txt").read_text().startswith("sat\n((X_0 ")
    document = json.loads(spar("certify", "identity.onnx", "unsafe.vnnlib", "--json").out)
    assert document["result"] == "sat"
    assert 0.5 <= document["counterexample"]["x"][0] <= 1
    assert document["counterexample"]["y"] == document["counterexample"]["x"]


def test_an_open_property(spar, files, monkeypatch):
    """Code 3, and why."""
    monkeypatch.setattr(instance, "decide_instance", lambda *words, **settings: instance.InstanceAnswer("timeout", 1.0, reason="time: the limit was reached"))
    said = spar("certify", "absolute.onnx", "safe.vnnlib")
    assert said.code == 3
    assert said.out == "timeout\ntime: the limit was reached, 1.00 s\n"


def test_instances(spar, files):
    """A table, answers, and a closing line; the same command again keeps all."""
    words = ("certify", "--instances", "instances.csv", "--out", "results.csv", "--counterexamples", "answers")
    said = spar(*words)
    assert said.code == 0
    assert "2 instances: 1 unsat, 1 sat" in said.out
    table = pd.read_csv("results.csv")
    assert list(table.columns) == ["onnx", "vnnlib", "result", "seconds", "verifier"]
    assert list(table.result) == ["unsat", "sat"]
    assert sorted(path.name for path in (files / "answers").iterdir()) == ["absolute.safe.txt", "identity.unsafe.txt"]
    document = json.loads(spar(*words, "--json").out)
    assert document["results"] == {"unsat": 1, "sat": 1}
    pd.testing.assert_frame_equal(pd.read_csv("results.csv"), table)


def test_what_was_called_rung_and_witness_is_understood(spar, files):
    """A table that an earlier version wrote is continued, and the option tells its new name."""
    first = spar("certify", "--instances", "instances.csv", "--out", "results.csv", "--witnesses", "answers")
    assert first.code == 0
    assert "--witnesses is now called --counterexamples" in first.err
    assert len(list((files / "answers").iterdir())) == 2
    table = (files / "results.csv").read_text()
    (files / "results.csv").write_text(table.replace(",verifier\n", ",rung\n"))
    again = spar("certify", "--instances", "instances.csv", "--out", "results.csv")
    assert again.code == 0
    assert (files / "results.csv").read_text() == table


def test_an_instance_that_cannot_be_used(spar, files):
    """Named on standard error, code 3, and the others are decided."""
    (files / "instances.csv").write_text("none.onnx,safe.vnnlib,10\nabsolute.onnx,safe.vnnlib,10\n")
    said = spar("certify", "--instances", "instances.csv", "--out", "results.csv")
    assert said.code == 3
    assert "none.onnx safe.vnnlib: " in said.err
    assert list(pd.read_csv("results.csv").result) == ["error", "unsat"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "spar certify takes"),
        (("absolute.onnx",), "spar certify takes"),
        (("absolute.onnx", "none.vnnlib"), "none.vnnlib does not exist"),
        (("none.onnx", "safe.vnnlib"), "none.onnx does not exist"),
        (("safe.vnnlib", "absolute.onnx"), "safe.vnnlib"),
        (("--instances", "instances.csv"), "needs --out"),
        (("--instances", "none.csv", "--out", "results.csv"), "none.csv does not exist"),
        (("--instances", "instances.csv", "--out", "results.csv", "--workers", "0"), "--workers"),
        (("absolute.onnx", "safe.vnnlib", "--timeout", "-1"), "positive number of seconds"),
        (("absolute.onnx", "safe.vnnlib", "--timeout", "soon"), "--timeout"),
        (("model=zoo:digits-robust",), "no data"),
        (("modle=zoo:digits-robust", "data=digits"), "did you mean model?"),
    ],
)
def test_wrong_use(spar, files, words, message):
    said = spar("certify", *words)
    assert said.code == 2
    assert message in said.err
    assert "Traceback" not in said.err
    assert not (files / "results.csv").exists()


def test_a_model_on_data(spar, folder):
    """Counts by verdict, and a table of one row a sample."""
    said = spar("certify", "model=zoo:digits-robust", "data=digits", "threat=linf 0.02", "take=12", "certify=network(effort=bounds)", "--out", "table.csv")
    assert said.code == 0, said.err
    table = pd.read_csv("table.csv")
    assert len(table) == 12
    for verdict in ("proved", "refuted", "unknown"):
        assert f"{verdict} {(table.verdict == verdict).sum()} of 12" in said.out
    assert (table.verdict == "proved").any()
