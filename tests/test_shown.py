"""What a notebook shows is short and escaped."""

import torch

import sparring as sp
from sparring.certification.certificate import Certificate, Verdict

DATA = sp.load("digits", take=3)
EVIL = "<script>alert(1)</script>"


def test_short_texts():
    victim = sp.load_model("zoo:digits-plain")
    targets = torch.arange(1000)
    things = [
        victim, sp.eot(victim), DATA, sp.linf(0.1), sp.linf(torch.zeros(1000)).targeted(targets), sp.linf(0.1).within(queries=9).smallest(),
        sp.attacks.pgd, sp.attacks.pgd.configure(steps=5), sp.doctor(victim, DATA), *sp.doctor(victim, DATA),
        Certificate(Verdict.UNKNOWN, reason="x" * 500), Certificate(Verdict.REFUTED, counterexample=torch.zeros(9, 99)),
    ]  # fmt: skip
    for thing in things:
        assert len(repr(thing)) < 200
        assert " at 0x" not in repr(thing)
        assert "\n" not in repr(thing)
    assert repr(sp.linf(0.1).targeted(3)) == "<threat linf 0.1, targeted 3, gradients>"
    assert repr(sp.attacks.pgd.configure(steps=5)) == "<attack pgd(steps=5)>"


def test_html_is_escaped():
    net = sp.load_model("zoo:digits-plain").module  # type: ignore[attr-defined]
    victim, data = sp.victim(net, DATA.domain, name=EVIL), sp.Data.of(DATA.x, DATA.y, DATA.domain, name=EVIL, classes=[EVIL] * 10)
    run = sp.evaluate(victim, data, sp.linf(0.1), "fgsm", certify="none", self_check=False, out="memory://shown")
    for thing in (run, data, sp.doctor(victim, data)):
        written = thing._repr_html_()
        assert written.startswith("<table>")
        assert "<script>" not in written
        assert len(written) < 20000
    assert "not asked" in run._repr_html_()
    assert "1 case>" in repr(run)
    assert "&lt;script&gt;" in data._repr_html_()


def test_goals_are_fluent():
    assert sp.linf(0.1).targeted(3) == sp.linf(0.1).toward(sp.Targeted(3))
    assert sp.linf(0.1).targeted().goal == sp.Targeted("next")
    assert sp.linf(0.1).targeted(3).untargeted() == sp.linf(0.1)
