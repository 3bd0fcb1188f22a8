"""What holds for every registered thing of every kind, those of plugins included: it can be listed, and it names only what exists."""

import copy
import inspect
import json
import re

import pandas as pd
import pytest
import torch
from torch import nn

import sparring as sp
from sparring.bench.plan import Plan
from sparring.cli.listing import about
from sparring.core.expression import parse
from sparring.core.rate import Rate
from sparring.core.registry import ROOMS, everything
from sparring.records.record import ROW
from sparring.report.view import View

ALL = [(kind, name) for kind in ROOMS for name in everything(kind)]


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_it_is_listed_with_a_sentence(kind, name):
    """As plain JSON, with a first sentence that begins with a capital letter, and under a name that a plan can hold if it is written there."""
    row = about(name, everything(kind)[name])
    assert json.loads(json.dumps(row))["name"] == name
    assert re.fullmatch(r"[A-Z`].*\.", row["does"]), row["does"]
    assert kind == "remedy" or re.fullmatch(r"[\w.+-]+", name), f"the name {name!r} cannot be written in a plan"
    if kind in ("attack", "method", "certifier", "metric", "verifier", "recipe"):
        assert all("default" in one for one in row.get("settings", {}).values())


@pytest.mark.parametrize("name", everything("aim"))
def test_an_aim_names_what_exists(name):
    """Its metrics, with settings that they have, its sections, its keys of a plan and the kind of its threats; all that is told is plain JSON."""
    one = everything("aim")[name]
    assert json.loads(json.dumps(one.describe()))["name"] == name
    for written in one.metrics:
        metric = everything("metric")[parse(written).name]
        metric.check(parse(written).settings)
        assert metric.aim == name
    assert set(one.sections) <= set(everything("section"))
    assert one.keys <= set(Plan.model_fields)
    assert one.threat in ("", "space", "tampering")
    assert not set(one.columns) & set(ROW.names), "a column of its own has the name of one that all rows have"


@pytest.mark.parametrize("name", everything("method"))
def test_a_method_belongs_to_an_aim(name):
    """Controls are those that the aim names."""
    one = everything("method")[name]
    assert one.aim in everything("aim")
    assert one.control == (name in everything("aim")[one.aim].controls)


def test_every_check_has_a_code_of_its_own():
    codes = [one.code for one in everything("check").values()]
    assert len(set(codes)) == len(codes), codes


def test_keys_of_training_are_no_settings():
    """What the command and the function take themselves is known where recipes are registered."""
    from sparring.cli.harden import KEYS
    from sparring.defences.training.recipe import TAKEN

    assert {*KEYS, *inspect.signature(sp.harden).parameters} - {"settings"} == TAKEN


@pytest.mark.parametrize("name", everything("metric"))
def test_a_metric_of_nothing(name):
    """Without rows it is a rate of no trials, or the share that it is then; it never fails."""
    metric = everything("metric")[name]
    assert metric.aim in everything("aim")
    assert metric.task is None or metric.task in everything("task")
    columns = [*ROW.names, "case", "attack", "cell", *everything("aim")[metric.aim].columns]
    found = metric(pd.DataFrame({column: pd.Series(dtype="object") for column in columns}))
    assert isinstance(found, Rate)
    assert found.n == 0


@pytest.mark.parametrize("name", everything("section"))
def test_a_section_of_nothing(name):
    """It is drawn, or left out, for a run without cases; its aim exists."""
    one = everything("section")[name]
    assert one.aim is None or one.aim in everything("aim")
    assert one.title
    if not one.shows:  # it is never drawn without what it is about
        drawn = one.draw(View({"cases": [], "status": "done", "gate": [], "warnings": [], "contradictions": []}, ()))
        assert drawn is None or isinstance(drawn, str)


@pytest.mark.parametrize("name", everything("recipe"))
def test_a_recipe_trains(name):
    """One epoch on some digits changes a copy of the network to finite weights, the same ones twice, and the network itself not at all."""
    torch.manual_seed(1)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))
    before = copy.deepcopy(module.state_dict())
    data = sp.load("digits", split="train", take=40)
    one, other = (sp.harden(module, data, sp.linf(0.05), name, fresh=False, epochs=1, batch=20).state_dict() for _ in range(2))
    for key, value in module.state_dict().items():
        assert torch.equal(value, before[key])
        assert bool(torch.isfinite(one[key]).all())
        assert torch.equal(one[key], other[key])
    assert any(not torch.equal(one[key], before[key]) for key in before)
