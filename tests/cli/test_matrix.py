"""spar ls attacks --tasks prints what runs on which task, read from what attacks and tasks declare."""

import json
from typing import NamedTuple

import pytest
from torch import Tensor

from sparring.cli.matrix import criterion_of, matrix
from sparring.core import registry
from sparring.core.registry import everything
from sparring.tasks.classes import ClassCriterion
from sparring.tasks.values import Values


class OtherCriterion(NamedTuple):
    """A criterion that no loss but the margin knows."""

    truth: Tensor


class Counts(Values):
    """A task of a plugin."""

    kind = "counts"

    def wrong(self, truth: Tensor) -> OtherCriterion:
        return OtherCriterion(truth)


@pytest.fixture
def plugin(monkeypatch):
    """A plugin has registered the task `counts`."""
    everything("task")
    monkeypatch.setitem(registry._things["task"], "counts", Counts)


def test_attacks_that_declare_classes_run_on_classes_only():
    rows = {row["name"]: row for row in matrix("attacks", "attack")}
    assert set(rows) == set(everything("attack"))
    assert rows["fab_t"] == {"name": "fab_t", "tasks": {"classes": "yes", "labels": "-", "mask": "-", "values": "-"}, "why": "needs classes"}
    assert rows["pgd"] == {"name": "pgd", "tasks": {"classes": "yes", "labels": "yes", "mask": "yes", "values": "yes"}, "why": ""}
    for name, row in rows.items():
        declared = everything("attack")[name].tasks
        assert {task for task, cell in row["tasks"].items() if cell != "-"} == (declared or set(everything("task")))
        assert bool(row["why"]) == bool(declared)


@pytest.mark.usefixtures("plugin")
def test_the_task_of_a_plugin_is_a_column():
    """Attacks whose usual loss does not know its criterion run with the margin, and the row says so."""
    rows = {row["name"]: row for row in matrix("attacks", "attack")}
    assert rows["square"]["tasks"]["counts"] == "yes"
    assert rows["jsma"]["tasks"]["counts"] == "-"
    assert rows["pgd"]["tasks"] == {"classes": "yes", "counts": "loss=margin", "labels": "yes", "mask": "yes", "values": "yes"}
    assert rows["pgd"]["why"] == f"no {everything('attack')['pgd'].defaults['loss']} for counts"


def test_a_task_declares_its_criterion():
    assert criterion_of(everything("task")["classes"]) is ClassCriterion
    assert criterion_of(Counts) is OtherCriterion


def test_goals_certifiers_and_checks_have_a_matrix_too():
    assert {row["name"]: row["why"] for row in matrix("goals", "goal")}["erase"] == "needs labels, mask"
    assert {row["why"] for row in matrix("certifiers", "certifier")} == {"needs classes"}
    assert len(matrix("checks", "check")) == len(everything("check"))


def test_the_matrix_on_the_command_line(spar):
    """Every attack has one line of at most 80 columns; a pattern and --json work as in other listings."""
    lines = spar("ls", "attacks", "--tasks").out.splitlines()
    assert lines[0].split() == ["name", *everything("task"), "why"]
    assert [line.split()[0] for line in lines[1:]] == list(everything("attack"))
    assert max(map(len, lines)) <= 80
    assert json.loads(spar("ls", "attacks", "fab*", "--tasks", "--json").out) == [
        {"name": "fab", "tasks": {"classes": "yes", "labels": "yes", "mask": "yes", "values": "yes"}, "why": ""},
        {"name": "fab_t", "tasks": {"classes": "yes", "labels": "-", "mask": "-", "values": "-"}, "why": "needs classes"},
    ]


@pytest.mark.parametrize("word", ["models", "runs"])
def test_what_declares_no_tasks_is_refused_with_a_sentence(spar, word):
    said = spar("ls", word, "--tasks")
    assert said.code == 2
    assert f"{word} do not declare the tasks that they are for; ask for attack, " in said.err
