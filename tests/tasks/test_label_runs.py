"""Sets of labels through `spar run`: killed and resumed, measured by their metrics, judged by gates, told in the report."""

import json
import random
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from killing import assert_same, killer, parts
from sklearn.metrics import f1_score, hamming_loss

from sparring.bench.plan import Plan
from sparring.bench.run import Run
from sparring.cli.app import main
from sparring.cli.summary import print_run
from sparring.core.errors import PlanError
from sparring.records.record import Record
from sparring.tasks.labels import labels

ROOT = Path(__file__).parents[2]
SPACE = "\N{NO-BREAK SPACE}"
NAMES = ["sky", "sea", "<b>land</b>", "snow"]

MODULE = """
import torch
from torch import nn


def tiny():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 4))
    with torch.no_grad():
        net[3].weight.mul_(8)
        net[3].bias.copy_(torch.tensor([0.1, -0.6, 0.3, 0.2]))
    return net.eval()
"""

PLAN = {
    "model": "tiny_labels:tiny",
    "data": "views.npz",
    "task": 'labels(share=0.75, names=["sky", "sea", "<b>land</b>", "snow"])',
    "threat": "linf 0.1",
    "attacks": ["noise(tries=2)", "pgd(steps=5)", "pgd(steps=5, loss=margin)"],
    "batch": 2,
    "search": "plain",
    "points": "all",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a model and pictures: the truth is what the model answers, a tenth of the labels apart, and some labels are not known."""
    folder = tmp_path_factory.mktemp("labels")
    (folder / "tiny_labels.py").write_text(MODULE)
    rng = torch.Generator().manual_seed(1)
    pixels = (torch.rand(12, 1, 6, 6, generator=rng) * 255).round().to(torch.uint8)
    truth = asked(pixels.float() / 255)
    drawn = torch.rand(truth.shape, generator=rng).numpy()
    truth = np.where(drawn < 0.1, 1 - truth, truth)
    truth = np.where(drawn > 0.95, -1, truth)
    np.savez(folder / "views.npz", x=pixels[:, 0].numpy(), y=truth.astype(np.int8))
    return folder


def asked(points):
    """The sets that the model of MODULE answers."""
    names: dict = {}
    exec(MODULE, names)
    with torch.no_grad():
        return (names["tiny"]()(points) > 0).long().numpy()


@pytest.fixture
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.delitem(sys.modules, "tiny_labels", raising=False)
    return place


@pytest.fixture(scope="module")
def whole(place):
    """The run that nobody interrupted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        return Run.open(Plan.of({**PLAN, "out": str(place / "whole")}).run().path)


@pytest.mark.slow
@pytest.mark.parametrize("moment", [0, 1])
def test_killed_and_resumed_it_gives_the_same_record(moment, here, whole, tmp_path):
    """`kill -9` after some number of parts, then the same plan: the rows, sets and inputs of a run that nobody touched."""
    most, rng = parts(here / "whole"), random.Random(moment)
    assert most == 4 * 6
    with killer(PLAN, here) as kill:
        kill(tmp_path, rng.randint(1, most - 2))
    (folder,) = tmp_path.iterdir()
    assert Record.open(folder).header["status"] == "interrupted"
    run = Plan.of({**PLAN, "out": str(tmp_path)}).run()
    assert (run.status, run.record.header["resumed"]) == ("done", 1)
    assert_same(run, whole)


def test_the_metrics_are_those_of_the_sets(place, whole):
    """Asked anew of the model on the stored inputs, with the sets of the file, by scikit-learn on the labels that are known."""
    with np.load(place / "views.npz") as archive:
        x, truth = torch.from_numpy(archive["x"])[:, None].float() / 255, archive["y"].astype(int)
    clean, counted = asked(x), truth >= 0
    measured = {one["metric"]: one["value"] for one in whole.summary()[0]["of_the_task"]}
    assert measured["label_accuracy"] == pytest.approx(1 - hamming_loss(truth[counted], clean[counted]))
    assert measured["micro_f1"] == pytest.approx(f1_score(truth[counted], clean[counted]))
    each = [f1_score(truth[counted[:, one], one], clean[counted[:, one], one], zero_division=np.nan) for one in range(4)]
    assert measured["macro_f1"] == pytest.approx(np.nanmean(each))
    fewest = {row: ((clean[row] == truth[row]) & counted[row]).sum() for row in range(len(x))}
    ids = whole.table().drop_duplicates("id").set_index("id").position
    for cell in set(whole.table().cell):
        stored = whole.record.points(cell)
        if stored.ids:
            for name, answer in zip(stored.ids, asked(torch.from_numpy(stored.after).reshape(-1, 1, 6, 6)), strict=True):
                row = int(ids[name])
                fewest[row] = min(fewest[row], ((answer == truth[row]) & counted[row]).sum())
    assert measured["attacked_label_accuracy"] == pytest.approx(sum(fewest.values()) / counted.sum())
    assert measured["attacked_label_accuracy"] < measured["label_accuracy"] - 0.05


def test_a_sample_is_broken_where_too_few_labels_are_right(whole):
    """Less than 75 per cent of those that are known, by the sets on record."""
    table = whole.table()
    judged = table[table.status.isin(["broken", "held"])]
    truth, given = (labels(4).unpack(judged[column].tolist()).numpy() for column in ("wanted", "given"))
    shares = ((truth == given) & (truth >= 0)).sum(1) / (truth >= 0).sum(1)
    assert ((shares < 0.75) == (judged.status == "broken").to_numpy()).all()
    assert 0 < (judged.status == "broken").sum() < len(judged)


def command(monkeypatch, *words):
    """Run `spar` here; return its exit code."""
    monkeypatch.setattr("sys.argv", ["spar", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def settings(**changes):
    return [f"{name}={json.dumps(value) if isinstance(value, list) else value}" for name, value in {**PLAN, **changes}.items()]


@pytest.mark.parametrize(
    ("gate", "code", "word"), [("attacked_label_accuracy >= 0.2", 0, "met"), pytest.param("attacked_macro_f1 >= 0.99", 1, "MISSED", marks=pytest.mark.slow)]
)
def test_gates_and_the_closing_table(here, monkeypatch, capsys, gate, code, word):
    """`spar run` prints the metrics of labels and judges a gate on them on the lower end."""
    assert command(monkeypatch, "run", *settings(out="told", gate=[gate])) == code
    said = capsys.readouterr().out
    assert re.search(rf"gate   {gate}   .*lower end.*{word}", said)
    for name in ("label accuracy", "attacked label accuracy", "macro f1", "attacked micro f1"):
        assert re.search(rf"^ ?{name} +\d", said, flags=re.MULTILINE), said


def test_one_sample_is_shown_in_words(whole, here, monkeypatch, capsys):
    """`spar show --sample` writes sets by the names of their labels, and --json as they are packed."""
    first = whole.table().iloc[0]
    command(monkeypatch, "show", whole.path, "--sample", first.id)
    said = capsys.readouterr().out
    assert "<b>land</b>" in said
    assert first.wanted not in said
    command(monkeypatch, "show", whole.path, "--sample", first.id, "--json")
    assert json.loads(capsys.readouterr().out)[0]["wanted"] == first.wanted


def test_a_gate_of_labels_is_refused_for_classes(tmp_path):
    plan = Plan.of({"model": "zoo:digits-plain", "data": "digits", "take": 4, "threat": "linf 0.1", "gate": "macro_f1 >= 0.1", "out": str(tmp_path)})
    with pytest.raises(PlanError, match="for answers of the kind labels; the models answer classes"):
        plan.run()


def section_of(run, name="labels"):
    """The section of the report, as text with its tags."""
    page = Path(run.report()).read_text()
    assert "could not be rendered" not in page
    found = re.search(rf'<section id="{name}".*?</section>', page, flags=re.DOTALL)
    return found[0].replace(SPACE, " ") if found else ""


def test_the_report_shows_labels(whole):
    """Measures before and after, every label with its name (escaped), and per sample both inputs, the true set and both answers."""
    said = section_of(whole)
    measured = {one["metric"]: one["value"] for one in whole.summary()[0]["of_the_task"]}
    for name in ("label_accuracy", "attacked_label_accuracy", "macro_f1", "attacked_micro_f1"):
        assert f"{100 * measured[name]:.1f} %" in said
    assert "An answer counts as wrong if fewer than 75 % of the labels that count are right." in said
    assert all(f">{name}<" in said for name in ("sky", "sea", "&lt;b&gt;land&lt;/b&gt;", "snow", "prevalence", "largest loss"))
    assert "<b>land" not in said
    cards = re.findall(r"<article.*?</article>", said, flags=re.DOTALL)
    assert len(cards) >= 2
    for card in cards:
        assert re.findall("<figcaption>(.*?)</figcaption>", card) == ["input", "attacked input"]
        assert re.findall("<dt>(.*?)</dt>", card) == ["truth", "answer", "under attack", "Jaccard index", "right labels", "size", "attack"]
    assert re.search(r"\((missing|too many): ", said)
    assert "sky" in section_of(whole, "gallery")


GOALS = [("erase sky", "erase label sky from the answer"), pytest.param("add sea", "add label sea to the answer", marks=pytest.mark.slow)]


@pytest.mark.parametrize(("goal", "wish"), GOALS)
def test_goals_are_told_in_their_own_words(goal, wish, here, tmp_path):
    """Samples for which the goal makes no sense are skipped, and the report says what the adversary wanted."""
    run = Plan.of({**PLAN, "goal": goal, "threat": "linf 0.3", "attacks": "pgd(steps=10)", "out": str(tmp_path)}).run()
    table, place = run.table(), NAMES.index(goal.split()[1])
    truth = labels(4).unpack(table.wanted.tolist())[:, place].numpy()
    assert ((table.note == "the truth already meets the goal, or says nothing about it") == (truth != (1 if goal.startswith("erase") else 0))).all()
    broken = table[(table.status == "broken") & (table.attack != "clean")]
    assert len(broken)
    assert bool((labels(4).unpack(broken.given.tolist())[:, place] == (0 if goal.startswith("erase") else 1)).all())
    page = Path(run.report()).read_text()
    assert f"(goal: {wish})" in page
    assert f"The goal of the adversary: {wish}." in section_of(run)


def test_doctor_reads_the_task(here, monkeypatch, capsys):
    """The plain checks run on sets of labels; none is bad on this network."""
    words = [f"{name}={PLAN[name]}" for name in ("data", "task", "search")]
    assert command(monkeypatch, "doctor", PLAN["model"], *words) == 0
    assert "answers sets of 4 labels" in capsys.readouterr().out


def test_a_case_without_a_sample_for_the_goal_warns(here, tmp_path, capsys):
    """No picture has the label: the run says so, and so does the gate."""
    data = np.load("views.npz")
    np.savez(tmp_path / "none.npz", **{**data, "y": np.where(np.arange(4) == 3, 0, np.maximum(data["y"], 0))})
    plan = {**PLAN, "data": str(tmp_path / "none.npz"), "goal": "erase 3", "attacks": "noise(tries=2)", "gate": "robust_accuracy >= 0.1"}
    run = Plan.of({**plan, "out": str(tmp_path)}).run()
    assert print_run(run, as_json=False, quiet=False) == 1
    said = capsys.readouterr().out
    assert "NaN" not in (Path(run.path) / "run.json").read_text(), "the record is JSON"
    assert print_run(Run.open(run.path), as_json=False, quiet=False) == 1
    assert "nothing to measure" in capsys.readouterr().out
    assert "no sample fits the goal, so nothing was measured" in said
    assert "nothing to measure, because no row fits this rule   MISSED" in said


def test_a_goal_for_an_unknown_label_is_refused(here, tmp_path):
    with pytest.raises(Exception, match=r"there is no label 'cow': the labels are sky, sea"):
        Plan.of({**PLAN, "goal": "add cow", "out": str(tmp_path)}).run()


@pytest.mark.slow
def test_sets_without_pictures(tmp_path):
    """Rows of a table have no pictures; other tasks have no such section."""
    from sklearn.neighbors import KNeighborsClassifier

    import sparring as sp

    x = np.random.default_rng(0).random((20, 2))
    y = (x > 0.5).astype(int)
    data = sp.Data.of(x, y, sp.table(["a", "b"]), task=labels(names=["left", "high"]), take=8)
    run = sp.evaluate(KNeighborsClassifier(3).fit(x, y), data, sp.linf(0.2), ["square(queries=30)"], out=tmp_path)
    said = section_of(run)
    assert ">left<" in said
    assert "<img" not in said
    plan = {"model": "zoo:digits-plain", "data": "digits", "take": 4, "threat": "linf 0.1", "attacks": "fgsm", "certify": "none", "out": str(tmp_path)}
    assert section_of(Plan.of(plan).run()) == ""
