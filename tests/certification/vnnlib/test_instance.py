"""Instances: networks whose answers are known by hand, and what counts as a counterexample."""

import csv
import gzip
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from certification.vnnlib.small import absolute, identity, write_network, write_property
from certification.work_clock import spent

from sparring.certification.certificate import Verdict
from sparring.certification.networks.state import QueryAnswer
from sparring.certification.vnnlib import instance
from sparring.certification.vnnlib.counterexample import Standing, held
from sparring.certification.vnnlib.instance import decide_instance, load_network, load_property, query
from sparring.core.errors import InputError, LoadError, UsageError

SHARED = Path(__file__).parents[4] / "shared" / "data" / "vnncomp"


@pytest.fixture
def pair(tmp_path):
    """A network of `small` and a property of it, as paths."""

    def make(network, low, high, rule, **more):
        return network(tmp_path / "net.onnx"), write_property(tmp_path / "p.vnnlib", low, high, rule, **more)

    instance._network.cache_clear()
    instance._property.cache_clear()
    return make


@pytest.mark.parametrize(
    ("network", "low", "high", "rule", "result"),
    [
        (absolute, -1, 1, "(>= Y_0 2.5)", "unsat"),
        (absolute, -1, 1, "(>= Y_0 0.5)", "sat"),
        (absolute, -1, 1, "(<= Y_0 -0.5)", "unsat"),
        (identity, 0, 1, "(>= Y_0 0.75)", "sat"),
        (identity, 0, 1, "(>= Y_0 1.25)", "unsat"),
        (identity, 0, 1, "(or (>= Y_0 1.25) (<= Y_0 -0.25))", "unsat"),
        (identity, 0, 1, "(or (>= Y_0 1.25) (<= Y_0 0.25))", "sat"),
        (identity, 0, 1, "(and (>= Y_0 0.25) (<= Y_0 -0.25))", "unsat"),
        (identity, 0, 1, "(or (and (<= X_0 0.25) (>= Y_0 0.5)) (and (>= X_0 0.75) (<= Y_0 0.5)))", "unsat"),
        (identity, 0, 1, "(or (and (<= X_0 0.25) (>= Y_0 0.5)) (and (>= X_0 0.75) (>= Y_0 0.5)))", "sat"),
    ],
)
def test_answers_known_by_hand(monkeypatch, pair, network, low, high, rule, result):
    answer, took = spent(monkeypatch, lambda: decide_instance(*pair(network, low, high, rule), 10))
    assert answer.result == result
    assert answer.verifier
    assert answer.decided
    assert 0 < answer.seconds <= took
    assert (answer.counterexample is not None) == (result == "sat")


def test_a_counterexample_is_what_onnxruntime_says(pair):
    """x and y as another session of the file gives them; x is a float32 in the box; the text reads back exactly."""
    network, asked = pair(absolute, -0.3, 0.7, "(>= Y_0 0.65)")
    found = decide_instance(network, asked, 10).counterexample
    assert found.standing is Standing.HOLDS
    (y,) = onnxruntime.InferenceSession(network).run(None, {"x": found.x.astype(np.float32).reshape(1, 1)})[0].astype(np.float64)
    np.testing.assert_array_equal(found.y, y)
    assert found.x == found.x.astype(np.float32)
    assert Fraction(float(found.x[0])) <= Fraction("0.7")
    assert y[0] >= 0.65
    assert re.fullmatch(r"\(\(X_0 \S+\)\n\(Y_0 \S+\)\)\n", found.text())
    assert [float(word) for word in re.findall(r"_0 (\S+)\)", found.text().replace("))", ")"))] == [found.x[0], found.y[0]]


def claims(monkeypatch, *answers):
    """An engine that answers so, whatever is asked, and never asks for a replay."""
    monkeypatch.setattr(instance, "decide", lambda query, **settings: list(answers))


def refuted(x):
    return QueryAnswer(Verdict.REFUTED, "stand-in", counterexample=torch.tensor([[x]], dtype=torch.float64))


@pytest.mark.parametrize(
    ("x", "threshold", "result"), [(1.0, 1.0, "sat"), (1.0, 1.00005, "unknown"), (1.0, 1.5, "unknown"), (1.00005, 1.00002, "unknown"), (3.0, 2.0, "unknown")]
)
def test_claims_are_replayed(pair, monkeypatch, x, threshold, result):
    """Only what holds without tolerance, for an input in the box, is "sat", whatever the engine says."""
    claims(monkeypatch, refuted(x))
    answer = decide_instance(*pair(identity, 0, 1, f"(>= Y_0 {threshold})"), 10)
    assert answer.result == result
    assert answer.reason or result == "sat"


def test_within_the_tolerance_shows_nothing(pair, monkeypatch):
    """The engine is told no, and the reason says so."""
    told = []

    def decide(query, *, seconds, replay, **settings):
        told.extend(replay(torch.tensor([[1.0], [0.5]], dtype=torch.float64), torch.tensor([0, 0])).tolist())
        return [QueryAnswer(Verdict.UNKNOWN, reason="bounds: not tight enough")]

    monkeypatch.setattr(instance, "decide", decide)
    answer = decide_instance(*pair(identity, 0, 1, "(>= Y_0 1.00005)"), 10)
    assert told == [False, False]
    assert answer.result == "unknown"
    assert "only within the tolerance 0.0001" in answer.reason


def test_float64_has_to_agree(pair, monkeypatch):
    """A network that was read differently from what runs: nothing is said."""
    network, asked = pair(identity, 0, 1, "(>= Y_0 0.5)")
    deployed = load_network(str(network))
    other = load_network(str(write_network(network.with_name("other.onnx"), ([[0.25]], [0.0]))))
    mixed = instance.Deployed(other.network, deployed.runtime)
    assert deployed.replay(load_property(str(asked)), np.array([1.0])).standing is Standing.HOLDS
    assert mixed.replay(load_property(str(asked)), np.array([1.0])).standing is Standing.FAILS


@pytest.mark.parametrize("reason", ["time: the limit was reached", "bounds: not tight"])
def test_every_case_has_to_be_proved(pair, monkeypatch, reason):
    """One open case, and the property is open; one refuted is enough."""
    proved, open_ = QueryAnswer(Verdict.PROVED, "crown"), QueryAnswer(Verdict.UNKNOWN, reason=reason)
    network, asked = pair(identity, 0, 1, "(or (and (<= X_0 0.25) (>= Y_0 0.5)) (and (>= X_0 0.75) (>= Y_0 0.5)))")
    claims(monkeypatch, proved, open_)
    answer = decide_instance(network, asked, 10)
    assert (answer.result, answer.reason) == ("timeout" if reason.startswith("time") else "unknown", reason)
    claims(monkeypatch, open_, refuted(1.0))
    assert decide_instance(network, asked, 10).result == "sat"
    claims(monkeypatch, proved, QueryAnswer(Verdict.PROVED, "milp"))
    assert decide_instance(network, asked, 10).verifier == "crown+milp"


def test_the_query_says_what_the_property_says(pair):
    """At random points the margin of the engine's query is positive exactly where the output is safe."""
    rule = "(or (and (<= X_0 0.5) (>= Y_0 0.1) (<= Y_1 0.3)) (and (<= X_0 0.5) (>= Y_1 0.4)) (and (>= X_1 0.5) (<= (+ Y_0 (* 0.1 Y_1)) -0.2)))"

    def network(path):
        return write_network(path, ([[1.0, -1.0], [0.5, 1.0]], [0.1, -0.2]), ([[1.0, -2.0], [0.5, 0.5]], [0.0, 0.1]))

    network_path, property_path = pair(network, 0, 1, rule, inputs=2, outputs=2)
    deployed, asked = load_network(str(network_path)), load_property(str(property_path))
    posed = query(deployed, asked.cases)
    unsafe = 0
    for x in torch.rand(300, 2, dtype=torch.float64):
        repeated = x.expand(len(posed), 2)
        says = bool(((posed.margin(posed.at(repeated)) <= 0) & posed.inputs.contains(repeated)).any())
        assert says == asked.unsafe(x.numpy(), deployed.exact(x.numpy()))
        unsafe += says
    assert 0 < unsafe < 300


def test_numbers_that_the_file_can_take():
    """float32, in the box, as near as there is; where the box holds none, what lies in it."""
    rng = np.random.default_rng(0)
    low = rng.normal(size=1000)
    high = low + 10.0 ** rng.uniform(-5, 1, 1000)
    x = low + (high - low) * rng.choice([0, 0.3, 1, 1.5], 1000)
    found = held(x, low, high, np.dtype("f4"))
    assert np.all((low <= found) & (found <= high))
    np.testing.assert_array_equal(found, found.astype(np.float32))
    assert np.all(np.abs(found - np.clip(x, low, high)) <= 2e-6)
    thin = np.array([0.1])
    np.testing.assert_array_equal(held(np.array([0.3]), thin, thin, np.dtype("f4")), thin)


def test_files_are_read_once_and_found_packed(pair):
    """The path without .gz, for a packed file; a second instance reads nothing."""
    network, asked = pair(absolute, -1, 1, "(>= Y_0 2.5)")
    for path in (network, asked):
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert decide_instance(network, asked, 10).result == "unsat"
    assert decide_instance(network, asked, 10).result == "unsat"
    assert instance._network.cache_info().misses == instance._property.cache_info().misses == 1


def test_a_changed_file_is_read_again(pair):
    """As when a slip in a property is mended in an open notebook."""
    network, asked = pair(identity, 0, 1, "(>= Y_0 0.75)")
    assert decide_instance(network, asked, 10).result == "sat"
    write_property(asked, 0, 1, "(>= Y_0 1.875)")
    assert decide_instance(network, asked, 10).result == "unsat"


def test_thousands_of_cases(pair, monkeypatch):
    """Asked in portions; the counterexample of an early one spares the rest."""
    asked_for = []
    real = instance.decide
    monkeypatch.setattr(instance, "decide", lambda query, **settings: asked_for.append(len(query)) or real(query, **settings))
    cases = [f"(and (>= X_0 {n}e-3) (<= X_0 {n + 1}e-3) (>= Y_0 {{}}))" for n in range(1000)]
    safe = " ".join(case.format("1.5") for case in cases)
    network, path = pair(identity, 0, 1, f"(or {safe})")
    assert decide_instance(network, path, 30).result == "unsat"
    assert asked_for == [256, 256, 256, 232]
    asked_for.clear()
    write_property(path, 0, 1, f"(or {cases[300].format('0.25')} {safe} )")
    found = decide_instance(network, path, 30)
    assert found.result == "sat"
    assert 0.3 <= found.counterexample.x[0] <= 0.301
    assert asked_for == [256]


def test_wrong_pairs(pair, tmp_path):
    """Dimensions that do not fit, a softmax at the end, files that are not there."""
    network, asked = pair(absolute, -1, 1, "(>= Y_0 2.5)", inputs=2)
    with pytest.raises(InputError, match=r"has 1 inputs, but .* declares 2: give a property for this network"):
        decide_instance(network, asked, 10)
    asked = write_property(tmp_path / "wide.vnnlib", -1, 1, "(>= Y_1 2.5)", outputs=2)
    with pytest.raises(InputError, match=r"has 1 outputs, but .* declares 2"):
        decide_instance(network, asked, 10)
    ending = write_network(tmp_path / "soft.onnx", ([[1.0], [2.0]], [0.0, 0.0]), softmax=True)
    with pytest.raises(LoadError, match="softmax"):
        decide_instance(ending, asked, 10)
    for missing in ((tmp_path / "none.onnx", asked), (network, tmp_path / "none.vnnlib")):
        with pytest.raises(UsageError, match="none"):
            decide_instance(*missing, 10)


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data is not beside the checkout: published instances are not decided")
@pytest.mark.parametrize("family", ["acasxu", "mnist_fc"])
def test_no_published_answer_is_contradicted(family):
    """Some instances of each kind with half a second each: what is said agrees with the published answers."""
    with (SHARED / family / "labels.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["label"] in ("sat", "unsat")]
    decided = 0
    for row in rows[:: len(rows) // 8]:
        answer = decide_instance(SHARED / family / row["onnx"], SHARED / family / row["vnnlib"], 0.5)
        assert not answer.decided or answer.result == row["label"]
        decided += answer.decided
    assert decided
