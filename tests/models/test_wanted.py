"""A model where a victim is wanted, and a number where a threat is wanted, get a sentence that says what to give."""

import re
from typing import Any

import pytest
import torch
from sklearn.linear_model import LogisticRegression

import sparring as sp
from sparring.bench.plan import Plan
from sparring.core.errors import UnknownName, UsageError
from sparring.core.foreign import WORDS, ours
from sparring.models.zoo import digits_plain

DATA = sp.load("digits", take=2)
NET, DOMAIN = digits_plain(), sp.image(8, 8)
LOOSE: Any = sp
"""The package without its types, for calls that a type checker refuses."""
VICTIM, THREAT = sp.victim(NET, DOMAIN), sp.linf(0.1)

DOORS = {
    "attack": lambda victim, threat: sp.attacks.pgd(victim, DATA.x, DATA.y, threat, steps=1),
    "certify": lambda victim, threat: sp.certify(victim, DATA.x, DATA.y, threat, "network", effort="bounds"),
    "certified radius": lambda victim, threat: sp.certified_radius(victim, DATA.x, DATA.y, threat, ["network"], steps=1, effort="bounds"),
    "reevaluate": lambda victim, threat: sp.reevaluate(victim, (DATA.x, DATA.y), threat),
    "doctor": lambda victim, threat: sp.doctor(victim, (DATA.x, DATA.y), threat),
    "evaluate": lambda victim, threat: sp.evaluate(victim, (DATA.x, DATA.y), threat, "fgsm", certify="none", out="memory://wanted"),
    "universal": lambda victim, threat: sp.universal(victim, DATA.x, DATA.y, threat),
    "generator": lambda victim, threat: sp.generator(victim, DATA.x, DATA.y, threat),
    "reinforce": lambda victim, threat: sp.reinforce(victim, DATA.x, DATA.y, threat),
}


@pytest.mark.parametrize("door", DOORS)
def test_a_module_without_a_domain_is_no_victim(door):
    with pytest.raises(UsageError, match=r"sp\.victim\(model, domain\)"):
        DOORS[door](NET, THREAT)


@pytest.mark.parametrize("door", DOORS)
def test_a_number_is_no_threat(door):
    with pytest.raises(UsageError, match=r"sp\.linf\(0\.1\)"):
        DOORS[door](VICTIM, 0.1)


@pytest.mark.parametrize("door", ["attack", "certify", "certified radius", "doctor"])
@pytest.mark.parametrize("given", [(NET, DOMAIN), "zoo:digits-plain"], ids=["pair", "zoo"])
def test_a_pair_and_a_model_of_the_zoo_are_victims(door, given):
    one, other = (DOORS[door](each, THREAT) for each in (given, VICTIM))
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif door == "doctor":
        assert [(each.code, each.verdict) for each in one] == [(each.code, each.verdict) for each in other]
    else:
        assert [(each.verdict, each.radius, each.margin) for each in one] == [(each.verdict, each.radius, each.margin) for each in other]


WITH_DATA = {
    "evaluate": lambda model: sp.evaluate(model, DATA, THREAT, "fgsm", certify="none", self_check=False, out="memory://wanted").robust_accuracy.n,
    "doctor": lambda model: len(sp.doctor(model, DATA)),
    "corruption_error": lambda model: sp.corruption_error(model, DATA, names=["brightness"], severities=[1]).clean.n,
    "transfer_matrix": lambda model: sp.transfer_matrix([model], [VICTIM], DATA, sp.linf(0.1), ["fgsm"], out="memory://wanted").n,
    "substitute": lambda model: len(sp.substitute(model, DATA, rounds=0, epochs=1).victim.name),
}


@pytest.mark.parametrize("door", WITH_DATA)
def test_data_tell_what_the_inputs_of_a_module_are(door):
    assert WITH_DATA[door](NET) > 0


def test_an_estimator_and_a_path_are_victims_where_there_are_data(tmp_path):
    data = sp.load("breast-cancer", take=40)
    estimator = LogisticRegression(max_iter=3000).fit(data.domain.native(data.x), data.y.numpy())
    assert {one.verdict for one in sp.doctor(estimator, data)} <= {"ok", "caution", "not applicable", "bad"}
    assert sp.doctor((estimator, data.domain), (data.x, data.y)).verdict in ("reliable", "caution", "unreliable")
    with pytest.raises(UsageError, match=r"none\.onnx"):
        sp.doctor(tmp_path / "none.onnx", DATA)


MAKERS = {
    "eot": lambda model: sp.eot(model, 2),
    "bpda": lambda model: sp.bpda(model, "layers.1"),
    "smoothed": lambda model: sp.smoothed(model, 0.1),
    "band_vote": lambda model: sp.band_vote(model),
    "patch_cleanser": lambda model: sp.patch_cleanser(model, 2, masks=4),
}


@pytest.mark.parametrize("maker", MAKERS)
def test_what_makes_victims_takes_a_pair_and_asks_for_the_domain(maker):
    assert MAKERS[maker]((NET, DOMAIN)).domain == DOMAIN
    with pytest.raises(UsageError, match=r"sp\.victim\(model, domain\).*sp\.image\(28, 28\)"):
        MAKERS[maker](NET)


def test_surrogates_are_victims_or_pairs():
    for given in ((NET, DOMAIN), [(NET, DOMAIN)], VICTIM, (VICTIM,)):
        assert str(sp.transfer(given)).startswith("transfer(surrogate=")
    with pytest.raises(UsageError, match="a surrogate is a DigitsNet"):
        sp.transfer(NET)  # type: ignore[arg-type]


def test_hardening_takes_a_victim_of_a_module():
    assert type(sp.harden(VICTIM, sp.load("digits", split="train", take=20), THREAT, epochs=1, batch=20)).__name__ == type(NET).__name__
    with pytest.raises(UsageError, match=r"sp\.Data\.of"):
        LOOSE.harden(NET, (DATA.x, DATA.y), THREAT)
    with pytest.raises(UsageError, match=r"sp\.linf\(0\.1\)"):
        LOOSE.harden(NET, DATA, 0.1)


FOREIGN = {
    "alpha": (lambda: LOOSE.attacks.pgd(VICTIM, DATA.x, DATA.y, THREAT, alpha=0.01), "write step_size=...; step_size is a share of the radius"),
    "eps": (lambda: LOOSE.attacks.pgd(VICTIM, DATA.x, DATA.y, THREAT, eps=0.03), "the radius belongs to the threat"),
    "n_iter": (lambda: LOOSE.attacks.pgd.configure(n_iter=5), "write steps=..."),
    "max_iter": (lambda: LOOSE.attacks.apgd.configure(max_iter=5), "write steps=..."),
    "nb_iter": (lambda: LOOSE.attacks.fab.configure(nb_iter=5), "write steps=..."),
    "norm": (lambda: LOOSE.attacks.apgd.configure(norm="Linf"), "the norm belongs to the threat"),
    "targeted": (lambda: LOOSE.attacks.pgd.configure(targeted=True), "the goal belongs to the threat"),
    "n_queries": (lambda: LOOSE.attacks.square.configure(n_queries=5), "write queries=..."),
    "in a plan": (lambda: LOOSE.evaluate(VICTIM, DATA, THREAT, "pgd(alpha=0.01)"), "write step_size=..."),
    "epsilon": (lambda: LOOSE.linf(epsilon=0.1), "write radius=..."),
    "norm of evaluate": (lambda: LOOSE.evaluate(VICTIM, DATA, THREAT, norm="L2"), "the norm belongs to the threat"),
    "batch_size": (lambda: LOOSE.evaluate(VICTIM, DATA, THREAT, batch_size=5), "write batch=..."),
    "key": (lambda: Plan.of({"eps": 0.1}), "the radius belongs to the threat"),
    "certify": (lambda: LOOSE.certify(VICTIM, DATA.x, DATA.y, THREAT, eps=0.1), "the radius belongs to the threat"),
    "harden": (lambda: LOOSE.harden(NET, DATA, THREAT, "ibp", num_epochs=3), "write epochs=..."),
    "smoothed": (lambda: LOOSE.smoothed(VICTIM, n=5), "known"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_names_of_other_libraries_are_answered_with_ours(case):
    call, answer = FOREIGN[case]
    with pytest.raises(UnknownName, match=re.escape(answer)):
        call()


def test_a_foreign_name_is_never_answered_with_itself():
    for name in WORDS:
        assert f"write {name}=" not in str(ours(name, WORDS))


def test_other_doors():
    with pytest.raises(UsageError, match="the goal is 'targeted next'"):
        THREAT.toward("targeted next")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="the task is 'values'"):
        sp.victim(NET, DOMAIN, task="values")
