"""What a certifier says of spaces and victims that it is not for, and that its own function is not asked about them."""

import pytest

import sparring as sp
from sparring.certification.certifier import Limit
from sparring.core.registry import find
from sparring.threats.balls import Ball

VICTIM = sp.load_model("zoo:digits-plain")


@pytest.mark.parametrize(
    ("name", "threat", "said"),
    [
        ("network", sp.patch(2), "bounds of networks certify linf, l2 and l1 only"),
        ("lipschitz", sp.patch(2), "Lipschitz constants certify linf, l2 and l1 only"),
        ("trees", sp.patch(2), "trees are certified under linf, l2, l1"),
        ("words", sp.linf(0.1), "it certifies word substitutions only"),
        ("band_vote", sp.linf(0.1), "band_vote certifies patch threats only"),
        ("patch_cleanser", sp.linf(0.1), "patch_cleanser certifies patch threats only"),
        ("trees", sp.linf(0.1), "it is no ensemble of trees"),
        ("band_vote", sp.patch(2), "it certifies band votes only: wrap the victim"),
        ("patch_cleanser", sp.patch(2), "it certifies masked victims only: wrap the victim"),
        ("smoothing", sp.linf(0.1), "it certifies smoothed classifiers: wrap the victim"),
        ("lipschitz", sp.linf(0.1).targeted(1), "it certifies untargeted threats only"),
    ],
)
def test_the_sentence_names_the_cure(name, threat, said):
    assert find("certifier", name).misfit(VICTIM, threat).startswith(said)


def test_what_is_outside_the_limits_is_not_asked_about(monkeypatch):
    import sparring.certification.certifier as made

    asked = []
    monkeypatch.setattr(made, "register", lambda kind, name: lambda thing: thing)
    limited = made.certifier("limited", lambda victim, threat: asked.append(threat) or "", cites="nobody", spaces=Limit((Ball,), "balls only"))(
        lambda *given, **settings: []
    )
    assert limited.misfit(VICTIM, sp.patch(2)) == "balls only"
    assert not asked
    assert limited.misfit(VICTIM, sp.linf(0.1)) == ""
    assert len(asked) == 1
