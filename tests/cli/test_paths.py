"""Paths with blanks, commas, # and = are read as they are, wherever a plan or a command takes one."""

import pytest

from sparring.bench.plan import Plan
from sparring.cli.words import is_setting, read_words
from sparring.core.registry import read_thing

RULES = "radius: 1\ncolumns:\n  age: {reach: 0.1}\n"


@pytest.mark.parametrize("folder", ["a b", "a=b", "a#b", "a,b", "a b, c"])
def test_files_are_found(folder, tmp_path, monkeypatch):
    """In rules of a threat, also between other threats, and as a model."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "r.yaml").write_text(RULES)
    (tmp_path / folder / "net.onnx").write_bytes(b"")
    assert read_thing("space", f"rules {folder}/r.yaml", "parse").label.startswith("rules")
    plan = Plan.of({"model": f"{folder}/net.onnx", "threat": f"linf 0.1, rules {folder}/r.yaml"})
    assert plan.model == [f"{folder}/net.onnx"]
    assert plan.threat[0] == "linf 0.1"
    assert plan.threat[1].replace(" ", "") == f"rules {folder}/r.yaml".replace(" ", "")
    assert not is_setting(f"{folder}/r.yaml")
    assert read_words([f"{folder}/r.yaml", "take=5"]) == (f"{folder}/r.yaml", {"take": 5})


def test_what_is_no_file_is_a_setting():
    assert is_setting("a=b")
    assert is_setting("--a")
    assert read_words(["a=b/c"]) == (None, {"a": "b/c"})
