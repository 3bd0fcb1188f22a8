"""`spar new` writes, for every registered kind, one file that lists, passes the laws of style and works."""

import ast
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sparring.cli.listing import KINDS, alike
from sparring.cli.new import kinds, skeleton
from sparring.core.registry import ROOMS, reads

ROOT = Path(__file__).parents[2]
NAME = "fresh_thing"

PROGRAM = """
import json, sys
from pathlib import Path
import torch
import sparring as sp
from sparring.cli.listing import KINDS, rows_of
from sparring.core.fit import read_fit
from sparring.core.registry import find
from sparring.diagnosis.remedy import remedies

listed = {kind: [row for row in rows_of(word) if row["name"] in ("fresh_thing", "Fresh thing")] for word, kind in KINDS.items()}
data, victim, threat = sp.load("digits", take=6), sp.load_model("zoo:digits-plain"), sp.linf(0.1)
told = {}

told["attack"] = sp.attacks.fresh_thing(victim, data.x, data.y, threat, steps=2).shape == data.x.shape
told["loss"] = sp.attacks.pgd(victim, data.x, data.y, threat, steps=2, loss="fresh_thing").shape == data.x.shape
told["change"] = sp.attacks.transfer(victim, data.x, data.y, threat, steps=2, changes="fresh_thing").shape == data.x.shape
space = find("space", "fresh_thing").parse(0.1)
goal = find("goal", "fresh_thing")()
own = sp.Threat(space, goal)
told["space"] = told["goal"] = bool((sp.attacks.fgsm(victim, data.x, data.y, own) - data.x).abs().max() <= 0.1 + 1e-6)
told["tampering"] = find("tampering", "fresh_thing")(0.1).label == "fresh_thing 0.1"
told["domain"] = find("domain", "fresh_thing")((1, 8, 8)).check(data.x).shape == data.x.shape
told["task"] = find("task", "fresh_thing")(10).kind == "fresh_thing"
told["model"] = sp.load_model("zoo:fresh_thing").classes == 10
points = sp.load("fresh_thing", take=20)
told["dataset"] = len(points) == 20
Path("rows.fresh_thing").write_text("0 1 0\\n1 0 1\\n")
told["reader"] = sp.load("rows.fresh_thing").y.tolist() == [0, 1]

class Mine:
    classes = 2

    def score_rows(self):
        return None

    def __call__(self, x):
        return [[0.0, 1.0]] * len(x)

told["adapter"] = type(sp.victim(Mine(), points.domain)).__name__ == "FreshThing"
told["check"] = [one.verdict for one in sp.doctor(victim, data) if one.code == "D900"] == ["ok"]
told["remedy"] = any(one.name == "fresh_thing" for one in remedies())
told["recipe"] = isinstance(sp.harden(victim, data, threat, "fresh_thing", epochs=1, batch=3), torch.nn.Module)
told["fit"] = read_fit("fresh_thing(epochs=1)")(points, 0).classes == 2
told["certifier"] = [one.proved for one in sp.certify(victim, data.x, data.y, threat, "fresh_thing")] == [False] * 6
told["verifier"] = len(sp.certify(victim, data.x, data.y, sp.linf(0.001), "network", verifiers=["fresh_thing"])) == 6
run = sp.evaluate(victim, data, threat, "fresh_thing", certify="none", self_check=False, gate=["fresh_thing >= 0"], out="runs")
told["set"] = sorted(run.table().attack.unique()) == ["clean", "fgsm", "pgd(steps=10)"]
told["metric"] = len(run.record.header["gate"]) == 1
told["section"] = "This run has 1 cases." in Path(run.report()).read_text()
from sparring.bench.plan import Plan
members = Plan.of({"aim": "membership", "data": "digits", "take": 60, "fit": "linear", "attacks": "fresh_thing", "out": "runs"}).run()
told["method"] = "fresh_thing" in set(members.table().attack)
told["aim"] = find("aim", "fresh_thing").unit == "sample"
print(json.dumps({"listed": listed, "told": told}))
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A plugin package with one new file of each kind."""
    site = tmp_path_factory.mktemp("plugin")
    folder, about = site / "fresh", site / "fresh-1.0.dist-info"
    folder.mkdir()
    about.mkdir()
    (folder / "__init__.py").write_text('"""Holds one new thing of each kind."""\n')
    for kind in kinds():
        (folder / f"{kind}_{NAME}.py").write_text(skeleton(kind, NAME)[1])
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: fresh\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[sparring]\nfresh = fresh\n")
    return folder


@pytest.fixture(scope="module")
def found(package, tmp_path_factory):
    """What a process that knows the package lists, and which of the new things work."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{package.parent}", "OMP_NUM_THREADS": "1"}
    here = tmp_path_factory.mktemp("work")
    ended = subprocess.run([sys.executable, "-W", "ignore", "-c", PROGRAM], cwd=here, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


def test_there_is_one_for_every_kind():
    assert kinds() == sorted(ROOMS)


@pytest.mark.parametrize("kind", sorted(ROOMS))
def test_it_is_listed(kind, found):
    """It has a whole sentence, and each of its settings a meaning."""
    rows = found["listed"][kind]
    assert len(rows) == len(alike(kind))
    for row in rows:
        assert row["does"].endswith(".")
        assert [name for name, one in row.get("settings", {}).items() if not one.get("does")] == []


@pytest.mark.parametrize("kind", sorted(ROOMS))
def test_it_works(kind, found):
    assert found["told"][kind] is True


@pytest.mark.parametrize("kind", sorted(ROOMS))
def test_its_docstrings_follow_the_law(kind):
    """First lines are sentences that begin with a verb of the list; public definitions have one, save overrides."""
    spec = importlib.util.spec_from_file_location("law", ROOT / "tests/laws/test_docstrings.py")
    law = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(law)
    tree = ast.parse(skeleton(kind, NAME)[1])
    assert ast.get_docstring(tree)
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            assert law.complaint(ast.get_docstring(node) or "") == "", node.name


def test_they_pass_the_linter(package):
    """As written, with the settings of the project."""
    linter = [sys.executable, "-m", "ruff"]
    for words in (["check"], ["format", "--check"]):
        settings = ["--no-cache", "--config", str(ROOT / "pyproject.toml"), str(package)]
        ended = subprocess.run([*linter, *words, *settings], capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize("word", KINDS)
def test_the_command_writes_it(word, spar, folder):
    """It names the file and how it is listed; a second time is refused."""
    kind = KINDS[word]
    (folder / "plugin").mkdir()
    said = spar("new", kind, NAME, "--folder", "plugin")
    assert said.out.splitlines()[0] == f"plugin/{NAME}.py"
    assert said.out.splitlines()[-1] == f"then run: pip install -e . && spar ls {word} {NAME}"
    assert (folder / "plugin" / f"{NAME}.py").read_text() == skeleton(kind, NAME)[1]
    again = spar("new", kind, NAME, "--folder", "plugin")
    assert (again.code, again.out) == (2, "")
    assert "exists already" in again.err


def test_it_says_how_a_folder_becomes_a_plugin(spar, folder):
    """The message names what pyproject.toml lacks, the folder to install, and the command that lists the thing afterwards."""
    inside = folder / "project" / "mine" / "attacks"
    inside.mkdir(parents=True)
    (inside.parent / "__init__.py").touch()
    (inside / "__init__.py").touch()
    about = folder / "project" / "pyproject.toml"
    about.touch()
    first, second = (f"project/mine/attacks/{name}.py" for name in ("one_more", "another"))
    unlisted = "does not list it yet, because project/mine/attacks is in no installed plugin"
    said = spar("new", "attack", "one_more", "--folder", "project/mine/attacks").out.splitlines()
    assert said == [
        first,
        f"spar ls attacks one_more {unlisted}",
        "add to project/pyproject.toml (see docs/plugins.md):",
        "  [project.entry-points.sparring]",
        '  mine = "mine"',
        "then run: pip install -e project && spar ls attacks one_more",
    ]
    about.write_text('[project.entry-points.sparring]\nmine = "mine"\n')
    said = spar("new", "attack", "another", "--folder", "project/mine/attacks").out.splitlines()
    assert said == [second, f"spar ls attacks another {unlisted}", "then run: pip install -e project && spar ls attacks another"]


def test_a_folder_of_the_package_is_read():
    """The registry finds what lies in the usual folders of the package, and in no folder elsewhere."""
    for kind in ROOMS:
        assert reads(kind, ROOT / skeleton(kind, NAME)[0])
        assert not reads(kind, ROOT / "tests")


@pytest.mark.parametrize("kind", sorted(ROOMS))
def test_the_usual_folder_is_one_of_the_package(kind):
    folder, _ = skeleton(kind, NAME)
    assert (ROOT / folder).is_dir()
    assert folder.startswith("src/" + ROOMS[kind].replace(".", "/"))
