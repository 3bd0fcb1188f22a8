"""The example of a plugin package: listed, run, reported, gated, trained and certified with, resumed, keyed, and covered by the laws."""

import ast
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from installed import EXAMPLE, install, installed
from laws import test_answers, test_docstrings, test_registered, test_verifiers

from sparring.aims.case import Settings
from sparring.bench.plan import Plan
from sparring.bench.run import Run
from sparring.cli.listing import KINDS, rows_of
from sparring.core.fit import read_fit
from sparring.core.registry import find

ROOT = Path(__file__).parent.parent

THINGS = {
    "attack": "backtracking",
    "task": "angle",
    "aim": "multiplicity",
    "recipe": "gradient_penalty",
    "verifier": "fast_lip",
    "metric": "ambiguity",
    "section": "compass",
    "dataset": "pointers",
    "model": "pointers-net",
    "method": "reseed",
}
"""One thing of the example for each kind that it adds."""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder on the path with the example installed, and a registry that has read it; both are put back afterwards."""
    with installed(tmp_path_factory.mktemp("plugin") / "lib" / "site-packages") as folder:
        yield folder


@pytest.fixture
def spar(site, tmp_path, monkeypatch, capsys):
    """Calls the command line in an empty folder; returns its exit code, what it wrote and what it complained about."""
    from sparring.cli.app import main

    monkeypatch.chdir(tmp_path)

    def call(*words):
        monkeypatch.setattr("sys.argv", ["spar", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err

    return call


def test_everything_is_listed(site):
    """`spar ls KINDS` has each with a sentence, and with settings where it has some."""
    listed = {kind: {row["name"]: row for row in rows_of(word)} for word, kind in KINDS.items()}
    for kind, name in THINGS.items():
        assert listed[kind][name]["does"].endswith(".")
    settings = {("attack", "backtracking", "steps"): 40, ("task", "angle", "tolerance"): 15.0}
    settings |= {("recipe", "gradient_penalty", "weight"): 1.0, ("metric", "ambiguity", "models"): 1}
    for (kind, name, setting), default in settings.items():
        assert listed[kind][name]["settings"][setting]["default"] == default, name
    assert listed["verifier"]["fast_lip"]["by_default"]
    assert listed["aim"]["multiplicity"]["unit"] == "sample"
    assert listed["section"]["compass"]["order"] == 42


def test_a_name_lists_all_about_it(spar):
    code, out, err = spar("ls", "verifiers", "fast_lip", "--json")
    assert (code, err) == (0, "")
    (row,) = json.loads(out)
    assert row["cites"] == "Weng et al. 2018, arXiv:1804.09699"
    assert spar("ls", "attacks", "backtrack*", "--quiet")[1] == "backtracking\n"


def test_attack_task_and_section(spar):
    """A model that answers angles is attacked, by our attacks too; the report shows the section in its place."""
    plan = (
        "model=zoo:pointers-net",
        "data=pointers",
        "take=12",
        "threat=linf 0.075",
        "attacks=backtracking(steps=6), pgd(steps=6)",
        "gate=clean_accuracy >= 0.5",
    )
    code, out, _ = spar("run", *plan, "--json")
    assert code == 0, out
    told = json.loads(out)
    (case,) = told["cases"]
    assert case["clean_accuracy"]["value"] == 1
    assert case["robust_accuracy"]["value"] < 1
    assert case["fell_to"]["backtracking(steps=6)"] > 0
    assert [one["met"] for one in told["gate"]] == [True]
    rows = Run.open(told["record"]).table()
    assert set(rows.columns) >= {"wanted", "given", "quality"}
    page = Path(told["report"]).read_text()
    titles = [page.index(f'<section id="{name}"') for name in ("headline", "compass", "falls")]
    assert titles == sorted(titles)
    assert "Mean error by true direction" in page
    assert "This section could not be" not in page


def test_the_default_set_runs_on_the_task(spar):
    """Named losses stand for the task's own, so nothing has to be registered for our attacks."""
    code, out, _ = spar("run", "model=zoo:pointers-net", "data=pointers", "take=4", "threat=linf 0.1", "--json")
    assert code == 0
    (case,) = json.loads(out)["cases"]
    assert case["robust_accuracy"]["value"] == 0
    assert case["errors"] == 0


def test_aim_and_metric(spar):
    """The aim writes a record with its baseline and its control, its metric stands in the table, in the gate and in the report."""
    plan = ("aim=multiplicity", "data=digits", "fit=mlp(epochs=1)", "attacks=reseed(models=2)", "take=60", "gate=ambiguity(models=1) <= 0.99")
    code, out, _ = spar("run", *plan, "--json")
    assert code == 0, out
    told = json.loads(out)
    found = {(one["cell"], one["metric"]): one for one in told["cases"][0]["measures"]}
    assert {cell for cell, _ in found} == {"reseed(models=2)", "once", "same_seed"}
    assert found["reseed(models=2)", "ambiguity"]["value"] >= found["reseed(models=2)", "ambiguity(models=2)"]["value"]
    assert found["once", "ambiguity"]["value"] == found["same_seed", "ambiguity"]["value"] == 0
    assert found["once", "ambiguity"]["control"]
    assert told["gate"][0]["cell"] == "reseed(models=2)"
    rows = Run.open(told["record"]).table()
    assert set(rows.models) == {0, 1, 2}
    assert "share of samples whose answer differs in at least" in Path(told["report"]).read_text()
    assert spar("run", *plan[:-1], "gate=ambiguity <= 0.000001", "--quiet")[0] == 1


def test_the_recipe_trains(spar):
    """By the command and as the fit of another aim; a penalty of 0 is plain training."""
    import safetensors.torch

    plan = ("model=zoo:digits-plain", "data=digits", "take=100", "threat=linf 0.05", "recipe=gradient_penalty", "epochs=1", "batch=50", "--quiet")
    for weight in (0, 5):
        code, _, err = spar("harden", *plan, f"weight={weight}", f"out={weight}.safetensors")
        assert (code, err) == (0, "")
    one, other = (safetensors.torch.load_file(f"{weight}.safetensors") for weight in (0, 5))
    assert any(not bool((one[name] == other[name]).all()) for name in one)
    assert spar("harden", *plan, "weigth=1", "out=1.safetensors")[2] == "spar: unknown key 'weigth': did you mean weight or weights?\n"
    assert read_fit('recipe("gradient_penalty", weight=3)').parts[0] is find("recipe", "gradient_penalty")


def test_the_verifier_certifies(spar):
    """By name, and by default in its place of the portfolio: after intervals, which it beats, and before CROWN."""
    plan = ("model=zoo:digits-robust", "data=digits", "take=40", "threat=linf 0.006", "--json")

    def proved(certify):
        code, out, err = spar("certify", *plan, *([f"certify={certify}"] if certify else []))
        assert code == 0, err
        return {row["method"]: row["samples"] for rows in json.loads(out).values() for row in rows if row["verdict"] == "proved"}

    alone, intervals, default = proved("network(verifiers=[fast_lip])"), proved("network(verifiers=[ibp])"), proved("")
    assert sum(alone.values()) > sum(intervals.values()) > 0
    assert default["ibp"] == intervals["ibp"]
    assert default["fast_lip"] == alone["fast_lip"] - intervals["ibp"]
    assert default["crown"] > 0


@pytest.mark.parametrize(
    "plan",
    [
        {"model": "zoo:pointers-net", "data": "pointers", "take": 12, "threat": "linf 0.03", "attacks": "backtracking(steps=4), noise(tries=2)", "batch": 4},
        {"aim": "multiplicity", "data": "digits", "take": 30, "fit": "mlp(epochs=1)", "attacks": "leave_out(models=1)", "batch": 10},
    ],
    ids=["evasion", "multiplicity"],
)
def test_an_interrupted_run_continues(plan, site, tmp_path):
    """The rows are those of a run that was never interrupted."""

    def content(run):
        return run.table().drop(columns="seconds").sort_values(["attack", "position"], ignore_index=True)

    whole = Plan.of({**plan, "out": str(tmp_path / "whole")}).run()
    told = []

    def stop(event, details):
        told.append(event)
        if told.count("batch") == 4:
            raise KeyboardInterrupt

    part = Plan.of({**plan, "out": str(tmp_path / "part")})
    with pytest.raises(KeyboardInterrupt):
        part.run(stop)
    again = part.run()
    assert again.record.header["resumed"] == 1
    assert again.status == "done"
    assert content(again).equals(content(whole))


# Keyed -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cells(site):
    """Gives the addresses of all cells of four plans, by plan and method, as they are now."""
    common = {"data": "digits", "take": 5}
    evasion = {"model": "zoo:digits-plain", "threat": "linf 0.1"}
    plans = {
        "digits": {**common, **evasion, "attacks": "backtracking(steps=2), pgd(steps=2)", "certify": "network(verifiers=[ibp]), network(verifiers=[fast_lip])"},
        "pointers": {**evasion, "data": "pointers", "take": 5, "model": "zoo:pointers-net", "attacks": "pgd(steps=2)"},
        "multiplicity": {**common, "aim": "multiplicity", "fit": "linear"},
        "penalty": {**common, "aim": "multiplicity", "fit": 'recipe("gradient_penalty", epochs=1)'},
    }
    cases = {name: Plan.of(plan).cases() for name, plan in plans.items()}

    def now():
        found = [(name, cell) for name, several in cases.items() for case in several for cell in case.cells(Settings(cascade=False))]
        return {(name, cell.say.partition("(")[0] + (" fast_lip" if "fast_lip" in cell.say else "")): cell.key for name, cell in found}

    return now


EVERY_MULTIPLICITY = {(plan, name) for plan in ("multiplicity", "penalty") for name in ("once", "reseed", "leave_out", "same_seed")}
PENALTY = {pair for pair in EVERY_MULTIPLICITY if pair[0] == "penalty"}
ANGLES = {("pointers", "clean"), ("pointers", "pgd")}
USES = {
    "__init__.py": ANGLES | EVERY_MULTIPLICITY | {("digits", "backtracking"), ("digits", "network fast_lip")},
    "angle.py": ANGLES,
    "circle.py": ANGLES,  # by a relative import
    "search/__init__.py": {("digits", "backtracking")},
    "search/backtracking.py": {("digits", "backtracking")},
    "search/line.py": {("digits", "backtracking")},  # by a relative import inside of a subpackage
    "fast_lip.py": {("digits", "network fast_lip")},
    "slopes.py": {("digits", "network fast_lip")},  # by `import sparring_example.slopes as steepness`
    "gradient_penalty.py": PENALTY,
    "norms.py": PENALTY,  # imported in a function
    "multiplicity/__init__.py": EVERY_MULTIPLICITY,
    "multiplicity/aim.py": EVERY_MULTIPLICITY,
    "multiplicity/methods.py": {pair for pair in EVERY_MULTIPLICITY if pair[1] != "once"},
    "multiplicity/retraining.py": EVERY_MULTIPLICITY,
    "multiplicity/ambiguity.py": set(),  # counts rows that are there
    "compass.py": set(),  # draws them
    "pointers.py": set(),  # its images and its weights are hashed by content
}
"""From each file of the example to the cells whose rows it decides."""


@pytest.fixture(scope="module")
def addresses(cells):
    """All addresses before any edit."""
    return cells()


def edited(file, text):
    before = file.stat().st_mtime_ns
    file.write_text(text)
    os.utime(file, ns=(time.time_ns(), before + 1_000_000))


@pytest.mark.parametrize("name", USES)
def test_an_edit_changes_the_address_of_what_uses_it(name, site, cells, addresses):
    """Of exactly these cells, whether the file is used by a relative import, under another name, from a subpackage or late."""
    file = site / "sparring_example" / name
    text = file.read_text()
    try:
        edited(file, f"{text}\nedited = 1\n")
        now = cells()
    finally:
        edited(file, text)
    assert {cell for cell in addresses if now[cell] != addresses[cell]} == USES[name]


@pytest.mark.parametrize("name", [name for name in USES if not name.endswith("__init__.py")])
def test_comments_and_docstrings_change_nothing(name, site, cells, addresses):
    file = site / "sparring_example" / name
    text = file.read_text()
    assert text.startswith('"""')
    try:
        edited(file, f'# A comment.\n"""Another text."""\n{text.split(chr(34) * 3, 2)[2]}\n# The end.\n')
        assert cells() == addresses
    finally:
        edited(file, text)


def test_every_file_of_the_example_is_in_the_table(site):
    package = site / "sparring_example"
    assert {str(file.relative_to(package)) for file in package.rglob("*.py")} == set(USES)


# Laws ------------------------------------------------------------------------------------------------------------------


OF_KIND = {
    "task": [law for name, law in vars(test_answers).items() if name.startswith("test_")],
    "verifier": [law for name, law in vars(test_verifiers).items() if name.startswith("test_")],
    "aim": [test_registered.test_an_aim_names_what_exists],
    "method": [test_registered.test_a_method_belongs_to_an_aim],
    "metric": [test_registered.test_a_metric_of_nothing],
    "section": [test_registered.test_a_section_of_nothing],
    "recipe": [test_registered.test_a_recipe_trains],
    "attack": [test_docstrings.test_every_setting_of_an_attack_is_described],
}
"""Laws that are quick enough to be called here; the test below runs all of them in a process of its own."""


@pytest.mark.parametrize("kind", THINGS)
def test_quick_laws_hold(kind, site):
    name = THINGS[kind]
    test_registered.test_it_is_listed_with_a_sentence(kind, name)
    for law in OF_KIND.get(kind, []):
        if law is test_verifiers.test_its_verdicts_hold:
            for network in ("dense", "convolution"):
                law(name, network, 0.1)
        else:
            law(name)


@pytest.mark.parametrize("file", sorted(one.relative_to(EXAMPLE / "src").as_posix() for one in (EXAMPLE / "src").rglob("*.py")))
def test_first_lines_are_sentences(file):
    """Of every public definition of the example, as of ours."""
    path = EXAMPLE / "src" / file
    wrong = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_") and (text := ast.get_docstring(node)):
            wrong += [f"{node.name}: {found}" for found in [test_docstrings.complaint(text)] if found]
    assert not wrong


@pytest.mark.slow
def test_all_laws_are_collected_for_an_installed_plugin(tmp_path):
    """In a process of its own, with the package found by its entry point: every law that names one of its things passes."""
    folder = install(tmp_path / "site")
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{folder}", "OMP_NUM_THREADS": "1"}
    chosen = " or ".join(name.replace("-", " and ") for name in THINGS.values())
    words = ["-m", "pytest", "tests/laws", "-p", "no:xdist", "-p", "no:cacheprovider", "-q", "-k", chosen]
    ended = subprocess.run([sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-3000:]
    assert int(ended.stdout.split(" passed")[0].split()[-1]) > 100
