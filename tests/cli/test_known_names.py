"""Names for completion come from a cache that is never older than the modules that register them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sparring.cli import known
from sparring.cli.completion import NAMES
from sparring.cli.known import cache_file, names_of
from sparring.core import registry


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def forbid(monkeypatch):
    """Let the registry fail, so that what answers is the cache."""
    monkeypatch.setattr(registry, "everything", lambda kind: pytest.fail(f"the registry was asked for {kind}"))


@pytest.mark.parametrize("kind", sorted({kind for kinds in NAMES.values() for kind in kinds}))
def test_names_are_those_of_the_registry(kind, monkeypatch):
    wanted = list(registry.everything(kind))
    assert names_of(kind) == wanted
    forbid(monkeypatch)
    assert names_of(kind) == wanted


@pytest.mark.parametrize("change", ["time", "file", "plugin"])
def test_a_change_of_a_module_is_seen(home, monkeypatch, change):
    sources = home / "sources"
    sources.mkdir()
    (sources / "a.py").write_text("")
    monkeypatch.setattr(known, "SOURCES", sources)
    monkeypatch.setattr(registry, "everything", lambda kind: ["before"])
    assert names_of("attack") == ["before"]
    monkeypatch.setattr(registry, "everything", lambda kind: ["after"])
    assert names_of("attack") == ["before"]
    if change == "time":
        os.utime(sources / "a.py", ns=(1, 1))
    elif change == "file":
        (sources / "b.py").write_text("")
    else:
        point = type("Point", (), {"name": "mine", "value": "json.tool"})()
        monkeypatch.setattr(known, "entry_points", lambda group: [point])
    assert names_of("attack") == ["after"]


@pytest.mark.parametrize("content", ["", "{", "[]", "[" * 5000, '{"state": 1}', "null", "state", "names", "\0", "long"])
def test_a_damaged_cache_is_none(content, monkeypatch):
    monkeypatch.setattr(registry, "everything", lambda kind: ["one"])
    names_of("attack")
    held = json.loads(cache_file().read_text())
    wrong = {"state": {**held, "state": "0"}, "names": {**held, "names": {"attack": [1]}}, "long": {**held, "names": {"attack": ["x" * known.MOST_BYTES]}}}
    cache_file().write_text(json.dumps(wrong[content]) if content in wrong else content)
    assert names_of("attack") == ["one"]
    assert json.loads(cache_file().read_text()) == held


def test_where_nothing_can_be_written_names_are_read_anew(home, monkeypatch):
    (home / "cache").write_text("")
    assert "pgd" in names_of("attack")
    with monkeypatch.context() as without:
        without.setattr(known, "cache_file", lambda: Path("~nobody-of-this-name").expanduser())
        assert "pgd" in names_of("attack")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_file() == Path("~/.cache/sparring/names.json").expanduser()


def test_a_cached_completion_imports_no_torch():
    names_of("attack")
    names_of("method")
    code = "import sys; from sparring.cli.app import main\ntry: main()\nfinally: print('torch' in sys.modules, file=sys.stderr)"
    asked = {"_SPAR_COMPLETE": "complete_bash", "COMP_WORDS": "spar ls attacks pg", "COMP_CWORD": "3"}
    paths = os.pathsep.join([str(known.SOURCES.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    said = subprocess.run([sys.executable, "-c", code], env={**os.environ, **asked, "PYTHONPATH": paths}, capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["pgd", "pgd_two_sided"]
    assert said.stderr.strip() == "False"
