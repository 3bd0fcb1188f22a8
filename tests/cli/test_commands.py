"""Every command on the tiny embedded data: what it prints, what it writes and the code it ends with."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from killing import before_search

from sparring.bench.plan import NAMED
from sparring.bench.run import Run
from sparring.core.registry import everything
from sparring.records.record import Record

SOURCES = Path(__file__).parents[2] / "src"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SOURCES), "OMP_NUM_THREADS": "1"}
ESCAPE = "\x1b"


@pytest.fixture
def drawn():
    """For tests that want the real report."""


@pytest.fixture(autouse=True)
def _quick_report(request, monkeypatch):
    """Reports have tests of their own and take longer than all else here: an empty page stands for them unless `drawn` is asked for."""

    def write(record, path=None):
        record.store.write("report.html", b"")
        return f"{record.store.url}/report.html"

    if "drawn" not in request.fixturenames:
        monkeypatch.setattr("sparring.bench.run.write_report", write)


@pytest.fixture
def run(spar, tiny):
    """A finished tiny run under runs/; its folder."""
    said = spar("run", *tiny, "--quiet")
    assert said.code == 0, said.err
    (found,) = Path("runs").iterdir()
    return found


def content(folder):
    """The table of a run without what may differ between equal runs."""
    return Record.open(folder).table().drop(columns="seconds").sort_values(["case", "attack", "position"], ignore_index=True)


def parts(folder):
    """Name -> time of change of every part."""
    return {str(part): part.stat().st_mtime_ns for part in Path(folder).glob("cells/*/*")}


# run -------------------------------------------------------------------------------------------------------------------


def test_run_says_the_numbers(spar, tiny, drawn):
    """The table has clean and robust accuracy with their interval; record and report are where it says."""
    said = spar("run", *tiny)
    assert said.code == 0
    for word in ("digits-plain · linf", "95.0%", "35.0%", "18.1% to 56.7%", "fgsm 12"):
        assert word in said.out
    record, report = (re.search(rf"^{what} (\S+)$", said.out, re.MULTILINE)[1] for what in ("record", "report"))
    assert Path(record, "run.json").is_file()
    assert Path(report).read_text().startswith("<!doctype html>")


def test_what_is_piped_has_no_escape_codes(spar, tiny):
    """Neither standard output nor standard error, and what is told on the way goes to standard error."""
    said = spar("run", *tiny)
    assert ESCAPE not in said.out + said.err
    assert said.err.splitlines() == [f"record {next(Path('runs').iterdir())}", "case digits-plain · linf 0.1"]


def test_run_json_is_one_document(spar, tiny):
    """Standard output holds the document and nothing else; standard error nothing."""
    said = spar("run", *tiny, "--json")
    found = json.loads(said.out)
    assert said.err == ""
    assert (found["status"], found["exit"]) == ("done", 0)
    (case,) = found["cases"]
    assert case["robust_accuracy"]["n"] == 20
    assert case["fell_to"] == {"fgsm": 12, "noise(tries=3)": 0}  # the sample that noise breaks fell to the search


def test_quiet_says_nothing(spar, tiny):
    """The code tells."""
    assert spar("run", *tiny, "--quiet") == (0, "", "")


def test_the_same_command_does_nothing_twice(spar, tiny):
    """No new part, no part written again, the same table; the header counts."""
    first = spar("run", *tiny)
    (folder,) = Path("runs").iterdir()
    before, table = parts(folder), content(folder)
    second = spar("run", *tiny)
    assert (second.code, second.out) == (first.code, first.out)
    assert parts(folder) == before
    pd.testing.assert_frame_equal(content(folder), table)
    assert Record.open(folder).header["resumed"] == 1


def test_flags_and_keys_are_the_same_words(spar, run, tiny):
    """`--take 20`, `--take=20` and `take=20` are one plan: the run is there already."""
    words = [word for one in tiny for word in ("--" + one.split("=", 1)[0], one.split("=", 1)[1])]
    assert spar("run", *words, "--quiet").code == 0
    assert spar("run", *("--" + one for one in tiny), "--quiet").code == 0
    assert list(Path("runs").iterdir()) == [run]


def test_words_override_the_plan_file(spar, run, tiny):
    """A plan of the same keys is the same run; a word changes it."""
    keys = dict(one.split("=", 1) for one in tiny)
    Path("plan.yaml").write_text(json.dumps({**keys, "take": 7}))
    assert spar("run", "plan.yaml", "take=20", "--quiet").code == 0
    assert list(Path("runs").iterdir()) == [run]
    assert spar("run", "plan.yaml", "--quiet").code == 0
    assert len(list(Path("runs").iterdir())) == 2


def test_the_stored_plan_can_be_run_again(spar, run):
    """The resolved plan in run.json leads to the same run."""
    plan = json.loads((run / "run.json").read_text())["plan"]
    Path("again.yaml").write_text(json.dumps(plan))
    assert spar("run", "again.yaml", "--quiet").code == 0
    assert list(Path("runs").iterdir()) == [run]


def test_lists_multiply_and_evaluations_add_up(spar):
    """Two models x two threats are four cases; evaluations of one plan share the run."""
    plan = {
        "attacks": "fgsm",
        "evaluations": [
            {"model": ["zoo:digits-plain", "zoo:digits-robust"], "data": "digits", "threat": ["linf 0.05", "l2 0.5"], "take": 10},
            {"model": "zoo:breast-cancer-forest", "data": "breast-cancer", "threat": "linf 0.1", "attacks": "noise(tries=2)", "take": 5},
        ],
    }
    Path("plan.yaml").write_text(json.dumps(plan))
    found = json.loads(spar("run", "plan.yaml", "--json").out)
    names = [f"{model} · {threat}" for model in ("digits-plain", "digits-robust") for threat in ("linf 0.05", "l2 0.5")]
    assert [case["case"] for case in found["cases"]] == [*names, "breast-cancer-forest · linf 0.1"]
    assert [case["clean_accuracy"]["n"] for case in found["cases"]] == [10, 10, 10, 10, 5]


def test_keys_are_listed(spar):
    """Every key of a plan with what it means, and nothing is run."""
    from sparring.bench.plan import Plan

    said = spar("run", "--keys")
    assert said.code == 0
    assert [line.split()[0] for line in said.out.splitlines() if not line.startswith(" ")] == list(Plan.model_fields)
    assert not Path("runs").exists()


@pytest.mark.parametrize("key", NAMED)
def test_keys_list_what_is_registered(key, spar):
    """Every threat, goal, aim and data set stands beside its key, and no list of them is kept by hand."""
    meaning = f"\n{spar('run', '--keys').out}".partition(f"\n{key} ")[2]
    told = " ".join(meaning.partition("known: ")[2].split())
    names = [name for kind in NAMED[key] for name in everything(kind)]
    assert told.startswith(", ".join(names))


# codes -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("metric", "above", "code", "word"), [("robust", -0.005, 0, "met"), ("robust", 0.005, 1, "MISSED"), ("clean", -0.005, 0, "met")])
def test_a_gate_is_judged_on_the_lower_end(spar, tiny, run, metric, above, code, word):
    """A rule just below the lower end of the interval is met, one just above it is missed, though the rate itself is above both; by `run` and by `gate`."""
    done = Run.open(run)
    rate = done.robust_accuracy if metric == "robust" else done.clean_accuracy
    assert 0.01 < rate.low < rate.value - 0.01
    rule = f"{metric}_accuracy >= {rate.low + above:.4f}"
    first = spar("run", *tiny, f"gate={rule}")
    assert (first.code, word in first.out) == (code, True)
    assert f"lower end {rate.low:.1%}" in first.out
    assert spar("gate").code == code
    other = spar("gate", "last", "--rule", rule)
    assert other.code == code
    assert other.out.startswith(word)


def test_several_rules_must_all_be_met(spar, run):
    """One that is missed decides; --json and --quiet say the same."""
    rules = ("--rule", "clean_accuracy >= 0.5", "--rule", "robust_accuracy[linf 0.1] >= 0.9")
    assert [line.split()[0] for line in spar("gate", "last", *rules).out.splitlines()] == ["met", "MISSED"]
    said = spar("gate", "last", *rules, "--json")
    assert said.code == 1
    assert [one["met"] for one in json.loads(said.out)] == [True, False]
    assert spar("gate", "last", *rules, "--quiet") == (1, "", "")
    assert spar("gate", "last", *rules[:2], "--quiet") == (0, "", "")


def test_an_attack_that_fails_ends_with_3(spar, tiny):
    """Its rows are errors with the reason, the others stay as they are, and the run goes on to its end."""

    def explode(problem):
        raise RuntimeError("out of memory")

    with before_search("fgsm", explode):
        said = spar("run", *tiny)
    (folder,) = Path("runs").iterdir()
    rows = content(folder)
    assert said.code == 3
    assert Record.open(folder).header["status"] == "done"
    failed = rows[(rows.attack == "fgsm") & (rows.status != "skipped")]
    assert set(failed.status) == {"error"}
    assert set(failed.note) == {"RuntimeError: out of memory"}
    assert set(rows[rows.attack == "noise(tries=3)"].status) == {"held", "broken", "skipped"}
    assert spar("show", "--quiet").code == 3


def test_an_interrupted_run_goes_on(spar, tiny, run):
    """Ctrl-C in the middle: code 130, status interrupted, a record that can be read; the same command completes it."""
    whole, seen = content(run), []

    def interrupt(problem):
        seen.append(len(problem))
        if len(seen) == 3:
            raise KeyboardInterrupt

    words = (*tiny, "batch=4", "out=other")
    with before_search("fgsm", interrupt):
        said = spar("run", *words)
    (folder,) = Path("other").iterdir()
    assert said.code == 130
    assert said.err.splitlines()[-1] == "interrupted: the record is valid; run the same command again to continue"
    assert Record.open(folder).header["status"] == "interrupted"
    assert 0 < len(content(folder)) < len(whole)
    assert spar("show", folder).code == 3
    assert spar("gate", folder, "--rule", "robust_accuracy >= 0").code == 3
    assert spar("run", *words, "--quiet").code == 0
    pd.testing.assert_frame_equal(content(folder).drop(columns="cell"), whole.drop(columns="cell"), rtol=1e-4, atol=1e-6)


def test_a_slip_of_ours_is_no_missed_gate(spar, tiny, monkeypatch):
    """An exception nobody foresaw shows its traceback and ends with 3, not with Python's 1."""
    monkeypatch.setattr("sparring.bench.plan.Plan.cases", lambda plan: 1 / 0)
    said = spar("run", *tiny)
    assert said.code == 3
    assert "ZeroDivisionError" in said.err


# shards ----------------------------------------------------------------------------------------------------------------


def test_two_shards_merged_are_the_whole(spar, tiny, drawn):
    """Each worker ends with 3 (partial); merged they are the run of one worker, with a report."""
    words = (*tiny, "batch=4")
    assert spar("run", *words, "out=whole", "--quiet").code == 0
    for turn in (1, 2):
        assert spar("run", *words, f"out=part{turn}", f"shard={turn}/2", "--quiet").code == 3
    (whole,), (one,), (two,) = (list(Path(name).iterdir()) for name in ("whole", "part1", "part2"))
    assert whole.name == one.name == two.name
    assert len(content(one)) + len(content(two)) == len(content(whole))
    said = spar("merge", one, two)
    assert said.code == 0
    assert "35.0%" in said.out
    pd.testing.assert_frame_equal(content(one), content(whole))
    assert Record.open(one).header["status"] == "done"
    assert (one / "report.html").stat().st_size > 10000
    assert [cell.name for cell in sorted(one.glob("cells/*/points/*"))] == [cell.name for cell in sorted(whole.glob("cells/*/points/*"))]


def test_shards_of_one_store_need_no_merge(spar, tiny):
    """Two workers on one folder: the second ends with 0."""
    words = (*tiny, "batch=4")
    assert spar("run", *words, "shard=2/2", "--quiet").code == 3
    assert spar("run", *words, "shard=1/2", "--quiet").code == 0


def test_other_runs_do_not_merge(spar, tiny):
    """Only shards of one run do: code 3 and both names."""
    spar("run", *tiny, "out=a", "--quiet")
    spar("run", *tiny, "seed=1", "out=b", "--quiet")
    (one,), (two,) = (list(Path(name).iterdir()) for name in "ab")
    before = parts(one)
    said = spar("merge", one, two)
    assert said.code == 3
    assert "merge only shards of one run" in said.err
    assert parts(one) == before


# show, report, ls, doctor, new -----------------------------------------------------------------------------------------


def test_show_repeats_the_table(spar, run, tiny):
    """The last run, a path and the beginning of a name are the same run; the numbers are those of `run`."""
    first = spar("run", *tiny).out.split("\nreport")[0]
    for which in ((), ("last",), (run,), (run.name[:5],)):
        said = spar("show", *which)
        assert said.code == 0
        assert said.out.split("\nrecord")[0] == first.split("\nrecord")[0]
    assert json.loads(spar("show", "--json").out)["cases"][0]["case"] == "digits-plain · linf 0.1"
    assert spar("show", "--quiet") == (0, "", "")


def test_show_one_sample(spar, run):
    """One row for every attack; --json has all columns."""
    said = spar("show", "last", "--sample", "digits/test/00002")
    assert said.code == 0
    assert len(said.out.splitlines()) == 4
    rows = json.loads(spar("show", "last", "--sample", "digits/test/00002", "--json").out)
    assert [row["attack"] for row in rows] == ["clean", "fgsm", "noise(tries=3)"]
    assert spar("show", "last", "--sample", "digits/test/00002", "--quiet") == (0, "", "")


def test_report_is_written_where_asked(drawn, spar, run):
    """In the run folder, or at -o, folders made; the same record gives the same bytes."""
    (run / "report.html").unlink()
    assert spar("report").out.strip() == f"{run}/report.html"
    assert spar("report", "last", "-o", "deep/er/page.html").code == 0
    assert Path("deep/er/page.html").read_bytes() == (run / "report.html").read_bytes()
    assert json.loads(spar("report", run, "--json").out) == {"report": f"{run}/report.html"}
    assert spar("report", "--quiet") == (0, "", "")


KINDS = {
    "attacks": "pgd",
    "models": "digits-plain",
    "data": "digits",
    "threats": "linf",
    "losses": "ce",
    "checks": "zero_gradients",
    "domains": "image",
    "sections": None,
    "adapters": "torch",
    "certifiers": "network",
    "verifiers": "crown",
    "readers": "npz",
}


@pytest.mark.parametrize("kind", KINDS)
def test_ls(spar, kind):
    """Names with a line on what each does; --json, --quiet and a pattern."""
    said = spar("ls", kind)
    rows = json.loads(spar("ls", kind, "--json").out)
    names = [row["name"] for row in rows]
    assert said.code == 0
    assert rows
    assert KINDS[kind] is None or KINDS[kind] in names
    assert ESCAPE not in said.out
    assert all(row["does"].strip() for row in rows), [row for row in rows if not row["does"].strip()]
    assert spar("ls", kind, "--quiet").out.split() == names
    assert spar("ls", kind, f"{names[0][:2]}*", "--quiet").out.split()[0] == names[0]
    assert spar("ls", kind, "no such thing", "--json").out.strip() == "[]"


def test_ls_rungs(spar):
    """The word that verifiers had before is understood."""
    old, new = spar("ls", "rungs"), spar("ls", "verifiers")
    assert (old.code, old.out) == (0, new.out)
    assert old.err == "rungs are now called verifiers: spar ls verifiers\n"


def test_ls_runs(spar, run):
    """Runs with their status; none where there is no folder."""
    (row,) = json.loads(spar("ls", "runs", "--json").out)
    assert (row["name"], row["status"], row["cases"]) == (run.name, "done", "digits-plain · linf 0.1")
    assert run.name in spar("ls", "runs").out
    assert spar("ls", "runs", "--out", "elsewhere", "--json").out.strip() == "[]"
    assert "nothing found" in spar("ls", "runs", "--out", "elsewhere").out


def test_doctor(spar):
    """Every check with its verdict; a sound model ends with 0, one without gradients with 1."""
    words = ("doctor", "zoo:digits-robust", "data=digits", "take=20")
    said = spar(*words)
    found = json.loads(spar(*words, "--json").out)
    assert said.code == 0
    codes = [one["code"] for one in found["checks"]]
    assert codes[:9] == [f"D{number}" for number in range(1, 10)]
    assert all(code in said.out for code in codes)
    assert found["trust"] in ("reliable", "caution")
    assert spar(*words, "--quiet") == (0, "", "")
    Path("mine.py").write_text(
        "from torch import nn\n\n\nclass Flat(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.line = nn.Linear(64, 10)\n\n"
        "    def forward(self, x):\n        return self.line(x.detach().flatten(1))\n\n\ndef flat():\n    return Flat()\n"
    )
    said = spar("doctor", "mine:flat", "data=digits", "take=20")
    assert said.code == 1
    assert "unreliable" in said.out
    assert not Path("runs").exists()


def test_new_writes_an_attack_that_works(spar):
    """The file it writes is found through an entry point, listed, run and judged, with no other edit."""
    Path("plugin").mkdir()
    said = spar("new", "attack", "novelty", "--folder", "plugin")
    assert said.code == 0
    assert said.out.splitlines()[0] == "plugin/novelty.py"
    again = spar("new", "attack", "novelty", "--folder", "plugin")
    assert (again.code, "exists already" in again.err) == (2, True)
    assert json.loads(spar("new", "attack", "other", "--folder", "plugin", "--json").out) == {"written": "plugin/other.py"}
    Path("plugin/other.py").unlink()
    about = Path("plugin/novelty-1.0.dist-info")
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: novelty\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[sparring]\nnovelty = novelty\n")
    program = """
import sys
from sparring.core.registry import find
import sparring as sp, torch
novelty = find("attack", "novelty")
data = sp.load("digits", take=20)
from sparring.models.zoo import digits_plain
victim = sp.victim(digits_plain(), data.domain)
one, two = (sp.attacks.novelty(victim, data.x, data.y, sp.linf(0.2), steps=4, batch=batch) for batch in (20, 3))
assert torch.equal(one, two), "batches show"
assert float((one - data.x).abs().max()) <= 0.2 + 1e-6, "outside"
assert torch.equal(sp.attacks.novelty(victim, data.x, data.y, sp.linf(0.0)), data.x), "moves at radius 0"
run = sp.evaluate(victim, data, sp.linf(0.3), ["novelty(steps=4)"])
print(sum(run.table().query("attack != 'clean'").status == "broken"), run.status)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], env={**ENVIRONMENT, "PYTHONPATH": f"{SOURCES}{os.pathsep}plugin"}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    broken, status = ended.stdout.split()
    assert int(broken) > 0
    assert status == "done"


# before torch ----------------------------------------------------------------------------------------------------------


HEAVY = {"torch", "numpy", "pandas", "sklearn", "scipy", "pyarrow", "matplotlib"}


@pytest.mark.parametrize("program", ["import sparring", "import sys; sys.argv = ['spar', '--help']; from sparring.cli.app import main; main()"])
def test_help_comes_without_torch(program):
    """Neither `import sparring` nor `spar --help` imports torch or anything else that is slow."""
    watch = f"import atexit, sys; atexit.register(lambda: print('loaded', sorted({HEAVY} & set(sys.modules))));"
    ended = subprocess.run([sys.executable, "-c", watch + program], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "loaded []"


SLIPS = {
    "run mdoel=x": "unknown plan key 'mdoel': did you mean model?",
    "run model=zoo:digits-plain data=digits thraet=x": "unknown plan key 'thraet': did you mean threat",
    "run take=many": "plan key 'take' = 'many': give a whole number",
    "run seed=-1": "plan key 'seed' = -1: give a whole number of at least 0",
    "run none.yaml": "plan none.yaml does not exist",
    "run eps=8": "unknown plan key 'eps'",
    "doctor zoo:digits-plain dtaa=digits": "unknown plan key 'dtaa'",
    "certify mdoel=x": "unknown plan key 'mdoel'",
    "harden model=zoo:digits-plain": "spar harden needs data=",
    "frobnicate": "No such command 'frobnicate'",
    "ls atacks": "unknown kind 'atacks': did you mean attacks",
}
"""Words of a command, and what is answered to them."""


def test_slips_are_answered_before_torch_is_imported(tmp_path):
    """All in one process: what one of them imported would be there for the next."""
    program = f"""
import contextlib, io, sys
from sparring.cli.app import main
for words in {list(SLIPS)!r}:
    sys.argv = ["spar", *words.split()]
    with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.suppress(SystemExit):
        main()
    print("torch" in sys.modules, said.getvalue().strip())
"""
    ended = subprocess.run([sys.executable, "-c", program], env=ENVIRONMENT, cwd=tmp_path, capture_output=True, text=True, check=True)
    for line, sentence in zip(ended.stdout.splitlines(), SLIPS.values(), strict=True):
        assert line.startswith("False spar: ")
        assert sentence in line


def test_no_words_are_a_call_for_help(spar):
    """`spar` alone prints what `spar --help` prints, with code 0; every command has an example."""
    alone, asked = spar(), spar("--help")
    assert alone == asked
    assert alone.code == 0
    for command in ("run", "certify", "check-proof", "harden", "doctor", "ls", "show", "report", "gate", "merge", "new"):
        assert command in alone.out
        said = spar(command, "--help")
        assert said.code == 0
        assert f"spar {command}" in " ".join(said.out.split())
        assert "--json" in said.out
        assert "--quiet" in said.out
