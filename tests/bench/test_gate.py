"""Gates are judged on the lower end of the interval."""

import math

import pytest

import sparring as sp
from sparring.bench.gate import check_gate, judge_gate, read_rule
from sparring.core.errors import PlanError, UnknownName


def test_rules_are_read():
    """Metric, part of the name, bound; per cent or a share."""
    assert said("robust_accuracy >= 0.45") == ("robust_accuracy", {}, "", False, 0.45)
    assert said(" clean_accuracy[ linf 0.1 ]>=45% ") == ("clean_accuracy", {}, "linf 0.1", False, 0.45)
    assert said("robust_accuracy > 1e-2") == ("robust_accuracy", {}, "", False, 0.01)
    assert said("excess(auc)<= 0.05") == ("excess(auc)", {}, "", True, 0.05)
    assert said("excess( tpr(fpr=0.01) )[mlp] <= 5%") == ("excess(tpr)", {"fpr": 0.01}, "mlp", True, 0.05)
    assert said("tpr(fpr=0.001)[mlp] <= 1%") == ("tpr", {"fpr": 0.001}, "mlp", True, 0.01)


def said(text):
    """A rule with the name of its metric."""
    rule = read_rule(text)
    return rule.metric.name, *rule[1:]


def wilson_low(hits, n, z=1.959963984540054):
    """Lower end of Wilson's interval, from the textbook."""
    share = hits / n
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (share + z * z / (2 * n)) / (1 + z * z / n) - half


def test_the_lower_end_decides(whole):
    """A bound between the lower end and the value is missed; the smallest step below the end is met."""
    hits = round(whole.robust_accuracy.value * 20)
    low = wilson_low(hits, 20)
    assert 0 < low < whole.robust_accuracy.value
    for bound, met in ((low - 1e-6, True), (low + 1e-6, False), (whole.robust_accuracy.value, False)):
        (one,) = judge_gate(whole, [f"robust_accuracy >= {bound:.9f}"])
        assert (one["met"], one["value"]) == (met, hits / 20)
        assert one["low"] == pytest.approx(low, abs=1e-9)
        assert type(one["met"]) is bool


def test_a_rule_holds_for_every_case_it_is_about(small, tmp_path):
    """Without brackets for all, with them for those whose name has the words in it."""
    run = small(threat=["linf 0.01", "linf 0.3"], attacks="fgsm", out=str(tmp_path)).run()
    everywhere, one = judge_gate(run, ["robust_accuracy >= 0.5"]), judge_gate(run, ["robust_accuracy[linf 0.01] >= 0.5"])
    assert [judged["met"] for judged in everywhere] == [True, False]
    assert [judged["case"] for judged in one] == ["digits-plain · linf 0.01"]


def test_rules_are_refused_before_anything_is_computed(small, tmp_path, monkeypatch):
    """A slip in a rule must not cost hours."""
    with pytest.raises(PlanError, match="no case"):
        check_gate(["robust_accuracy[l1] >= 0.1"], {"a · linf 0.1": "evasion"})
    with pytest.raises(UnknownName):
        check_gate(["speed >= 0.1"], {"a": "evasion"})
    with pytest.raises(PlanError, match=r"tpr\(fpr=2\): the false positive rate lies between 0 and 1"):
        check_gate(["tpr(fpr=2) <= 0.1"], {"a": "membership"})
    with pytest.raises(PlanError, match="uses a metric of membership, but the cases are about evasion"):
        check_gate(["tpr(fpr=0.1) <= 0.2"], {"a": "evasion"})
    with pytest.raises(UnknownName, match="fpr"):
        check_gate(["tpr(fqr=0.1) <= 0.2"], {"a": "membership"})
    with pytest.raises(PlanError, match="measures a whole case"):
        check_gate(["excess(robust_accuracy) <= 0.2"], {"a": "evasion"})
    with pytest.raises(PlanError, match="uses a metric of membership"):
        check_gate(["excess(auc) <= 0.2"], {"a": "evasion"})
    for wrong in ("excess() <= 0.1", "excess(excess(auc)) <= 0.1", "excess(speed) <= 0.1", "excess <= 0.1"):
        with pytest.raises((PlanError, UnknownName)):
            check_gate([wrong], {"a": "membership"})
    monkeypatch.setattr("sparring.bench.evaluate.carry_out", lambda *any: pytest.fail("began"))
    with pytest.raises(PlanError, match="cannot read the gate"):
        small(gate="robust_accuracy = 0.5", out=str(tmp_path)).run()


def test_one_string_holds_one_rule_or_several(tmp_path):
    """`gate=` of `evaluate` reads a string as the key of a plan is read."""
    data, victim = sp.load("digits", take=4), sp.load_model("zoo:digits-plain")
    gate = "clean_accuracy >= 0.1, robust_accuracy[linf 0.1] >= 0"
    run = sp.evaluate(victim, data, sp.linf(0.1), "fgsm", certify="none", self_check=False, gate=gate, out=tmp_path)
    assert [one["rule"] for one in run.record.header["gate"]] == ["clean_accuracy >= 0.1", "robust_accuracy[linf 0.1] >= 0"]
