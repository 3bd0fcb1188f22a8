"""What is registered or configured travels to another process: it comes back from a pickle as it was."""

import pickle

import pytest
import torch
from support import ARENAS

import sparring as sp
from sparring.core.registry import everything
from sparring.threats.goals import Targeted, Untargeted


def again(thing):
    return pickle.loads(pickle.dumps(thing))


@pytest.mark.parametrize("name", everything("attack"))
def test_attacks(name):
    one = everything("attack")[name]
    count = next((setting for setting, value in one.defaults.items() if isinstance(value, int) and not isinstance(value, bool)), None)
    configured = one.configure(**{count: 3}) if count else one
    assert again(one) == one
    assert again(configured) == configured
    assert str(again(configured)) == str(configured)


@pytest.mark.parametrize("arena", ARENAS.general())
def test_spaces_domains_and_tasks(arena):
    found = ARENAS[arena]
    assert again(found.threat).describe() == found.threat.describe()
    assert again(found.victim.domain) == found.victim.domain
    assert again(found.victim.task) == found.victim.task


@pytest.mark.parametrize("goal", [Untargeted(), Targeted("next"), Targeted("random"), Targeted(3), Targeted(torch.tensor([1, 2]))], ids=str)
def test_goals(goal):
    assert again(goal).describe() == goal.describe()


def test_victims_and_data():
    data = sp.load("digits", take=4)
    victim = sp.load_model("zoo:digits-plain")
    told = again(data)
    assert (told.sha256, told.ids) == (data.sha256, data.ids)
    sp.attacks.fgsm(victim, data.x, data.y, sp.linf(0.1))
    back = again(victim)
    assert torch.equal(back.scores(data.x), victim.scores(data.x))
    assert back.fingerprint == victim.fingerprint
    made = sp.transfer(victim, changes="mi+di")
    assert again(made).describe() == made.describe()


@pytest.mark.parametrize("out", ["memory://pickled", None], ids=["in memory", "on disk"])
def test_runs(out, tmp_path):
    """A run comes back with the table of its record."""
    data = sp.load("digits", take=4)
    run = sp.evaluate("zoo:digits-plain", data, sp.linf(0.1), ["fgsm"], certify="none", self_check=False, out=out or tmp_path)
    back = again(run)
    assert repr(back) == repr(run)
    assert back.table().equals(run.table())


def test_certificates_and_findings():
    """Certificates, findings and an adaptive re-evaluation come back as they were."""
    data, victim = sp.load("digits", take=4), sp.load_model("zoo:digits-plain")
    proved = sp.certify(victim, data.x, data.y, sp.linf(0.01))
    assert again(proved).table().equals(proved.table())
    found = sp.doctor(victim, data)
    assert [one.describe() for one in again(found)] == [one.describe() for one in found]
    assert again(found).verdict == found.verdict
    looked = sp.reevaluate(victim, data, sp.linf(0.01))
    assert again(looked).describe() == looked.describe()
