"""Threats that probably do not mean what was meant: the run goes on with a warning that names both sides and the cure."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import sparring as sp
from sparring.core.errors import ThreatWarning
from sparring.threats.notes import notes_on

DIGITS = sp.load("digits", take=4)


def rows(*ranges):
    """A table whose columns have these ranges."""
    x = torch.linspace(0, 1, 5, dtype=torch.float64)[:, None] * torch.tensor(ranges, dtype=torch.float64)
    return sp.Data.of(x, [0, 1, 0, 1, 0], sp.table([f"column {place}" for place in range(len(ranges))]))


@pytest.mark.parametrize(
    ("threat", "sentence"),
    [
        (sp.linf(8), r"linf 8 allows any input, because inputs lie in \[0, 1\]: write linf 8/255 if 8 of 255 grey levels are meant, or give a smaller radius"),
        (sp.linf(1), r"linf 1 allows any input, because inputs lie in \[0, 1\]: give a smaller radius"),
        (sp.l2(8), r"l2 8 allows any input"),
        (sp.l2(300), r"l2 300 allows any input, .*: give a smaller radius$"),
        (sp.patch(8), r"patch 8 allows any input"),
    ],
)
def test_a_ball_that_covers_the_domain(threat, sentence, tmp_path):
    """As a Python warning and in the record, from which table and report take it."""
    with pytest.warns(ThreatWarning, match=sentence) as told:
        run = sp.evaluate("zoo:digits-plain", DIGITS, threat, ["noise"], certify="none", self_check=False, out=tmp_path)
    assert run.status == "done"
    assert len(told) == 1
    assert run.record.header["warnings"] == [str(told[0].message)]
    assert "allows any input" in Path(run.report()).read_text()


@pytest.mark.parametrize("threat", [sp.linf(8 / 255), sp.linf(0.9), sp.l2(7), sp.linf(1).smallest(), sp.spatial(30, 0.1)])
def test_honest_threats_have_no_note(threat):
    assert notes_on(threat, DIGITS.x, DIGITS.domain) == []


@pytest.mark.parametrize("threat", [sp.linf(0.5), sp.l2(0.5), sp.l1(0.5)])
def test_columns_of_unlike_ranges(threat):
    (note,) = notes_on(threat, rows(3.0, 50.0, 90_000.0).x, rows(3.0, 50.0, 90_000.0).domain)
    assert note.startswith(f"{threat.space.kind} changes all columns by the same amount, but 'column 0' has a range of 3 and 'column 2' one of 90000")
    assert note.endswith("give a rule file, threat='rules FILE', or a model of scaled columns")


@pytest.mark.parametrize("ranges", [(1.0, 1.0), (6.0, 1.0, 40.0), (0.0, 5.0), (0.0, 0.0), (3.0,)])
def test_scaled_columns_have_no_note(ranges):
    data = rows(*ranges)
    assert notes_on(sp.linf(0.5), data.x, data.domain) == []


def test_other_threats_on_tables_have_no_note():
    data = rows(1.0, 1e6)
    assert notes_on(sp.l0(1), data.x, data.domain) == []


def test_once_per_run_on_the_command_line(tmp_path, monkeypatch, capsys):
    from sparring.cli.app import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("warnings.filters", [])
    (tmp_path / "of_rows.py").write_text("def made():\n    return lambda x: [[0.0, 1.0]] * len(x)\n")
    np.savetxt("rows.csv", [[place, place * 1000.5, place % 2] for place in range(8)], delimiter=",", header="age,income,y", comments="", fmt="%g")
    monkeypatch.setattr("sys.argv", ["spar", "run", "model=of_rows:made", "data=rows.csv", "target=y", "threat=linf 0.1, linf 0.2", "attacks=noise"])
    monkeypatch.setattr("sys.path", [str(tmp_path), *sys.path])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert ended.value.code == 0, said.err
    sentence = "linf changes all columns by the same amount, but 'age' has a range of 7 and 'income' one of 7003.5"
    assert said.err.count(f"spar: {sentence}") == 1
    assert said.out.count(f"warning   {sentence}") == 1
    (header,) = (json.loads(path.read_text()) for path in tmp_path.glob("runs/*/run.json"))
    assert len(header["warnings"]) == 1
