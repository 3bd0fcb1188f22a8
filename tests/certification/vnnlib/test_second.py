"""VNN-LIB 2.0: the same property as in version 1.0."""

import builtins

import numpy as np
import pytest

from sparring.certification.vnnlib.parse import parse_property, read_property
from sparring.core.errors import InputError, LoadError, NeedsError

FIRST = """(declare-const X_0 Real)(declare-const X_1 Real)(declare-const X_2 Real)(declare-const X_3 Real)
(declare-const Y_0 Real)(declare-const Y_1 Real)
(assert (and (<= X_0 0.1) (>= X_0 -0.1) (<= X_1 1.0) (>= X_1 0.3) (= X_2 0.7) (>= X_3 0.0)))
(assert (or (<= X_3 0.25) (and (>= X_3 0.5) (<= X_3 1.0))))
(assert (or (>= (+ Y_0 (* 2.0 Y_1)) 0.5) (and (< (- Y_0 Y_1) 3.0) (> (- Y_1) 0.1))))
"""
SECOND = """; a property
(vnnlib-version <2.0>)
(declare-network N (declare-input X float32 [2, 2]) (declare-output Y float32 [1, 2]))
(assert (and (<= X[0,0] 0.1) (>= X[0,0] -0.1) (<= X[0,1] 1.0) (>= X[0,1] 0.3) (== X[1,0] 0.7) (>= X[1,1] 0.0)))
(assert (or (<= X[1,1] 0.25) (and (>= X[1,1] 0.5) (<= X[1,1] 1.0))))
(assert (or (>= (+ Y[0,0] (* 2.0 Y[0,1])) 0.5) (and (< (- Y[0,0] Y[0,1]) 3.0) (> (- Y[0,1]) 0.1))))
"""


def test_both_versions_say_the_same(tmp_path):
    """Every number of every case, from decimals that are no floats."""
    pytest.importorskip("vnnlib")
    path = tmp_path / "second.vnnlib"
    path.write_text(SECOND)
    one, two = parse_property(FIRST), read_property(path)
    assert (one.inputs, one.outputs) == (two.inputs, two.outputs) == (4, 2)
    assert len(one.cases) == len(two.cases) == 2
    for first, second in zip(one.cases, two.cases, strict=True):
        for name in ("low", "high", "inner_low", "inner_high"):
            np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
        for left, right in zip(first.clauses, second.clauses, strict=True):
            for name in ("rows", "bounds", "inner"):
                np.testing.assert_array_equal(getattr(left, name), getattr(right, name))


WRONG = {
    "syntax": ("(assert (<= X[0,0] 0.1))", "(assert (<= X[0,0] 0.1)", LoadError, "syntax error"),
    "index": ("X[0,0] 0.1", "X[0,7] 0.1", LoadError, "line 4: Index out"),
    "type": ("X[0,0] 0.1", "X[0,0] 1", LoadError, "line 4: Type mismatch"),
    "not equal": ("(== X[1,0]", "(!= X[1,0]", InputError, "NotEqual is not supported"),
    "mixed": ("(<= X[0,0] 0.1)", "(<= X[0,0] Y[0,0])", InputError, "mixes inputs and outputs"),
    "no bound": ("(>= X[1,1] 0.0)", "(<= X[1,1] 9.0)", InputError, "X_3 has no lower bound"),
    "two inputs": ("(declare-input X float32 [2, 2])", "(declare-input X float32 [2, 2]) (declare-input Z float32 [1])", InputError, "2 inputs"),
    "two networks": (
        "(assert (or (<=",
        "(declare-network M (declare-input A float32 [1]) (declare-output B float32 [1]))\n(assert (or (<=",
        LoadError,
        "network",
    ),
    "depth": ("(== X[1,0] 0.7)", "(and (<= X[0,0] 1.0) " * 501 + "(== X[1,0] 0.7)" + ")" * 501, LoadError, "nested 504 levels deep"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_texts(name):
    pytest.importorskip("vnnlib")
    old, new, kind, message = WRONG[name]
    text = SECOND.replace(old, new, 1) if name != "syntax" else SECOND + "(assert (<= X[0,0] 0.1)"
    assert text != SECOND
    with pytest.raises(kind, match=message) as raised:
        parse_property(text, "some.vnnlib")
    assert str(raised.value).startswith("some.vnnlib")


def test_without_the_package(monkeypatch):
    """The message names it."""
    real = builtins.__import__

    def missing(name, *rest, **more):
        if name == "vnnlib":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(NeedsError, match="pip install vnnlib"):
        parse_property(SECOND, "some.vnnlib")
