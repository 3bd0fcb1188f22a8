"""The transfer matrix against counting by hand: common samples, one label a point, verdicts of the judge, a report."""

import copy
from pathlib import Path

import pandas as pd
import pytest
import torch
from support import Instrumented, tiny_images, tiny_net

from sparring.attacks.evasion.transfer.transfer import transfer
from sparring.bench.api import evaluate
from sparring.bench.plan import Plan
from sparring.bench.run import Run
from sparring.bench.transfer import TransferMatrix, transfer_matrix
from sparring.core.errors import InputError, NeedsError, PlanError
from sparring.core.rate import Rate
from sparring.core.registry import find
from sparring.core.rng import Rng
from sparring.core.threat import Threat
from sparring.data.dataset import Data
from sparring.data.load import load
from sparring.domains.image import Image
from sparring.models.load import load_model
from sparring.models.torch import TorchVictim
from sparring.threats.balls import Linf
from sparring.threats.goals import Targeted, Untargeted

DOMAIN = Image((1, 6, 6))
THREAT = Threat(Linf(0.15), Untargeted())
ATTACKS = ['transfer(changes="mi", steps=4)', "pgd(steps=4)"]


def near(name, seed, share=0.1):
    """A network not far from the first one, so that points travel."""
    net = tiny_net(3)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(share * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed), dtype=parameter.dtype))
    return TorchVictim(net, DOMAIN, name=name, search="plain")


@pytest.fixture(scope="module")
def nets():
    return [near("one", 1, 0.0), near("two", 2), near("three", 3)]


@pytest.fixture(scope="module")
def data(nets):
    """Images with the labels of the first network, one of them wrong for all."""
    x = torch.cat([tiny_images(seed) for seed in range(5)])
    y = nets[0].label(x)
    y[3] = (y[3] + 1) % 3
    return Data.of(x, y, DOMAIN, classes=["a", "b", "c"])


@pytest.fixture(scope="module")
def matrix(nets, data, tmp_path_factory):
    return transfer_matrix([*nets[:2], nets[1:]], nets, data, THREAT, ATTACKS[:1], out=tmp_path_factory.mktemp("matrix"))


def common(nets, data):
    return torch.stack([net.label(data.x) == data.y for net in nets]).all(0)


def test_rates_are_those_of_points_made_and_put_by_hand(nets, data, matrix):
    """On the samples that all three get right, with the ensemble among the sources."""
    rows = common(nets, data).nonzero().squeeze(1)
    assert 3 < len(rows) == matrix.n < matrix.asked == len(data)
    kept = data.rows(rows)
    for source in (nets[:1], nets[1:2], nets[1:]):
        attack = transfer(source, changes="mi", steps=4)
        points = attack(source[0], kept.x, kept.y, THREAT, Rng.of(0, kept.ids))
        for target in nets:
            fell = int((target.label(points) != kept.y).sum())
            rate = matrix.rate("transfer(changes='mi', steps=4)", "+".join(one.name for one in source), target.name)
            assert rate == Rate.of(fell, len(rows))
    rates = [one.rate.value for one in matrix.cells]
    assert max(rates) > 0
    assert len(set(rates)) > 2
    own = {(one.source, one.target) for one in matrix.cells if one.own}
    assert own == {("one", "one"), ("two", "two"), ("two+three", "two"), ("two+three", "three")}
    frame = matrix.table()
    assert list(frame.columns) == ["attack", "source", "target", "rate", "low", "high", "n", "errors", "own"]
    assert len(frame) == 12
    assert frame.attack.tolist()[9:] == ["random_corner"] * 3
    assert bool(((frame.low <= frame.rate) & (frame.rate <= frame.high)).all())


def test_a_target_answers_once_a_point_with_a_label_and_sources_search_once(nets, data, tmp_path):
    """Targets of labels will do; the points of a source are found once, however many targets there are."""
    source = Instrumented(copy.copy(nets[0]))
    targets = [Instrumented(net, exposes={"labels"}) for net in nets[1:]]
    made = transfer_matrix([source], targets, data, THREAT, ATTACKS[:1], out=tmp_path)
    table = made.run.table()
    attacked = table[(table.attack != "clean") & (table.status != "skipped")]
    assert set(attacked.queries) == {1}
    assert set(attacked.backwards) == {0}
    assert source.differentiated == 4 * made.n
    for target in targets:
        assert "gradient" not in {kind for kind, _ in target.questions}


def test_every_attack_can_be_in_it_and_batches_do_not_show(nets, data, tmp_path):
    """PGD stops when it broke the source; the table is the same in batches of seven."""
    whole, parts = (transfer_matrix(nets[:1], nets[:2], data, THREAT, ATTACKS, batch=batch, out=tmp_path / str(batch)).table() for batch in (250, 7))
    pd.testing.assert_frame_equal(whole, parts)
    assert {one.split("(")[0] for one in whole.attack} == {"transfer", "pgd", "random_corner"}
    assert len(whole) == 2 * 3


def test_targets_of_a_targeted_threat_are_the_same_everywhere(nets, data, tmp_path):
    """Success is the target class on the target network."""
    threat = Threat(Linf(0.3), Targeted("next"))
    made = transfer_matrix(nets[:1], nets[:2], data, threat, ATTACKS[:1], out=tmp_path)
    rows = made.run.table()
    fell = rows[(rows.attack != "clean") & (rows.status == "broken")]
    assert len(fell)
    assert bool((fell.given.astype(int) == (fell.wanted.astype(int) + 1) % 3).all())


def test_the_same_call_reads_its_record(nets, data, matrix):
    """Interrupted or not: what is done is not asked again, and other weights under the same name are another run."""
    out = matrix.run.path.rsplit("/", 1)[0]
    asked = Instrumented(nets[0])
    object.__setattr__(asked, "describe", nets[0].describe)
    again = transfer_matrix([asked, nets[1], nets[1:]], nets, data, THREAT, ATTACKS[:1], out=out)
    assert again.run.path == matrix.run.path
    assert asked.differentiated == 0
    pd.testing.assert_frame_equal(again.table(), matrix.table())
    changed = transfer_matrix([nets[0], near("two", 8)], nets[:1], data, THREAT, ATTACKS[:1], out=out)
    assert changed.run.path != matrix.run.path


def test_it_is_saved_and_drawn(matrix, tmp_path):
    """The copy opens as a run; the report has one shaded table an attack, with counts from the rows; other reports have none."""
    folder = matrix.save(tmp_path / "kept")
    opened = Run.open(folder)
    pd.testing.assert_frame_equal(opened.table(), matrix.run.table())
    pd.testing.assert_frame_equal(pd.read_csv(f"{folder}/transfer.csv"), matrix.table(), check_dtype=False)
    drawn = Path(opened.report(tmp_path / "b.html")).read_text().split('<section id="transfer"')[1].split("</section>")[0]
    assert drawn.count('class="shade mistaken"') == 12
    for one in matrix.cells:
        value = f"{100 * one.rate.value:.1f}\N{NO-BREAK SPACE}%"
        assert (f"<b>({value})</b>" if one.own else f"<b>{value}</b>") in drawn
    assert "could not be rendered" not in drawn


def test_attack_objects_stand_beside_names_in_an_evaluation(nets, data, tmp_path):
    """`evaluate` takes what sp.transfer makes; the victim pays with labels only; other surrogates give another key."""
    threat = THREAT.seeing("labels")
    runs = [
        evaluate(nets[0], data, threat, [transfer(source, steps=4), "hopskipjump(steps=1, start_tries=2)"], certify="none", out=tmp_path)
        for source in (nets[1], near("two", 9))
    ]
    assert runs[0].path != runs[1].path
    case = runs[0].record.header["cases"][0]
    assert case["cells"][1]["attack"]["surrogates"][0]["sha256"] == nets[1].fingerprint
    assert runs[0].record.header["plan"]["attacks"][0] == "transfer(surrogate='two', changes='mi', steps=4)"
    single = evaluate(nets[0], data, threat, transfer(nets[1], steps=4), certify="none", out=tmp_path)
    assert single.robust_accuracy.n == len(data)
    rows = single.table()
    assert set(rows[(rows.attack != "clean") & (rows.status != "skipped")].queries) == {1}


def test_wrong_use_is_refused_before_a_point_is_looked_for(nets, data, tmp_path):
    labels = Instrumented(nets[0], exposes={"labels"})
    other = TorchVictim(tiny_net(4), DOMAIN, name="other", search="plain")
    flat = Data.of(torch.rand(3, 1, 5, 5), [0, 1, 2], Image((1, 5, 5)))
    wrong = Data.of(data.x[:2], (nets[0].label(data.x[:2]) + 1) % 3, DOMAIN, classes=["a", "b", "c"])
    cases = [
        (NeedsError, "not gradients", lambda: transfer_matrix([labels], nets, data, THREAT, ATTACKS[:1], out=tmp_path)),
        (InputError, "4 classes|3", lambda: transfer_matrix([other], nets, data, THREAT, ATTACKS[:1], out=tmp_path)),
        (InputError, "5", lambda: transfer_matrix(nets[:1], nets, flat, THREAT, ATTACKS[:1], out=tmp_path)),
        (InputError, "none of the 2", lambda: transfer_matrix(nets[:1], nets[:1], wrong, THREAT, ATTACKS[:1], out=tmp_path)),
        (InputError, "its own name", lambda: transfer_matrix([near("one", 4)], nets, data, THREAT, ATTACKS[:1], out=tmp_path)),
        (InputError, "twice", lambda: transfer_matrix(nets[:1], [nets[0], nets[0]], data, THREAT, ATTACKS[:1], out=tmp_path)),
        (PlanError, "one network", lambda: transfer_matrix([nets[:2]], nets, data, THREAT, ["pgd"], out=tmp_path)),
        (PlanError, "its own surrogate", lambda: transfer_matrix(nets[:1], nets, data, THREAT, [transfer(nets[1])], out=tmp_path)),
        (PlanError, "at least one", lambda: transfer_matrix(nets[:1], nets, data, THREAT, [], out=tmp_path)),
        (InputError, "sources and targets", lambda: transfer_matrix([], nets, data, THREAT, out=tmp_path)),
    ]
    for error, said, call in cases:
        with pytest.raises(error, match=said):
            call()
    assert not list(tmp_path.iterdir())
    assert find("attack", "transfer").needs == {"gradients", "scores"}


PLAN = {"aim": "transfer", "model": "zoo:digits-plain, zoo:digits-robust", "data": "digits", "take": 30, "threat": "linf 0.15", "attacks": "transfer(steps=3)"}


def test_a_plan_finds_what_the_function_finds(tmp_path):
    """Without source= every model is both; what a network does to itself is a reference, which no gate judges."""
    run = Plan.of({**PLAN, "out": str(tmp_path), "gate": "transfer_rate <= 0.9"}).run()
    victims = [load_model(f"zoo:digits-{name}") for name in ("plain", "robust")]
    made = transfer_matrix(victims, victims, load("digits", take=30), Threat(Linf(0.15), Untargeted()), ["transfer(steps=3)"], out="memory://plans")
    pd.testing.assert_frame_equal(TransferMatrix.of(run).table(), made.table())
    own = {one.target: one.rate.value for one in made.cells if one.own}
    roles = {(row["case"], one["cell"]): one["role"] for row in run.summary() for one in row["measures"]}
    assert sorted(roles.values()) == ["attack"] * 2 + ["control"] * 4 + ["reference"] * 2
    for judged in run.record.header["gate"]:
        target = judged["case"].split(" ")[0]
        assert not judged["cell"].endswith(f"on {target}")
        assert judged["value"] < own[target]


def test_the_control_is_one_random_corner(tmp_path):
    """It stands in every case, whatever the plan says, and changes every number by the radius where the box allows."""
    run = Plan.of({**PLAN, "source": "zoo:digits-robust+zoo:digits-plain", "points": "all", "out": str(tmp_path)}).run()
    assert {"transfer(steps=3) on digits-robust+digits-plain", "random_corner", "clean"} == set(run.table().attack)
    rows = run.table()[run.table().attack == "random_corner"]
    assert set(rows.queries) == {1}
    (cell,) = set(rows[rows.case.str.startswith("digits-plain")]["cell"])
    points = run.record.points(cell)
    moved = abs(points.after.astype(float) - points.before)
    inside = (points.before >= 0.15 - 1e-6) & (points.before <= 0.85 + 1e-6)
    assert inside.any()
    assert moved.max() <= 0.15 + 1e-6
    assert moved[inside] == pytest.approx(0.15, abs=1e-6)
