"""Segmentation through `spar run`: killed and resumed, measured by its metrics, judged by gates, told in the report."""

import json
import random
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from killing import assert_same, killer, parts

from sparring.bench.plan import Plan
from sparring.bench.run import Run
from sparring.cli.app import main
from sparring.core.errors import PlanError
from sparring.records.record import Record
from sparring.tasks.mask import mask

ROOT = Path(__file__).parents[2]
SPACE = "\N{NO-BREAK SPACE}"

MODULE = """
import torch
from torch import nn


def tiny():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1))
    with torch.no_grad():
        net[2].weight.mul_(8)
        net[2].bias.copy_(torch.tensor([0.1, 0.0, 0.1]))
    return net.eval()
"""

PLAN = {
    "model": "tiny_masks:tiny",
    "data": "tiles.npz",
    "task": 'mask(3, share=0.7, names=["sky", "sea", "land"])',
    "threat": "linf 0.1",
    "attacks": ["noise(tries=2)", "pgd(steps=5)", "pgd(steps=5, loss=pixel_margin)"],
    "batch": 2,
    "search": "plain",
    "points": "all",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a model and tiles: the truth is what the model answers, a tenth of the pixels apart, and some pixels do not count."""
    folder = tmp_path_factory.mktemp("masks")
    (folder / "tiny_masks.py").write_text(MODULE)
    names: dict = {}
    exec(MODULE, names)
    rng = torch.Generator().manual_seed(1)
    pixels = (torch.rand(12, 1, 12, 12, generator=rng) * 255).round().to(torch.uint8)
    with torch.no_grad():
        truth = names["tiny"]()(pixels.float() / 255).argmax(1)
    drawn = torch.rand(truth.shape, generator=rng)
    truth = torch.where(drawn < 0.1, (truth + 1) % 3, truth)
    truth = torch.where(drawn > 0.95, torch.tensor(255), truth)
    np.savez(folder / "tiles.npz", x=pixels[:, 0].numpy(), y=truth.to(torch.uint8).numpy())
    return folder


@pytest.fixture
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.delitem(sys.modules, "tiny_masks", raising=False)
    return place


@pytest.fixture(scope="module")
def whole(place):
    """The run that nobody interrupted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        return Run.open(Plan.of({**PLAN, "out": str(place / "whole")}).run().path)


@pytest.mark.parametrize("moment", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_killed_and_resumed_it_gives_the_same_record(moment, here, whole, tmp_path):
    """`kill -9` after some number of parts, then the same plan: the rows, masks and inputs of a run that nobody touched."""
    most, rng = parts(here / "whole"), random.Random(moment)
    assert most == 4 * 6
    with killer(PLAN, here) as kill:
        kill(tmp_path, rng.randint(1, most - 2))
    (folder,) = tmp_path.iterdir()
    assert Record.open(folder).header["status"] == "interrupted"
    run = Plan.of({**PLAN, "out": str(tmp_path)}).run()
    assert (run.status, run.record.header["resumed"]) == ("done", 1)
    assert_same(run, whole)


def mean_iou(truth, answer):
    """Of one image; classes in neither are left out, and so are pixels that do not count."""
    counted, found = truth != 255, []
    for label in range(3):
        one, other = (truth == label) & counted, (answer == label) & counted
        found += [(one & other).sum() / (one | other).sum()] if (one | other).any() else []
    return np.mean(found)


def test_the_metrics_are_those_of_the_masks(place, whole):
    """Asked anew of the model on the stored inputs, with the masks of the file, in plain NumPy."""
    names: dict = {}
    exec(MODULE, names)
    with np.load(place / "tiles.npz") as archive:
        x, truth = torch.from_numpy(archive["x"])[:, None].float() / 255, archive["y"]

    def asked(points):
        with torch.no_grad():
            return names["tiny"]()(points).argmax(1).numpy()

    clean = asked(x)
    before = [mean_iou(*pair) for pair in zip(truth, clean, strict=True)]
    measured = {one["metric"]: one["value"] for one in whole.summary()[0]["of_the_task"]}
    assert measured["mean_iou"] == pytest.approx(np.mean(before))
    counted = truth != 255
    assert measured["pixel_accuracy"] == pytest.approx((clean == truth)[counted].mean())
    lowest = dict(enumerate(before))
    ids = whole.table().drop_duplicates("id").set_index("id").position
    for cell in set(whole.table().cell):
        stored = whole.record.points(cell)
        if stored.ids:
            for name, answer in zip(stored.ids, asked(torch.from_numpy(stored.after).reshape(-1, 1, 12, 12)), strict=True):
                row = int(ids[name])
                lowest[row] = min(lowest[row], mean_iou(truth[row], answer))
    assert measured["attacked_mean_iou"] == pytest.approx(np.mean(list(lowest.values())))
    assert measured["attacked_mean_iou"] < measured["mean_iou"] - 0.05


def test_a_sample_is_broken_where_too_few_pixels_are_right(place, whole):
    """Less than 70 per cent of those that count, by the masks on record."""
    table = whole.table()
    asked = table[table.status.isin(["broken", "held"])]
    task = mask(3, size=(12, 12))
    truth, given = task.unpack(asked.wanted.tolist()).numpy(), task.unpack(asked.given.tolist()).numpy()
    counted = truth >= 0
    shares = ((truth == given) & counted).sum((1, 2)) / counted.sum((1, 2))
    assert ((shares < 0.7) == (asked.status == "broken").to_numpy()).all()
    assert 0 < (asked.status == "broken").sum() < len(asked)


def command(monkeypatch, *words):
    """Run `spar` here; return its exit code."""
    monkeypatch.setattr("sys.argv", ["spar", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def settings(**changes):
    return [f"{name}={json.dumps(value) if isinstance(value, list) else value}" for name, value in {**PLAN, **changes}.items()]


@pytest.mark.parametrize(("gate", "code", "word"), [("attacked_mean_iou >= 0.3", 0, "met"), ("attacked_mean_iou >= 0.99", 1, "MISSED")])
def test_gates_and_the_closing_table(here, monkeypatch, capsys, gate, code, word):
    """`spar run` prints the metrics of masks and judges a gate on them on the lower end."""
    assert command(monkeypatch, "run", *settings(out="told", gate=[gate])) == code
    said = capsys.readouterr().out
    assert re.search(rf"gate   {gate}   .*lower end.*{word}", said)
    for name in ("mean iou", "attacked mean iou", "dataset iou", "pixel accuracy"):
        assert re.search(rf"^ ?{name} +\d", said, flags=re.MULTILINE), said


def test_a_gate_of_masks_is_refused_for_classes(tmp_path):
    plan = Plan.of({"model": "zoo:digits-plain", "data": "digits", "take": 4, "threat": "linf 0.1", "gate": "attacked_mean_iou >= 0.1", "out": str(tmp_path)})
    with pytest.raises(PlanError, match="for answers of the kind mask; the models answer classes"):
        plan.run()
    assert not list(tmp_path.iterdir())


def section_of(run, name="masks"):
    """The section of the report, as text with its tags."""
    page = Path(run.report()).read_text()
    assert "could not be rendered" not in page
    found = re.search(rf'<section id="{name}".*?</section>', page, flags=re.DOTALL)
    return found[0].replace(SPACE, " ") if found else ""


def test_the_report_shows_masks(whole):
    """Quality before and after, every class with its name, and per sample input, truth, answer, mistakes, attacked input and answer."""
    said = section_of(whole)
    measured = {one["metric"]: one["value"] for one in whole.summary()[0]["of_the_task"]}
    for name in ("mean_iou", "attacked_mean_iou", "attacked_dataset_iou", "pixel_accuracy"):
        assert f"{100 * measured[name]:.1f} %" in said
    assert "An answer counts as wrong if fewer than 70 % of the pixels that count are right." in said
    assert all(f">{name}<" in said for name in ("sky", "sea", "land", "does not count", "largest loss"))
    cards = re.findall(r"<article.*?</article>", said, flags=re.DOTALL)
    assert len(cards) >= 2
    captions = ["input", "truth", "answer", "attacked input", "mistakes", "answer under attack"]
    for card in cards:
        assert re.findall("<figcaption>(.*?)</figcaption>", card) == captions
        assert card.count('src="data:image/png;base64,') == 6


def test_a_goal_is_told_in_its_own_words(here, tmp_path):
    """The threat, the verdict and the masks say what the adversary wanted, by the name that the plan gave."""
    run = Plan.of({**PLAN, "goal": "erase sea", "attacks": "pgd(steps=3)", "take": 4, "out": str(tmp_path)}).run()
    goal = run.record.header["cases"][0]["threat"]["goal"]
    assert goal["wish"] == "erase class sea from the mask"
    page = Path(run.report()).read_text()
    assert "(goal: erase class sea from the mask)" in page
    assert goal["sentence"] in page
    assert "The goal of the adversary: erase class sea from the mask." in section_of(run)
    assert "sky" in section_of(run, "gallery")


def test_masks_without_stored_inputs_are_shown_alone(here, tmp_path):
    """The masks are on record even where inputs are not."""
    run = Plan.of({**PLAN, "points": "none", "take": 6, "out": str(tmp_path)}).run()
    (card, *_) = re.findall(r"<article.*?</article>", section_of(run), flags=re.DOTALL)
    assert re.findall("<figcaption>(.*?)</figcaption>", card) == ["truth", "answer", "mistakes", "answer under attack"]


def test_other_tasks_have_no_such_section(tmp_path):
    run = Plan.of(
        {"model": "zoo:digits-plain", "data": "digits", "take": 4, "threat": "linf 0.1", "attacks": "fgsm", "certify": "none", "out": str(tmp_path)}
    ).run()
    assert section_of(run) == ""
    assert run.summary()[0]["of_the_task"] == []
