"""Poisoning, membership and extraction from the plan to the record: controls, limits, resumption, planted faults."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from killing import content

import sparring as sp
from sparring.aims.case import Settings
from sparring.aims.extraction import ExtractionCase
from sparring.aims.membership import MembershipCase
from sparring.aims.poisoning import PoisoningCase
from sparring.attacks.extraction.probe import ExtractionProbe
from sparring.attacks.method import Method, methods_of
from sparring.bench.evaluate import carry_out
from sparring.bench.gate import judge_gate
from sparring.bench.plan import Plan
from sparring.cli.app import main
from sparring.cli.summary import print_run
from sparring.core.errors import InputError, LoadError, NeedsError, PlanError, UnknownName
from sparring.core.fit import read_fit
from sparring.models.zoo import digits_plain
from sparring.records.record import Record
from sparring.threats.tampering import LabelTampering

PLANS = {
    "corruption": {"aim": "corruption", "model": "zoo:digits-plain", "data": "digits", "take": 10, "batch": 6},
    "transfer": {
        "aim": "transfer", "model": "zoo:digits-robust", "source": "zoo:digits-plain", "data": "digits", "take": 80, "threat": "linf 0.15",
        "attacks": "transfer(steps=3)", "batch": 30,
    },
    "poisoning": {"aim": "poisoning", "data": "digits", "threat": "labels 0.1", "trials": 4, "fit": "linear(steps=20)", "batch": 2},
    "membership": {"aim": "membership", "data": "digits", "split": "all", "fit": "mlp(epochs=4)", "batch": 300},
    "given": {"aim": "membership", "model": "zoo:digits-plain", "data": "digits", "members": "train", "batch": 700},
    "extraction": {"aim": "extraction", "model": "zoo:digits-plain", "data": "digits", "fit": "linear", "batch": 200},
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run of each plan, never interrupted, made when it is asked for."""

    class Runs(dict):
        def __missing__(self, name):
            self[name] = Plan.of({**PLANS[name], "out": str(tmp_path_factory.mktemp(name))}).run()
            return self[name]

    return Runs()


@pytest.mark.parametrize("name", PLANS)
def test_controls_are_there_and_nothing_failed(name, whole):
    """Every table has its baseline and its controls; the record says what they are."""
    run = whole[name]
    (case,) = run.record.header["cases"]
    assert {case["aim"]["baseline"], *case["aim"]["controls"]} <= set(run.table().attack)
    assert run.status == "done"
    assert run.summary()[0]["errors"] == 0
    assert run.report().endswith("report.html")


@pytest.mark.parametrize("name", PLANS)
def test_batches_shards_and_a_second_run(name, whole, tmp_path, monkeypatch):
    """The same rows for another batch and from shards; a finished run writes nothing."""
    plan = {**PLANS[name], "batch": 1000, "out": str(tmp_path / "one")}
    pd.testing.assert_frame_equal(content(Plan.of(plan).run()), content(whole[name]))
    for turn in ("2/2", "1/2"):
        last = Plan.of({**PLANS[name], "shard": turn, "out": str(tmp_path / "shards")}).run()
    pd.testing.assert_frame_equal(content(last), content(whole[name]))
    monkeypatch.setattr(Record, "add_part", lambda *any: pytest.fail("a part was written"))
    Plan.of({**PLANS[name], "out": str(Path(whole[name].path).parent)}).run()


@pytest.mark.parametrize("name", [one if one in ("membership", "transfer") else pytest.param(one, marks=pytest.mark.slow) for one in PLANS])
def test_kill_9(name, whole, tmp_path):
    """Killed as soon as there is a part, then run again: the same rows."""
    program = "import sys, json, torch; torch.set_num_threads(1); from sparring.bench.plan import Plan; Plan.of(json.loads(sys.argv[1])).run()"
    plan = {**PLANS[name], "out": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", program, json.dumps(plan)], env={**os.environ, "OMP_NUM_THREADS": "1"}) as process:
        while process.poll() is None and not list(tmp_path.rglob("part-*.parquet")):
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    run = Plan.of(plan).run()
    assert run.record.header["resumed"] >= 1
    pd.testing.assert_frame_equal(content(run), content(whole[name]))


def test_fewer_trials_are_no_run_of_their_own(whole, tmp_path):
    """A record of four trials does not answer for two; more of them go on."""
    plan = {**PLANS["poisoning"], "out": str(tmp_path)}
    Plan.of({**plan, "trials": 2}).run()
    assert Plan.of({**plan, "trials": 3}).run().status == "done"
    with pytest.raises(PlanError, match=r"holds 3 trials of linear\(steps=20\) · labels 0.1, not 2: ask for all of them, or write another out="):
        Plan.of({**plan, "trials": 2}).run()


@pytest.mark.parametrize("name", ["extraction", "transfer"])
def test_a_model_of_other_classes_is_refused(name, tmp_path, monkeypatch):
    """Digits have ten classes."""
    (tmp_path / "small.py").write_text("from torch import nn\ndef net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 4)).eval()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    plan = Plan.of({**PLANS[name], "model": "small:net", **({"source": ["small:net"]} if name == "transfer" else {}), "out": str(tmp_path)})
    with pytest.raises(InputError, match="but the classes are 0 to 3"):
        plan.run()


def test_one_record_of_membership_is_shown(whole, capsys, monkeypatch):
    """Its answers are words."""
    run = whole["given"]
    monkeypatch.setattr("sys.argv", ["spar", "show", run.path, "--sample", run.table().id.iloc[0]])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert "member" in capsys.readouterr().out


def test_a_gate_says_what_the_control_says(whole, capsys):
    """Beside an upper bound stands the control's figure; the excess is judged on the upper end of the difference."""
    for name, metric in (("poisoning", "accuracy_drop"), ("membership", "auc"), ("extraction", "fidelity"), ("transfer", "transfer_rate")):
        run = whole[name]
        (case,) = run.record.header["cases"]
        measured = {one["cell"]: one["value"] for one in run.summary()[0]["measures"] if one["metric"] == metric}
        (control,) = case["aim"]["controls"]
        plain, beyond = judge_gate(run, [f"{metric} <= 0.9", f"excess({metric}) <= 1"])
        assert plain["controls"] == beyond["controls"]
        assert (plain["controls"][0]["cell"], plain["controls"][0]["value"]) == (control, pytest.approx(measured[control]))
        assert beyond["cell"].endswith(f" beyond {control}")
        assert beyond["value"] == pytest.approx(measured[beyond["cell"].removesuffix(f" beyond {control}")] - measured[control])
        assert beyond["met"]
        run.record.header["gate"] = [plain]
        print_run(run, as_json=False, quiet=False)
        assert f"control: {control} {measured[control]:.1%}" in capsys.readouterr().out
        report = Path(run.report(f"{run.path}/gate.html")).read_text()
        assert "Gate m" in report
        assert f"control: {control} {100 * measured[control]:.1f}" in report
    assert not judge_gate(whole["extraction"], ["excess(fidelity(queries=1)) <= 1"])[0]["met"], "no copy within one query: nothing is met"


# Poisoning


def poisoned(tmp_path, *methods, share=0.1, trials=2, fit="linear"):
    train, test = sp.load("digits", split="train", take=400), sp.load("digits", take=200)
    case = PoisoningCase("one", read_fit(fit), train, test, LabelTampering(share), methods, trials)
    return case, carry_out([case], tmp_path, {}, Settings()).table()


def planted(aim, work, control=False):
    return Method(work.__name__, work, aim, "", control)


def too_many(workshop):
    return replace(workshop.data, y=(workshop.data.y + 1) % 10)


def other_inputs(workshop):
    return replace(workshop.data, x=workshop.data.x * 0.5)


def fails(workshop):
    raise RuntimeError("out of ideas")


def test_the_judge_of_poisoning(tmp_path):
    """More labels than allowed, or other inputs, are infeasible; a failure is an error of its own and the twin is still measured."""
    _, rows = poisoned(tmp_path, *(planted("poisoning", one) for one in (too_many, other_inputs, fails)))
    found = {said: set(part.status) for said, part in rows.groupby("attack")}
    assert found == {"clean": {"held"}, "too_many": {"infeasible"}, "other_inputs": {"infeasible"}, "fails": {"error"}}
    assert set(rows[rows.attack == "fails"].note) == {"RuntimeError: out of ideas"}


def test_the_clean_twin_is_the_model_trained_by_hand(tmp_path):
    """Its accuracy, by trial, and that of the attack on the same seed."""
    (flip,) = [one for one in methods_of("poisoning", "default") if one.name == "label_flip"]
    case, rows = poisoned(tmp_path, flip, trials=4, fit="mlp(epochs=2)")
    from sparring.core.rng import number_of

    for trial in range(4):
        victim = case.fit(case.train, number_of(f"0 trial {trial}") % 2**31)
        right = float((victim.answer(case.test.x) == case.test.y).double().mean())
        own = rows[rows.position == trial].set_index("attack")
        assert own.quality["clean"] == pytest.approx(right)
        assert own.margin["label_flip"] == pytest.approx(own.quality["label_flip"] - right)
        assert own["size"]["label_flip"] == pytest.approx(0.1)
    assert rows[rows.attack == "clean"].quality.nunique() > 1, "trials differ"


def test_nothing_changed_damages_nothing(tmp_path):
    """At share 0 every model is its clean twin."""
    _, rows = poisoned(tmp_path, *methods_of("poisoning", "default"), share=0.0)
    assert rows.margin.eq(0).all()
    assert rows.status.eq("held").all()


def test_flipping_everything_to_one_class_is_damage(tmp_path):
    """Significantly worse than the twin in every trial."""

    def ruin(workshop):
        return replace(workshop.data, y=torch.zeros_like(workshop.data.y))

    _, rows = poisoned(tmp_path, planted("poisoning", ruin), share=1.0)
    assert set(rows[rows.attack == "ruin"].status) == {"broken"}


# Membership


def membership(tmp_path, data, fit, *methods):
    case = MembershipCase("one", data, methods or tuple(methods_of("membership", "default")), 0, read_fit(fit))
    run = carry_out([case], tmp_path, {}, Settings())
    return {one["cell"]: one["value"] for one in run.summary()[0]["measures"] if one["metric"] == "auc"}, run.table()


def noisy(count=300):
    """Digits with random labels, which can only be learnt by heart."""
    data = sp.load("digits", split="train", take=count)
    return replace(data, y=torch.randint(10, (count,), generator=torch.Generator().manual_seed(1)))


def test_what_is_learnt_by_heart_is_found(tmp_path):
    """Random labels, trained long: members have a far smaller loss; after one epoch they do not; the blind control sees nothing."""
    found, rows = membership(tmp_path / "long", noisy(), "mlp(epochs=300, hidden=128, rate=0.005)")
    assert found["loss_threshold"] > 0.95
    assert 0.35 < found["blind"] < 0.65
    assert set(rows.wanted) == {"member", "non-member"}
    short, _ = membership(tmp_path / "short", noisy(), "mlp(epochs=1, rate=0.0001)")
    assert 0.35 < short["loss_threshold"] < 0.65


def test_scores_that_are_no_numbers_are_errors(tmp_path):
    def nothing(probe):
        return torch.full((len(probe.data),), torch.nan)

    def one_number(probe):
        return torch.zeros(1)

    _, rows = membership(tmp_path, noisy(100), "linear", planted("membership", nothing), planted("membership", one_number))
    assert set(rows.status) == {"error"}
    assert rows.note.str.contains("return one finite number per record").all()


def test_nobody_trains_on_the_others(tmp_path):
    """Members, others and background share no record and are all of the data."""
    case = MembershipCase("one", noisy(200), (), 3, read_fit("linear"))
    ids = [set(part.ids) for part in case.parts]
    assert sum(map(len, ids)) == len(set().union(*ids)) == 200
    assert set(case.units) == ids[0] | ids[1]


def test_members_of_a_given_model_are_those_that_are_listed(tmp_path):
    """A file of ids: the same rates as those computed by hand from the model's own scores, and a warning about ids that are nowhere."""
    data = sp.load("digits", split="all", take=120)
    inside, listed = data.ids[::3], tmp_path / "members.txt"
    listed.write_text("\n".join([*inside, "", "digits/nowhere/1"]))
    keys = {"aim": "membership", "model": "zoo:digits-plain", "data": "digits", "split": "all", "take": 120, "members": str(listed)}
    run = Plan.of({**keys, "out": str(tmp_path / "runs")}).run()
    rows = run.table()[run.table().attack == "loss_threshold"]
    assert set(rows[rows.wanted == "member"].id) == set(inside)
    others = set(data.ids) - set(inside)
    assert 0 < (rows.wanted == "non-member").sum() < len(others), "the rest is background"
    assert set(rows[rows.wanted == "non-member"].id) < others
    scores = torch.log_softmax(sp.load_model("zoo:digits-plain").scores(data.x).double(), 1).gather(1, data.y[:, None]).squeeze(1)
    mine = dict(zip(data.ids, scores.tolist(), strict=True))
    assert rows.score.tolist() == pytest.approx([mine[one] for one in rows.id], abs=1e-5)
    assert set(run.table().attack) == {"loss_threshold", "blind"}
    assert run.record.header["warnings"] == ["digits-plain · membership: 1 of 41 members are not in the data, for example digits/nowhere/1"]


# Extraction


def test_queries_are_counted_and_never_exceeded(tmp_path):
    """The victim is asked for as many answers as the attack may have, and for those of the test; the control asks for none."""
    asked = []

    class Counted(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = digits_plain()

        def forward(self, x):
            asked.append(len(x))
            return self.inner(x)

    pool, test = sp.load("digits", split="train", take=300), sp.load("digits", take=50)
    victim = sp.victim(Counted(), pool.domain, name="counted", search="plain")
    for written, most in (("knockoff(queries=120)", 120), ("knockoff(queries=5000)", 300), ("no_victim", 0)):
        (method,) = [one for one in methods_of("extraction", [written]) if one.name == written.split("(")[0]]
        probe = ExtractionProbe(victim, pool, lambda data: read_fit("linear")(data, 0), 0)
        asked.clear()
        method(probe)
        assert probe.queries == sum(asked) == most
    case = ExtractionCase("one", victim, pool, test, read_fit("linear"), tuple(methods_of("extraction", ["knockoff(queries=120)"])), 0)
    table = carry_out([case], tmp_path, {}, Settings()).table()
    assert table.groupby("attack").budget.first().to_dict() == {"knockoff(queries=120)": 120, "no_victim": 0}
    assert table.groupby("attack").queries.sum().to_dict() == {"knockoff(queries=120)": 120, "no_victim": 0}
    again = carry_out([case], tmp_path / "again", {}, Settings(batch=7)).table()
    assert again.queries.tolist() == table.queries.tolist(), "the batches do not matter"


def test_a_larger_budget_asks_about_the_same_and_more():
    pool = sp.load("digits", split="train", take=300)
    probe = ExtractionProbe(None, pool, None, 0)
    assert set(probe.order()[:50].tolist()) < set(probe.order()[:120].tolist())
    assert sorted(probe.order().tolist()) == list(range(300))


def test_the_model_itself_is_a_perfect_copy(tmp_path):
    """Fidelity 1, and accuracy that of the model."""

    def steal(probe):
        return probe.victim

    pool, test = sp.load("digits", split="train", take=50), sp.load("digits", take=80)
    victim = sp.victim(digits_plain(), pool.domain, name="plain")
    run = carry_out([ExtractionCase("one", victim, pool, test, read_fit("linear"), (planted("extraction", steal),), 0)], tmp_path, {}, Settings())
    measured = {one["metric"]: one["value"] for one in run.summary()[0]["measures"]}
    assert measured["fidelity"] == 1.0
    assert measured["copy_accuracy"] == pytest.approx(float((victim.answer(test.x) == test.y).double().mean()))


# Wrong use


@pytest.mark.parametrize(
    ("keys", "error", "said"),
    [
        ({"aim": "membership", "certify": "none"}, PlanError, "'certify' does not apply to aim=membership"),
        ({"aim": "stealing"}, UnknownName, "aim"),
        ({"aim": "poisoning", "threat": "labels 1.5"}, PlanError, "between 0 and 1"),
        ({"aim": "poisoning", "threat": "linf 0.1"}, UnknownName, "labels"),
        ({"aim": "poisoning"}, PlanError, "no threat"),
        ({"aim": "poisoning", "threat": "labels 0.1", "attacks": "knockoff"}, NeedsError, "attack of extraction"),
        ({"aim": "poisoning", "threat": "labels 0.1", "attacks": "pgd"}, UnknownName, "label_flip"),
        ({"aim": "poisoning", "threat": "labels 0.1", "trials": 0}, PlanError, "trials=0"),
        ({"aim": "extraction"}, PlanError, "no model"),
        ({"aim": "membership", "gate": "robust_accuracy >= 0.1"}, PlanError, "a metric of evasion"),
        ({"aim": "membership", "gate": "tpr(fqr=0.1) <= 0.1"}, UnknownName, "fpr"),
        ({"aim": "membership", "take": 20}, InputError, "too few"),
        ({"aim": "membership", "model": "zoo:digits-plain"}, PlanError, "the training samples of digits-plain are not known"),
        ({"aim": "membership", "members": "train"}, PlanError, "add model="),
        ({"aim": "membership", "model": "zoo:digits-plain", "members": "trian"}, InputError, "neither a file nor a split"),
        ({"aim": "membership", "model": "zoo:digits-plain", "members": "nowhere.txt"}, LoadError, "does not exist"),
        ({"aim": "membership", "model": "zoo:digits-plain", "members": "train", "split": "test"}, InputError, "0 are members"),
        ({"aim": "membership", "model": "zoo:digits-plain", "members": "train", "split": "train"}, InputError, "0 are not"),
        ({"aim": "extraction", "model": "zoo:digits-plain", "members": "train"}, PlanError, "does not apply to aim=extraction"),
    ],
)
def test_wrong_use_is_refused_before_anything_is_computed(keys, error, said, tmp_path, monkeypatch):
    monkeypatch.setattr("sparring.core.fit.Fit.cached", lambda *any, **more: pytest.fail("trained"))
    with pytest.raises(error, match=said):
        Plan.of({"data": "digits", **keys, "out": str(tmp_path)}).run()
    assert not list(tmp_path.iterdir())
