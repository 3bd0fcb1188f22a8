"""A module that came in training mode is asked in evaluation mode, and where that makes a difference a sentence says so."""

import pytest
import torch
from torch import nn

import sparring as sp
from sparring.core.errors import ModelWarning
from sparring.core.evaluating import modal_parts

DATA = sp.load("digits", take=3)


class Asks(nn.Module):
    def forward(self, x):
        return nn.functional.dropout(x, 0.5, self.training)


class Heir(Asks):
    pass


class Sets(nn.Module):
    def train(self, mode=True):
        self.training = mode
        return self

    def forward(self, x):
        return x


@pytest.mark.parametrize(
    ("part", "named"),
    [
        (nn.Linear(2, 2), []), (nn.LayerNorm(2), []), (nn.GRU(2, 2), []), (nn.MultiheadAttention(2, 1), []), (Sets(), []), (nn.Dropout(0.0), []),
        (nn.BatchNorm1d(2, track_running_stats=False), []), (nn.InstanceNorm2d(2), []), (nn.TransformerEncoderLayer(4, 2, dropout=0.0), []),
        (nn.Dropout(0.1), ["Dropout"]), (nn.BatchNorm2d(2), ["BatchNorm2d"]), (nn.RReLU(), ["RReLU"]), (Asks(), ["Asks"]), (Heir(), ["Heir"]),
        (nn.LSTM(2, 2, 2, dropout=0.2), ["LSTM"]), (torch.jit.script(nn.Dropout(0.1)), ["Dropout"]), (torch.jit.script(nn.Linear(2, 2)), []),
    ],
    ids=lambda one: type(one).__name__,
)  # fmt: skip
def test_parts_that_answer_otherwise_in_training_mode(part, named):
    whole = nn.Sequential(nn.Identity(), part).train()
    assert modal_parts(whole) == named
    assert modal_parts(whole.eval()) == []


def network(*more):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), *more, nn.Linear(64, 10)).train()


def asked(net, how, folder):
    if how == "certify":
        return sp.certify(sp.victim(net, DATA.domain), DATA.x, DATA.y, sp.linf(0.001))
    return sp.evaluate(sp.victim(net, DATA.domain), DATA, sp.linf(0.001), ["noise"], certify="none", self_check=False, out=folder)


SAID = "Sequential came in training mode, in which BatchNorm1d, Dropout answer otherwise, and is asked in evaluation mode: call eval()"


@pytest.mark.parametrize("how", ["certify", "evaluate"])
def test_a_module_in_training_mode_brings_a_warning(how, tmp_path):
    with pytest.warns(ModelWarning, match=SAID.replace("(", r"\(").replace(")", r"\)")) as told:
        run = asked(network(nn.BatchNorm1d(64), nn.Dropout(0.5)), how, tmp_path)
    assert len([one for one in told if one.category is ModelWarning]) == 1
    assert {one.filename for one in told if one.category is ModelWarning} == {__file__}
    if how == "evaluate":
        assert any(SAID in one for one in run.record.header["warnings"])


@pytest.mark.filterwarnings("error::sparring.core.errors.ModelWarning")
@pytest.mark.parametrize("how", ["certify", "evaluate"])
@pytest.mark.parametrize("net", [lambda: network(nn.ReLU()), lambda: network(nn.BatchNorm1d(64), nn.Dropout(0.5)).eval()])
def test_where_the_mode_makes_no_difference_there_is_none(net, how, tmp_path):
    asked(net(), how, tmp_path)


def test_wrappers_pass_the_caution_on():
    victim = sp.victim(network(nn.Dropout(0.5)), DATA.domain)
    assert "came in training mode" in sp.eot(victim, 2).caution == victim.caution
