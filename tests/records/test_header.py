"""Headers of records that no version of Sparring has written: a sentence from every command, and the other runs stay usable."""

import copy
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from sparring.bench.plan import Plan
from sparring.bench.run import Run
from sparring.cli.app import main
from sparring.records.record import Record

WORDS = ["model=zoo:digits-plain", "data=digits", "take=4", "threat=linf 0.1", "attacks=fgsm", "certify=none", "self_check=false"]


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """The path of a run folder, to be copied."""
    return Plan.of({**dict(word.split("=", 1) for word in WORDS), "take": 4, "self_check": False, "out": str(tmp_path_factory.mktemp("sound"))}).run().path


@pytest.fixture
def run(sound, tmp_path, monkeypatch):
    """A copy of it under runs/, beside a second one whose header is as it was."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(sound, tmp_path / "runs" / "good")
    return Path(shutil.copytree(sound, tmp_path / "runs" / Path(sound).name))


@pytest.fixture
def spar(monkeypatch, capsys):
    def call(*words):
        monkeypatch.setattr("sys.argv", ["spar", *words])
        monkeypatch.setattr("sys.path", list(sys.path))
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, *capsys.readouterr()

    return call


def unsigned(run):
    """The header without its checksum."""
    header = json.loads((run / "run.json").read_text())
    del header["checksum"]
    return header


def changed(place, value):
    """The header with another value at a place such as cases.0.name."""

    def change(header):
        *way, last = [int(one) if one.isdigit() else one for one in place.split(".")]
        inner = header
        for one in way:
            inner = inner[one]
        inner[last] = value
        return json.dumps(header)

    return change


def lacking(name):
    return lambda header: json.dumps({one: value for one, value in header.items() if one != name})


def written(text):
    return lambda header: text


def second_name(header):
    return json.dumps(header)[:-1] + ', "id": "other"}'


def nested(depth):
    return lambda header: json.dumps(header)[:-1] + ', "more": ' + "[" * depth + "]" * depth + "}"


HOSTILE = {
    "empty": (written(""), "is not JSON"),
    "no JSON": (written("schema: 2"), "is not JSON"),
    "no UTF-8": (written(b"\xff\xfe\x80{"), "is not JSON"),
    "a list": (written("[]"), "holds a list, not the header"),
    "a number of 5000 digits": (written('{"schema": ' + "9" * 5000 + "}"), "a number has 5000 digits"),
    "a number of 400 digits": (changed("resumed", 10**400), "a number has 401 digits"),
    "NaN": (written('{"schema": NaN}'), "NaN is no number"),
    "a float beyond all": (written('{"schema": 1e999}'), "1e999 is too large"),
    "a name twice": (second_name, "'id' stands there twice"),
    "deep": (nested(100_000), "nested too deeply"),
    "less deep": (nested(100), "is nested more than 40 times"),
    "schema 99": (changed("schema", 99), "has schema 99; this version reads 1 and 2"),
    "a schema in words": (changed("schema", "2"), "has schema '2'"),
    "a true schema": (changed("schema", [2]), "has schema [2]"),
    **{f"without {name}": (lacking(name), f"lacks {name}") for name in ("id", "status", "started", "resumed", "cases", "gate")},
    "an id that is a number": (changed("id", 5), "has id = 5, which is wrong"),
    "a negative count": (changed("resumed", -1), "has resumed = -1"),
    "a true count": (changed("resumed", True), "has resumed = True"),
    "samples in words": (changed("cases.0.data.n", "4"), "has cases.0.data.n = '4'"),
    "minus four samples": (changed("cases.0.n", -4), "has cases.0.n = -4"),
    "cases that are a mapping": (changed("cases", {}), "has cases = {}"),
    "a case in words": (changed("cases.0", "case"), "has cases.0 = 'case'"),
    "no cells": (changed("cases.0.cells", []), "has cases.0.cells = []"),
    "a cell outside": (changed("cases.0.cells.0.key", "../../x"), "has cases.0.cells.0.key = '../../x'"),
    "an absolute cell": (changed("cases.0.cells.0.key", "/etc"), "has cases.0.cells.0.key = '/etc'"),
    "a cell with a line break": (changed("cases.0.cells.0.key", "abc\n"), "has cases.0.cells.0.key"),
    "an attack in words": (changed("cases.0.cells.0.attack", "fgsm"), "has cases.0.cells.0.attack = 'fgsm'"),
    "an attack without a name": (changed("cases.0.cells.0.attack", {}), "lacks cases.0.cells.0.attack.say"),
    "a model that is a list": (changed("cases.0.model", []), "has cases.0.model = []"),
    "a name that is a number": (changed("cases.0.name", 3), "has cases.0.name = 3"),
    "classes that are numbers": (changed("cases.0.data.classes", [0, 1]), "has cases.0.data.classes.0 = 0"),
    "a threat in words": (changed("cases.0.threat", "linf 0.1"), "has cases.0.threat = 'linf 0.1'"),
    "a goal in words": (changed("cases.0.threat.goal", "none"), "has cases.0.threat.goal = 'none'"),
    "checks in words": (changed("cases.0.checks", "fine"), "has cases.0.checks = 'fine'"),
    "half a re-evaluation": (changed("cases.0.reevaluation", {"claimed": {}}), "lacks cases.0.reevaluation.plain"),
    "a gate of nothing": (changed("gate", [{}]), "lacks gate.0.rule"),
    "warnings of numbers": (changed("warnings", [1]), "has warnings.0 = 1"),
    "a plan that is a list": (changed("plan", []), "has plan = []"),
    "columns of lists": (changed("cases.0.aim.columns", {"a": []}), "has cases.0.aim.columns.a = []"),
    "a case twice": (lambda header: json.dumps({**header, "cases": header["cases"] * 2}), "has two cases named"),
}
COMMANDS = (("show", "bad"), ("report", "bad"), ("gate", "bad", "--rule", "robust_accuracy >= 0.1"), ("merge", "runs/good", "runs/bad"), ("run", *WORDS))


def is_one_sentence(said, complaint, sentence):
    assert "Traceback" not in said + complaint
    (line,) = complaint.strip().splitlines()
    assert line.startswith("spar: ")
    assert sentence in line
    assert len(line) < 600


@pytest.mark.few(5)
@pytest.mark.parametrize("what", HOSTILE)
def test_every_command_says_what_is_wrong(what, run, spar):
    change, sentence = HOSTILE[what]
    header = change(unsigned(run))
    (run / "run.json").write_bytes(header if isinstance(header, bytes) else header.encode())
    shutil.copytree(run, "runs/bad")
    for words in COMMANDS:
        code, said, complaint = spar(*words)
        assert code == 2, words
        is_one_sentence(said, complaint, sentence)
    code, said, _ = spar("ls", "runs", "--json")
    assert code == 0
    assert {row["name"]: row["status"] for row in json.loads(said)} == {"good": "done", "bad": "unreadable", run.name: "unreadable"}
    assert spar("show", "last", "--quiet")[0] == 0


def test_ls_runs_has_one_line_for_each_bad_run(run, spar):
    (run / "run.json").write_text("{")
    code, said, complaint = spar("ls", "runs")
    assert (code, complaint) == (0, "")
    assert "unreadable" in said
    assert "good" in said


THINGS = {
    "a folder": (lambda path: path.mkdir(), "is not a file"),
    "a pipe": (os.mkfifo, "is not a file"),
    "a link to a device": (lambda path: path.symlink_to("/dev/zero"), "is not a file"),
    "a huge file": (lambda path: (path.touch(), os.truncate(path, 1 << 40)), "bytes, more than 67,108,864"),
}


@pytest.mark.parametrize("what", THINGS)
def test_what_is_no_file(what, run, spar):
    make, sentence = THINGS[what]
    (run / "run.json").unlink()
    make(run / "run.json")
    for words in (("show", run.name), ("report", run.name), ("merge", "runs/good", f"runs/{run.name}"), ("run", *WORDS)):
        code, said, complaint = spar(*words)
        assert code == 2, words
        is_one_sentence(said, complaint, sentence)
    code, said, _ = spar("ls", "runs", "--json")
    assert {row["name"]: row["status"] for row in json.loads(said)} == {"good": "done", run.name: "unreadable"}


def test_honest_headers_of_older_versions_open(run, spar):
    """Without anything that was added later, and with fields of later versions."""
    header = unsigned(run)
    old = {name: header[name] for name in ("schema", "id", "status", "started", "resumed", "gate")} | {"later": {"version": [1]}}
    case = copy.deepcopy(header["cases"][0])
    kept = {"name": case["name"], "model": {"name": "net"}, "data": {"name": "some", "n": 4}, "threat": {"say_short": "linf 0.1"}, "cells": case["cells"]}
    old["cases"] = [kept]
    old["gate"] = [{"rule": "robust_accuracy >= 0", "case": case["name"], "met": True}]
    (run / "run.json").write_text(json.dumps(old))
    for words in (("show", run.name), ("report", run.name), ("gate", run.name), ("ls", "runs")):
        code, said, complaint = spar(*words)
        assert code == 0, complaint
        assert "unreadable" not in said
    assert len(Run.open(run).table()) == 8


def test_a_header_reads_as_it_was_written(run):
    assert Record.open(run).header == unsigned(run)
