"""Limits of ONNX files: what they claim, what one call may take, and arithmetic that would end the process."""

import numpy as np
import pytest
from hostile import networks
from hostile.networks import added, constant, network
from onnx import helper, numpy_helper

from sparring.core.errors import LoadError
from sparring.domains.table import table
from sparring.graph import onnx_session
from sparring.graph.onnx_session import Session, TooLarge, _foldable, parse
from sparring.models.onnx import OnnxVictim

ROWS = np.ones((2, 4), np.float32)


def asked(model):
    """The answer of a network to two rows."""
    return Session(model.SerializeToString(), "it").run(None, {"x": ROWS})[0]


@pytest.mark.parametrize("name", ["expand", "range-by-input", "concat-constants", "outer", "tile-input", "pad"])
def test_growth_is_bounded(name):
    with pytest.raises(TooLarge, match=r"needs more than 1,610,612,736 bytes for inputs \[2, 4\]"):
        asked(networks.grown()[name])


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("chain", "60,000 operators"),
        ("functions", "operators"),
        ("function-itself", "calls itself"),
        ("divide-smallest", "divide whole numbers"),
        ("divide-by-input", "divide whole numbers"),
        ("zero-group-Conv", "has group=0"),
    ],
)
def test_refused_before_onnxruntime_sees_it(name, sentence, monkeypatch):
    monkeypatch.setattr(onnx_session, "_session", lambda *given: pytest.fail("it was handed on"))
    with pytest.raises(LoadError, match=sentence):
        asked(networks.grown()[name])


def test_a_loop_without_end_is_ended(monkeypatch):
    monkeypatch.setattr(onnx_session, "SECONDS", 0.3)
    with pytest.raises(LoadError, match=r"has not answered inputs \[2, 4\] within 0.3 seconds"):
        asked(networks.grown()["loop"])


def test_honest_divisions_stay():
    node = helper.make_node
    by_two = network(
        [
            node("Shape", ["x"], ["s"]),
            node("Div", ["s", "two"], ["h"]),
            node("Cast", ["h"], ["f"], to=1),
            node("ReduceSum", ["f"], ["r"], keepdims=0),
            node("Add", ["x", "r"], ["y"]),
        ],
        [constant("two", 2)],
    )
    np.testing.assert_array_equal(asked(by_two), ROWS + 3)
    by_norm = network([node("ReduceSum", ["x"], ["n"], keepdims=1), node("Div", ["x", "n"], ["y"])])
    np.testing.assert_array_equal(asked(by_norm), ROWS / 8)
    zero = numpy_helper.from_array(np.array(0.0, np.float32), "z")
    assert np.isinf(asked(network([node("Div", ["x", "z"], ["y"])], [zero]))).all()


def test_small_constants_are_folded_as_before():
    node = helper.make_node
    assert _foldable(networks.honest())
    assert _foldable(added([node("Transpose", ["p"], ["q"]), node("ReduceMean", ["q"], ["r"], keepdims=0)], [constant("p", np.ones((3, 2)), np.float32)]))
    assert not _foldable(networks.grown()["matmul"])
    assert not _foldable(networks.grown()["expand"])


def test_a_batch_that_does_not_fit_is_asked_in_pieces(tmp_path, monkeypatch):
    """The victim gives the same answers, whatever fits into one call."""
    path = tmp_path / "net.onnx"
    path.write_bytes(networks.honest().SerializeToString())
    victim = OnnxVictim(path, table(list("abcd")))
    rows = np.random.default_rng(0).random((37, 4))
    whole, run, sizes = victim.scores(victim.domain.check(rows)), victim.runtime.run, []

    def cramped(outputs, feeds):
        sizes.append(len(feeds["x"]))
        if len(feeds["x"]) > 5:
            raise TooLarge("too large")
        return run(outputs, feeds)

    monkeypatch.setattr(victim.runtime, "run", cramped)
    np.testing.assert_allclose(victim.scores(victim.domain.check(rows)), whole, rtol=1e-6)
    assert max(sizes[4:]) <= 5, "what fits is remembered"


def test_constants_hold_what_they_claim():
    for dims in ([2**31, 2**31], [-1], [4, 2**40]):
        model = networks.honest()
        model.graph.initializer[0].dims[:] = dims
        with pytest.raises(LoadError, match="is said to be"):
            asked(model)
    assert parse(networks.honest().SerializeToString(), "it").graph.node
