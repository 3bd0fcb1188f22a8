"""Promise 12, for every aim: where a model cannot be hashed completely, it is asked again before its record is continued."""

import pytest
import torch
from torch import nn

import sparring as sp
from sparring.aims.aim import Request
from sparring.aims.case import Settings
from sparring.bench.evaluate import carry_out
from sparring.bench.run import Run
from sparring.core.errors import RecordError, UsageError
from sparring.core.fit import read_fit
from sparring.core.registry import everything, find
from sparring.models.zoo import digits_plain

AIMS = sorted(name for name, one in everything("aim").items() if "model" in one.keys)


class Box:
    """An object whose content nobody can read."""

    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value

    def __reduce_ex__(self, protocol):
        raise TypeError("closed")


class Net(nn.Module):
    """The digits network, whose scores are multiplied by the content of a box."""

    def __init__(self, gain):
        super().__init__()
        self.net, self.box = digits_plain(), Box(gain)

    def forward(self, x):
        return self.net(x) * self.box.value


def victim_of(gain):
    victim = sp.victim(Net(gain).eval(), sp.image(8, 8), name="net", search="plain")
    assert not victim.complete
    return victim


def run(aim, out, gain, **changes):
    data = sp.load("digits", take=60 if aim == "membership" else 20)
    told = {
        "data": data, "victims": [victim_of(gain)], "threats": [sp.linf(0.05)], "attacks": "fgsm", "certify": "none", "train": sp.load("digits", split="train"),
        "fits": [read_fit("mlp(epochs=1)")], "members": frozenset(data.ids[:30]),
    }  # fmt: skip
    if aim in ("membership", "extraction", "corruption"):
        told["attacks"] = "default"
    cases = find("aim", aim).cases(Request(**{**told, **changes}))
    return carry_out(cases, out, {}, Settings(self_check=False, batch=60))


@pytest.mark.parametrize("aim", AIMS)
def test_the_same_model_is_continued(aim, tmp_path):
    """It is asked about a few rows and answers as before; no row is computed again."""
    first = run(aim, tmp_path, 1.0)
    again = run(aim, tmp_path, 1.0)
    assert again.path == first.path
    assert again.record.header["resumed"] == 1
    assert again.table().equals(first.table())


@pytest.mark.parametrize("aim", AIMS)
@pytest.mark.parametrize("begun", ["finished", "without its header"])
def test_another_model_is_refused(aim, begun, tmp_path):
    """Its answers differ; the record stays as it is, also where run.json was deleted."""
    first = run(aim, tmp_path, 1.0)
    if begun != "finished":
        first.record.store.files.rm(first.record.store.path("run.json"))
    with pytest.raises((RecordError, UsageError), match=r"answers otherwise than before|recorded samples otherwise|none of the 20 samples"):
        run(aim, tmp_path, -1.0)
    if begun == "finished":
        assert Run.open(first.path).status == "done"


@pytest.mark.parametrize("aim", ["evasion", "membership"])
def test_other_scores_with_the_same_classes_are_noticed(aim, tmp_path):
    """Half the scores: every class is the same, margins and scores of attacks are not."""
    run(aim, tmp_path, 1.0)
    with pytest.raises(RecordError, match="recorded samples otherwise than before"):
        run(aim, tmp_path, 0.5)


def test_certificates_of_such_a_model(tmp_path):
    """Their cells are not continued either, not even where the clean rows are gone."""
    first = run("evasion", tmp_path, 1.0, certify=["network(effort='bounds')"], threats=[sp.linf(0.002)])
    clean, proved, *_ = first.record.header["cases"][0]["cells"]
    assert len(first.record.rows(proved["key"])) == 20
    first.record.store.files.rm(first.record.store.path(f"cells/{clean['key']}"), recursive=True)
    with pytest.raises(RecordError, match="net cannot be compared with the record, which holds no answer of clean"):
        run("evasion", tmp_path, -1.0, certify=["network(effort='bounds')"], threats=[sp.linf(0.002)])


def test_a_source_whose_answers_no_row_holds(tmp_path):
    """The points of a transfer depend on it: refused; a source that is hashed completely is fine."""
    target = sp.load_model("zoo:digits-robust")
    for source, refused in ((sp.load_model("zoo:digits-plain"), False), (victim_of(1.0), True)):
        changes = {"victims": [target], "sources": [[source]]}
        first = run("transfer", tmp_path / str(refused), 1.0, **changes)
        if refused:
            with pytest.raises(RecordError, match="net holds what cannot be hashed, so it may not be the model of the recorded rows"):
                run("transfer", tmp_path / str(refused), 1.0, **changes)
        else:
            assert run("transfer", tmp_path / str(refused), 1.0, **changes).path == first.path


def test_a_surrogate_whose_answers_no_row_holds(tmp_path):
    """As a source."""
    changes = {"victims": [sp.load_model("zoo:digits-robust")], "attacks": [sp.transfer(victim_of(1.0), steps=1)]}
    run("evasion", tmp_path, 1.0, **changes)
    with pytest.raises(RecordError, match="net holds what cannot be hashed"):
        run("evasion", tmp_path, 1.0, **changes)


def test_an_interrupted_run_of_a_model_that_answers_the_same(tmp_path):
    """Nothing on record yet, and only some rows: both go on."""
    whole = run("evasion", tmp_path / "whole", 1.0)
    torch.manual_seed(1)
    for cell in whole.record.header["cases"][0]["cells"][1:]:
        whole.record.store.files.rm(whole.record.store.path(f"cells/{cell['key']}"), recursive=True)
    again = run("evasion", tmp_path / "whole", 1.0)
    assert again.status == "done"
    assert not again.missing()
