"""Names that were public under another spelling are understood for one version, with a warning."""

import pytest
import torch

import sparring as sp
from sparring.certification.certificate import Certificate, Verdict
from sparring.core.errors import UnknownName
from sparring.core.registry import find
from sparring.models.zoo import digits_robust


def test_the_witness_of_a_certificate():
    point = torch.ones(2)
    with pytest.warns(DeprecationWarning, match="called counterexample="):
        old = Certificate(Verdict.REFUTED, witness=point)
    new = Certificate(Verdict.REFUTED, counterexample=point)
    assert old.counterexample is new.counterexample is point
    with pytest.warns(DeprecationWarning, match="is now called counterexample"):
        assert new.witness is point
    with pytest.raises(ValueError, match="needs a counterexample"):
        Certificate(Verdict.REFUTED)


@pytest.mark.parametrize("name", ["network", "words"])
def test_rungs_of_a_certifier(name):
    with pytest.warns(DeprecationWarning, match="rungs= of .* is now called verifiers="):
        old = find("certifier", name).configure(rungs=["ibp"])
    assert old.settings == find("certifier", name).configure(verifiers=["ibp"]).settings
    with pytest.raises(UnknownName, match="did you mean verifiers"):
        find("certifier", name).configure(verifier=["ibp"])


def test_rungs_of_certify():
    data = sp.load("digits", take=3)
    victim = sp.victim(digits_robust(), sp.image(8, 8))
    with pytest.warns(DeprecationWarning, match="called verifiers="):
        old = sp.certify(victim, data.x, data.y, sp.linf(0.02), ["network"], rungs=["ibp"])
    new = sp.certify(victim, data.x, data.y, sp.linf(0.02), ["network"], verifiers=["ibp"])
    assert [(one.verdict, one.margin) for one in old] == [(one.verdict, one.margin) for one in new]
