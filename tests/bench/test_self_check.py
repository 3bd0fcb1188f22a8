"""An evaluation whose checks fail looks again by itself, says what is best known, and keeps it."""

import json
from pathlib import Path

import torch
from torch import nn

import sparring as sp
from sparring.models.load import load_model


class Killer(nn.Module):
    """Rounds to 1/1000, so that no gradient passes."""

    def forward(self, x):
        return (x * 1000).round() / 1000


def killed():
    """A plain network of the zoo behind it, and the digits it knows."""
    data = sp.load("digits").take(40)
    plain = load_model("zoo:digits-plain", data)
    return sp.victim(nn.Sequential(Killer(), plain.module).eval(), data.domain, name="killed"), data


def test_a_failed_check_brings_a_reevaluation(tmp_path):
    victim, data = killed()
    run = sp.evaluate(victim, data, sp.linf(0.15), "control", out=tmp_path)
    (case,) = run.record.header["cases"]
    look = case["reevaluation"]
    assert any(one["verdict"] == "bad" for one in case["checks"])
    assert look["claimed"]["value"] > 0.8, "the gradient killer stops a plain attack"
    assert look["best_known"]["value"] < 0.3, "and not one that goes through it"
    assert "Adaptive re-evaluation" in Path(run.report(tmp_path / "report.html")).read_text()
    again = sp.evaluate(victim, data, sp.linf(0.15), "control", out=tmp_path)
    assert again.record.header["cases"][0]["reevaluation"] == json.loads(json.dumps(look))


def test_without_a_self_check_there_is_no_reevaluation(tmp_path):
    victim, data = killed()
    run = sp.evaluate(victim, data, sp.linf(0.15), "control", out=tmp_path, self_check=False)
    assert "reevaluation" not in run.record.header["cases"][0]


def test_a_sound_model_is_not_looked_at_again(tmp_path):
    data = sp.load("digits").take(40)
    run = sp.evaluate(load_model("zoo:digits-plain", data), data, sp.linf(0.15), "control", out=tmp_path)
    assert "reevaluation" not in run.record.header["cases"][0]
    assert torch.isfinite(torch.tensor(run.robust_accuracy.value))
