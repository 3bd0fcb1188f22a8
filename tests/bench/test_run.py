"""What a run gives back, where it may lie, and what stands beside its numbers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import fsspec
import pandas as pd
import pytest

import sparring as sp
from sparring.bench.environment import environment
from sparring.records.record import ROW


def test_columns_of_the_table(whole):
    """Case, model, data, threat, attack and cell, then the columns of the record; a row for every sample and attack."""
    table = whole.table()
    assert table.columns.tolist() == ["case", "model", "data", "threat", "attack", "cell", *ROW.names]
    assert len(table) == 20 * 4
    assert table.groupby("attack").id.nunique().tolist() == [20] * 4
    assert set(table.model) == {"digits-plain"}
    assert set(table.threat) == {"linf 0.1"}
    assert str(table.position.dtype).lower() == "int64"
    assert table.queries.ge(0).all()
    assert table[table.status != "skipped"]["size"].le(0.1 * (1 + 1e-6)).all()


def test_rates_are_those_of_the_table(whole):
    """Clean and robust accuracy counted by hand from the rows."""
    table = whole.table()
    clean = table[(table.attack == "clean") & (table.status == "held")].id
    broken = table[(table.attack != "clean") & (table.status == "broken")].id
    assert whole.clean_accuracy.value == len(clean) / 20
    assert whole.robust_accuracy.value == len(set(clean) - set(broken)) / 20
    (row,) = whole.summary()
    assert sum(row["fell_to"].values()) == len(set(broken))
    assert row["forwards"] == table.forwards.sum()
    json.dumps(whole.summary())


def test_without_cascade_the_matrix_is_complete(small, tmp_path, whole):
    """Every attack sees every sample that is right without attack; a sample is robust where none breaks it, as in the cascade."""
    run = small(cascade=False, out=str(tmp_path)).run()
    table = run.table()
    right = set(table[(table.attack == "clean") & (table.status == "held")].id)
    attacked = table[table.attack != "clean"]
    for _, rows in attacked.groupby("attack"):
        assert set(rows[rows.status != "skipped"].id) == right
        assert set(rows[rows.status == "skipped"].note) == {"wrong without attack"}
    assert not attacked.note.str.startswith("broken by").any()
    assert whole.table().note.str.startswith("broken by").any()
    fallen = [set(one.table()[one.table().status.eq("broken") & one.table().attack.ne("clean")].id) for one in (run, whole)]
    assert fallen[0] == fallen[1]


def test_the_environment_is_plain_json():
    """Versions, processor, threads; nothing that needs this process to be read."""
    found = environment()
    assert json.loads(json.dumps(found)) == found
    assert found["packages"]["torch"].split(".")[0].isdigit()
    assert found["python"] == sys.version.split()[0]
    assert found["threads"] == 1


def test_the_header_tells_what_was_done(whole):
    """Plan, command, environment, versions of every model and data set, and the checks."""
    header = json.loads(whole.record.store.read("run.json"))
    assert header["status"] == "done"
    assert header["plan"]["attacks"] == ["noise(tries=3)", "fgsm", "square(queries=20)"]
    (case,) = header["cases"]
    assert len(case["model"]["sha256"]) == len(case["data"]["sha256"]) == 64
    assert case["data"]["licence"].startswith("CC BY")
    assert [cell["attack"]["say"] for cell in case["cells"]] == ["clean", "fgsm", "square(queries=20)", "noise(tries=3)"]  # the control last
    assert len(case["checks"]) >= 9
    assert header["started"] <= header["ended"]


def test_a_run_may_lie_in_any_store(small, rows, whole):
    """On memory:// as on a disk: the same table, resumed, judged, with a report; no file here."""
    files = fsspec.filesystem("memory")
    try:
        run = small(out="memory://there/runs", gate="clean_accuracy >= 0.5").run()
        pd.testing.assert_frame_equal(rows(run), rows(whole))
        first = sorted(files.find("/there"))
        again = small(out="memory://there/runs").run()
        assert sorted(files.find("/there")) == first
        assert again.record.header["resumed"] == 1
        opened = sp.Run.open(run.path)
        pd.testing.assert_frame_equal(rows(opened), rows(whole))
        assert opened.report() == f"{run.path}/report.html"
        assert files.cat_file(run.path.removeprefix("memory:/") + "/report.html").startswith(b"<!doctype html>")
    finally:
        files.rm("/there", recursive=True)


def test_points_are_kept_as_asked(small, tmp_path):
    """None, some of each batch, all; always of the right samples."""
    kept = {}
    for points in ("none", "gallery", "all"):
        run = small(points=points, out=str(tmp_path / points)).run()
        table = run.table()
        for cell, part in table[table.attack == "fgsm"].groupby("cell"):
            stored = run.record.points(cell)
            kept[points] = len(stored.ids)
            assert set(stored.ids) <= set(part[part.status != "skipped"].id)
            assert len(stored.ids) == len(stored.before) == len(stored.after)
            if points == "all":
                assert set(stored.ids) == set(part[part.status != "skipped"].id)
    assert kept["none"] == 0 < kept["gallery"] <= kept["all"]


def test_evaluate_is_the_plan_in_python(tmp_path, whole, rows):
    """The same words as arguments give the same rows."""
    from sparring.models.zoo import digits_plain

    data = sp.load("digits", take=20)
    victim = sp.victim(digits_plain(), data.domain, name="digits-plain", search="plain")
    told = []
    run = sp.evaluate(
        victim, data, sp.linf(0.1), ["noise(tries=3)", "fgsm", "square(queries=20)"], certify="none", batch=4, out=tmp_path,
        listen=lambda event, details: told.append(event),
    )  # fmt: skip
    pd.testing.assert_frame_equal(rows(run), rows(whole))
    assert told == ["started", "case", *["batch"] * 20, "ended"]


PLUGIN = '''"""A toy attack in a distribution of its own."""

from sparring.attacks.attack import attack
from sparring.core.problem import Problem


@attack(needs={"labels"}, uses={"corner"}, cites="nobody 2024")
def plugged(problem: Problem, *, tries: int = 3):
    """Asks about some corners.

    tries: corners a sample.
    """
    for k in range(tries):
        live = problem.take(problem.unfinished())
        if len(live):
            live.losses(live.region.corner(live.rng.draw(k)))
    return problem.best()
'''


LISTED_AND_RUN = """
import sys
from sparring.cli.app import main

run = ["run", "model=zoo:digits-plain", "data=digits", "take=20", "threat=linf 0.2", "attacks=plugged(tries=2)", "--json"]
for words in (["ls", "attacks", "plug*", "--json"], run):
    sys.argv = ["spar", *words]
    try:
        main()
    except SystemExit as ended:
        assert ended.code == 0, ended.code
    print("-----")
"""


def test_a_plugin_comes_in_by_its_entry_point(tmp_path):
    """Installed beside Sparring it is listed and run, with no other edit."""
    site = tmp_path / "site"
    about = site / "plug-1.0.dist-info"
    about.mkdir(parents=True)
    (site / "plug.py").write_text(PLUGIN)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: plug\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[sparring]\nplug = plug\n")
    sources = Path(__file__).parents[2] / "src"
    environment = {**os.environ, "PYTHONPATH": f"{sources}{os.pathsep}{site}", "OMP_NUM_THREADS": "1"}

    ended = subprocess.run([sys.executable, "-c", LISTED_AND_RUN], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    listed, run = (json.loads(part) for part in ended.stdout.split("-----")[:2])
    assert [(row["name"], row["does"]) for row in listed] == [("plugged", "Asks about some corners.")]
    assert run["cases"][0]["fell_to"]["plugged(tries=2)"] > 0


@pytest.mark.parametrize("shard", ["1/2", "2/2"])
def test_a_shard_is_partial(small, tmp_path, shard, whole, rows):
    """It does its batches and says so; its rows are those of the whole run."""
    run = small(shard=shard, out=str(tmp_path)).run()
    assert run.status == "partial"
    mine, other = rows(run), rows(whole)
    assert {position // 4 % 2 for position in mine.position} == {int(shard[0]) - 1}
    pd.testing.assert_frame_equal(mine, other[other.position.isin(mine.position)].reset_index(drop=True))


def test_a_control_that_is_listed_first_is_no_search(tmp_path):
    """Wherever noise is written, a sample that a search breaks fell to the search, and noise beside it is no alarm."""
    from sparring.bench.plan import Plan
    from sparring.report.lights import trust
    from sparring.report.view import View

    plan = {"model": "zoo:digits-plain", "data": "digits", "take": 30, "threat": "linf 0.2", "attacks": "noise(tries=20), pgd(steps=20)"}
    run = Plan.of({**plan, "out": str(tmp_path)}).run()
    (case,) = run.summary()
    alone = run.table()
    assert (alone[alone.attack == "noise(tries=20)"].status == "broken").any()
    assert case["fell_to"]["noise(tries=20)"] == 0
    assert case["fell_to"]["pgd(steps=20)"] > 0
    assert trust(View.of(run.record)).word == "reliable"
