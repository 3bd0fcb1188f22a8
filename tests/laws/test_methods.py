"""Laws of the methods of all aims: small cases, one per aim with a maker below; a new method of such an aim is tested with nothing else edited."""

from dataclasses import replace

import pandas as pd
import pytest
import torch

from sparring.aims.case import Case, Settings
from sparring.aims.extraction import ExtractionCase
from sparring.aims.membership import GivenModelCase, MembershipCase
from sparring.aims.poisoning import PoisoningCase
from sparring.attacks.attack_set import known_sets
from sparring.attacks.method import Method, methods_of
from sparring.bench.evaluate import carry_out
from sparring.core.fit import read_fit
from sparring.core.registry import everything, find
from sparring.data.load import load
from sparring.models.load import load_model
from sparring.records.record import Record
from sparring.threats.tampering import LabelTampering

STATUSES = {"poisoning": {"broken", "held"}, "membership": {"scored"}, "extraction": {"broken", "held"}}
"""What a method that works comes to, per aim; "error" and "infeasible" are for those that do not."""


def poisoning(*methods: Method) -> Case:
    train, test = load("digits", split="train", take=80), load("digits", take=40)
    return PoisoningCase("tiny", read_fit("mlp(epochs=1, hidden=8)"), train, test, LabelTampering(0.1), methods, 3)


def membership(*methods: Method) -> Case:
    return MembershipCase("tiny", load("digits", split="train", take=100), methods, 0, read_fit("linear"))


def given(*methods: Method) -> Case:
    data = load("digits", take=100)
    return GivenModelCase("tiny", data, methods, 0, load_model("zoo:digits-plain"), frozenset(data.ids[::2]))


def extraction(*methods: Method) -> Case:
    victim, pool = load_model("zoo:digits-plain"), load("digits", split="train", take=80)
    return ExtractionCase("tiny", victim, pool, load("digits", take=40), read_fit("linear"), methods, 0)


MAKERS = {"poisoning": [poisoning], "membership": [membership, given], "extraction": [extraction]}
METHODS = [pytest.param(name, make, id=f"{name}-{make.__name__}") for name, one in everything("method").items() for make in MAKERS.get(one.aim, [])]
AIMS = [pytest.param(aim, make, id=make.__name__) for aim, makers in MAKERS.items() for make in makers]


def rows_of(case: Case, folder, said: str, **settings) -> pd.DataFrame:
    """The rows of a method as a run records them, without what the clock says."""
    run = carry_out([case], folder, {}, Settings(**settings))
    rows = run.table()
    return rows[rows.attack == said].drop(columns=["seconds", "cell"]).sort_values("position", ignore_index=True)


def test_every_aim_with_methods_is_looked_at():
    """An aim that comes with methods needs a maker here."""
    own = {one.aim for one in everything("method").values() if one.__module__.startswith("sparring.")}
    assert own == set(MAKERS) == set(STATUSES)


@pytest.mark.few(4)
@pytest.mark.parametrize(("name", "make"), METHODS)
def test_a_method_gives_the_same_whatever_the_batches_and_however_often_it_stopped(name, make, tmp_path, monkeypatch):
    """The same rows in one batch and in several, from shards in either order, resumed after two parts; each unit once, in the words of its aim."""
    method = find("method", name)
    case, said = make(method), str(method)
    whole = rows_of(case, tmp_path / "whole", said)
    assert whole.id.tolist() == list(case.units)
    assert set(whole.status) <= STATUSES[method.aim], whole.note.tolist()
    size = max(1, len(case.units) // 3)
    pd.testing.assert_frame_equal(rows_of(make(method), tmp_path / "parts", said, batch=size), whole)
    for turn in (1, 0):
        sharded = rows_of(make(method), tmp_path / "shards", said, batch=size, shard=(turn, 2))
    pd.testing.assert_frame_equal(sharded, whole)

    class Stop(Exception):
        pass

    written, add = [], Record.add_part

    def add_two(self, *what):
        if len(written) == 2:
            raise Stop
        written.append(what[1])
        add(self, *what)

    monkeypatch.setattr(Record, "add_part", add_two)
    with pytest.raises(Stop):
        rows_of(make(method), tmp_path / "stopped", said, batch=size)
    monkeypatch.undo()
    pd.testing.assert_frame_equal(rows_of(make(method), tmp_path / "stopped", said, batch=size), whole)


@pytest.mark.parametrize(("name", "make"), METHODS)
def test_a_method_leaves_random_states_and_data_alone(name, make, tmp_path):
    """What it draws follows from the seed of the case, not from generators of the process; the data is as before."""
    method = find("method", name)
    case = make(method)
    held = [value for value in vars(case).values() if hasattr(value, "sha256")]
    before, hashes = torch.random.get_rng_state(), [one.sha256 for one in held]
    first = rows_of(case, tmp_path / "first", str(method))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert [replace(one).sha256 for one in held] == hashes
    torch.manual_seed(99)
    pd.testing.assert_frame_equal(rows_of(make(method), tmp_path / "second", str(method)), first)


@pytest.mark.parametrize(("aim", "make"), AIMS)
def test_no_plan_leaves_the_controls_out(aim, make):
    """Whatever is written, the controls come with it, last; what is attack and what is control is told apart by the registry."""
    controls = list(find("aim", aim).controls)
    attacks = [name for name, one in everything("method").items() if one.aim == aim and not one.control]
    for written in ("default", known_sets(aim)["default"].name, *attacks, controls):
        found = methods_of(aim, written)
        assert [one.name for one in found if one.control] == controls
        assert [one.control for one in found] == sorted(one.control for one in found)
    listed = [cell.say for cell in make(*methods_of(aim, "default")).cells(Settings())]
    assert set(controls) <= set(listed)


@pytest.mark.parametrize(("aim", "make"), AIMS)
def test_a_method_that_fails_is_an_error_of_its_own(aim, make, tmp_path):
    """Its rows say why; the others have verdicts."""

    def fails(subject):
        raise RuntimeError("out of ideas")

    good = methods_of(aim, "default")[0]
    run = carry_out([make(Method("fails", fails, aim, ""), good)], tmp_path, {}, Settings())
    rows = run.table()
    assert set(rows[rows.attack == "fails"].status) == {"error"}
    assert set(rows[rows.attack == "fails"].note) == {"RuntimeError: out of ideas"}
    assert set(rows[rows.attack == str(good)].status) <= STATUSES[aim]
    assert run.summary()[0]["errors"] == sum(rows.attack == "fails") > 0


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3])
@pytest.mark.parametrize("name", [name for name, one in everything("method").items() if one.aim == "poisoning"])
def test_a_method_of_poisoning_stays_within_its_threat(name, share, tmp_path):
    """At any share; the judge says so, and does not where one label more is changed."""
    method, threat = find("method", name), LabelTampering(share)
    rows = rows_of(replace(poisoning(method), threat=threat, trials=2), tmp_path / "inside", str(method))
    assert set(rows.status) <= {"broken", "held"}
    assert rows["size"].max() <= share + 1e-9

    def one_more(workshop):
        changed = method(workshop)
        same = (changed.y == workshop.data.y).nonzero().squeeze(1)[: threat.most(80) + 1 - int((changed.y != workshop.data.y).sum())]
        y = changed.y.clone()
        y[same] = (y[same] + 1) % 10
        return replace(changed, y=y)

    rows = rows_of(replace(poisoning(Method("one_more", one_more, "poisoning", "")), threat=threat, trials=2), tmp_path / "outside", "one_more")
    assert set(rows.status) == {"infeasible"}
