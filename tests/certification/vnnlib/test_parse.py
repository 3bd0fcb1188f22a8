"""VNN-LIB: what is read says the same as the text, read by another, naive and exact, evaluator; wrong texts say what is wrong."""

import gzip
import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparring.certification.vnnlib.parse import parse_property, read_property, read_text
from sparring.core.errors import InputError, LoadError, UsageError

SHARED = Path(__file__).parents[4] / "shared" / "data" / "vnncomp"
FILES = sorted(SHARED.glob("*/vnnlib/*.vnnlib.gz"))
HEAD = "(declare-const X_0 Real)(declare-const X_1 Real)(declare-const Y_0 Real)(declare-const Y_1 Real)\n"
BOX = "(assert (and (<= X_0 1) (>= X_0 0) (<= X_1 0.1) (>= X_1 -0.1)))\n"
RULE = "(assert (>= Y_0 Y_1))"


def tree(text):
    """The text as nested lists of words: split at blanks, one recursive reader."""
    words = re.sub(r"([()])", r" \1 ", re.sub(";.*", "", text)).split()

    def read(place):
        found = []
        while place < len(words) and words[place] != ")":
            if words[place] == "(":
                inner, place = read(place + 1)
                found.append(inner)
            else:
                found.append(words[place])
            place += 1
        return found, place

    return read(0)[0]


def value(term, x, y):
    """A term or formula at a point, in fractions; strict comparisons as closed ones."""
    if isinstance(term, str):
        if term[0] in "XY":
            return Fraction(float((x if term[0] == "X" else y)[int(term[2:])]))
        return Fraction(term)
    word, *rest = term
    if word == "not":
        turned = {"<=": ">=", "<": ">=", ">=": "<=", ">": "<="}
        return value([turned[rest[0][0]], *rest[0][1:]], x, y)
    found = [value(part, x, y) for part in rest]
    if word in ("and", "or"):
        return all(found) if word == "and" else any(found)
    if word in ("<=", "<", ">=", ">"):
        return found[0] <= found[1] if "<" in word else found[0] >= found[1]
    if word == "=":
        return found[0] == found[1]
    if word == "-":
        return found[0] - sum(found[1:]) if found[1:] else -found[0]
    return sum(found) if word == "+" else found[0] * found[1]


def says(text):
    """The assertions of a text as one function of (x, y)."""
    assertions = [part[1] for part in tree(text) if part[0] == "assert"]
    return lambda x, y: all(value(one, x, y) for one in assertions)


def outer(found, x, y):
    """Is the point in the set with its outward rounding?"""
    return any(np.all((case.low <= x) & (x <= case.high)) and any(np.all(clause.rows @ y <= clause.bounds) for clause in case.clauses) for case in found.cases)


def compare(text, found, points):
    """How many of the points are unsafe; the two readings agree on all of them, and the rounded set holds them."""
    meant = says(text)
    hits = 0
    for x, y in points:
        truth = meant(x, y)
        assert found.unsafe(x, y) == truth
        assert not truth or outer(found, x, y)
        hits += truth
    return hits


@pytest.mark.shared
@pytest.mark.skipif(not FILES, reason="the shared data is not beside the checkout: published properties are not read")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name.removesuffix(".vnnlib.gz"))
def test_published_properties(path):
    """Points at corners, on borders and inside; outputs that often tie."""
    found, text = read_property(path), read_text(path)
    rng = np.random.default_rng(0)
    points = []
    for number in range(8 if found.inputs > 100 else 300):
        low, high = found.cases[number % len(found.cases)].inside
        x = np.where(rng.random(found.inputs) < 0.5, np.where(rng.random(found.inputs) < 0.5, low, high), low + (high - low) * 0.5)
        if number % 3 == 2:
            place = rng.integers(found.inputs)
            x[place] = rng.choice([np.nextafter(high[place], np.inf), np.nextafter(low[place], -np.inf), 7.0])
        points.append((x, rng.integers(0, 3, found.outputs) / 8 + (number % 2) * rng.integers(0, 9, found.outputs) * 1000.0))
    assert 0 < compare(text, found, points) < len(points)


def calls_of(read):
    """(what `read` returns, how many functions were called for it, those written in C included): a cost that depends on no machine."""
    count = 0

    def note(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        found = read()
    finally:
        sys.setprofile(before)
    return found, count


@pytest.mark.shared
@pytest.mark.skipif(not FILES, reason="the shared data is not beside the checkout: published properties are not read")
def test_784_inputs_take_milliseconds():
    """Some function calls per input; 125 where it was written, in 14 ms altogether."""
    found, calls = calls_of(lambda: read_property(SHARED / "mnist_fc" / "vnnlib" / "prop_7_0.05.vnnlib.gz"))
    assert found.inputs == 784
    assert calls < 400 * 784


NUMBERS = st.sampled_from(["0", "1", "-1", "0.1", "-0.3", "1e-1", "2.5E-1", ".7", "+0.2", "3.", "0.30000000000000004"])
INPUTS, OUTPUTS = st.sampled_from(["X_0", "X_1"]), st.sampled_from(["Y_0", "Y_1"])
SIGNS = st.sampled_from(["<=", ">=", "<", ">", "="])
TERMS = st.recursive(
    OUTPUTS | NUMBERS,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from("+-"), inner, inner).map(" ".join).map("({})".format),
        st.tuples(NUMBERS, inner).map(lambda two: f"(* {two[0]} {two[1]})"),
        inner.map("(- {})".format),
    ),
    max_leaves=4,
)
COMPARISONS = st.one_of(
    st.tuples(SIGNS, INPUTS, NUMBERS).map(lambda three: "({} {} {})".format(*three)),
    st.tuples(SIGNS, NUMBERS, INPUTS).map(lambda three: "({} {} {})".format(*three)),
    st.tuples(SIGNS, NUMBERS, INPUTS, NUMBERS).map(lambda four: f"({four[0]} (* 2 {four[2]}) (+ {four[1]} {four[3]}))"),
    st.tuples(SIGNS, TERMS, TERMS).map(lambda three: "({} {} {})".format(*three)),
)
DENIED = COMPARISONS.filter(lambda text: text[1] != "=" and ("X" in text or "Y" in text)).map("(not {})".format)
FORMULAS = st.recursive(
    COMPARISONS | DENIED,
    lambda inner: st.tuples(st.sampled_from(["and", "or"]), st.lists(inner, min_size=1, max_size=3)).map(lambda two: f"({two[0]} {' '.join(two[1])})"),
    max_leaves=8,
)


@settings(deadline=None, max_examples=150)
@given(st.lists(FORMULAS, min_size=1, max_size=3), st.integers(0, 2**32 - 1))
def test_random_formulas(formulas, seed):
    """Any nesting of and, or, not, over borders and decimals that are no floats. Where nothing is unsafe, no point may be."""
    text = HEAD + BOX + "\n".join(f"(assert {formula})" for formula in formulas)
    rng = np.random.default_rng(seed)
    marks = [0.0, 1.0, 0.1, -0.1, 0.05, 0.3, np.nextafter(0.1, 1), 0.25]
    points = [(rng.choice(marks, 2), rng.choice([*marks, -1.0, 2.0], 2)) for _ in range(40)]
    meant = says(text)
    try:
        found, refused = parse_property(text), ""
    except InputError as error:
        found, refused = None, str(error)
    if found is None:
        nothing_unsafe = "contradict" in refused or "is empty" in refused
        assert nothing_unsafe or any(words in refused for words in ("not before", "no constraint on the outputs", "too many digits"))
        assert not nothing_unsafe or not any(meant(x, y) for x, y in points)
        return
    thin = any(np.any(case.inner_low > case.inner_high) for case in found.cases)  # a decimal that is no float stands for the floats beside it
    summed = any(np.any(np.sum(clause.rows != 0, axis=1) > 1) for case in found.cases for clause in case.clauses)  # rounds in floats
    for x, y in points:
        truth = meant(x, y)
        assert not truth or found.unsafe(x, y, 1e-12)
        assert thin or summed or found.unsafe(x, y) == truth


@pytest.mark.parametrize("text", ["0.1", "-0.1", "0.3", "1e-7", "123456789.123456789", "0.679857769", "5e-324", "1e-400", "0.29999999999999998889776975"])
def test_bounds_are_rounded_outward(text):
    """The box holds the decimal strictly between neighbouring floats, or is exact."""
    found = parse_property(HEAD + f"(assert (<= {text} X_0))(assert (<= X_0 {text}))(assert (<= X_1 {text}))(assert (>= X_1 -1))(assert (<= Y_0 {text}))")
    case, exact = found.cases[0], Fraction(text)
    assert Fraction(float(case.low[0])) <= exact <= Fraction(float(case.high[0]))
    assert case.high[0] <= np.nextafter(case.low[0], np.inf)
    assert (case.low[0] == case.high[0]) == (Fraction(float(text)) == exact)
    assert Fraction(float(case.clauses[0].bounds[0])) >= exact >= Fraction(float(case.clauses[0].inner[0]))


def test_factors_stay_exact():
    """0.1 is no float: the whole row is multiplied instead."""
    found = parse_property(HEAD + BOX + "(assert (<= (+ (* 0.1 Y_0) (* -0.3 Y_1)) 0.7))")
    clause = found.cases[0].clauses[0]
    ratio = Fraction(clause.rows[0, 0]) / Fraction(1, 10)
    assert Fraction(clause.rows[0, 1]) == Fraction(-3, 10) * ratio
    assert ratio > 0
    assert Fraction(clause.bounds[0]) >= Fraction(7, 10) * ratio


def test_equal_boxes_are_one_case():
    """Two boxes times three outputs: two cases of three clauses; a box that is empty is left out."""
    boxes = "(assert (or (<= X_0 0.2) (>= X_0 0.8) (and (<= X_0 0.4) (>= X_0 0.6))))"
    found = parse_property(HEAD + BOX + boxes + "(assert (or (<= Y_0 0) (<= Y_1 0) (and (>= Y_0 4) (>= Y_1 4))))")
    assert [len(case.clauses) for case in found.cases] == [3, 3]
    assert [clause.rows.shape for clause in found.cases[0].clauses] == [(1, 2), (1, 2), (2, 2)]


def test_mixed_disjuncts_are_grouped():
    """Disjuncts with inputs and outputs together, two of them of one box."""
    mixed = "(assert (or (and (<= X_0 0.5) (<= Y_0 0)) (and (<= X_0 0.5) (<= Y_1 0)) (and (>= X_0 0.5) (<= Y_1 1))))"
    text = HEAD + BOX + mixed + RULE
    found = parse_property(text)
    assert [len(case.clauses) for case in found.cases] == [2, 1]
    rng = np.random.default_rng(0)
    points = [(np.array([rng.choice([0.25, 0.5, 0.75]), 0.0]), rng.integers(-2, 3, 2) / 2) for _ in range(200)]
    assert 0 < compare(text, found, points) < 200


WRONG = {
    "empty": ("", LoadError, "empty"),
    "only comments": ("; nothing\n", LoadError, "empty"),
    "never closed": (HEAD + BOX + "(assert (<= Y_0 1)", LoadError, r"line 3, column 1: unmatched opening parenthesis"),
    "closed twice": (HEAD + BOX + "(assert (<= Y_0 1)))", LoadError, r"line 3, column 20: unmatched closing"),
    "outside": (HEAD + "assert", LoadError, "line 2, column 1: 'assert' is outside"),
    "nested assert": (HEAD + "(assert (<= X_0 1)\n(assert (<= X_1 1)))", LoadError, "line 3, column 1: assert is inside"),
    "undeclared": (HEAD + BOX + "(assert\n  (<= Y_7 1))", LoadError, r"line 4, column 3: Y_7 is not declared"),
    "unknown word": (HEAD + BOX + "(assert (<= Y_0 one))", LoadError, "'one' is neither"),
    "unknown name": ("(declare-const Z_0 Real)", InputError, "Z_0"),
    "unknown operator": (HEAD + BOX + "(assert (=> (<= Y_0 1) (<= Y_1 1)))", InputError, "'=>' is not an operator"),
    "unknown command": ("(check-sat)", LoadError, "'check-sat' is not a command"),
    "not a command": ("()", LoadError, "not a command"),
    "declared twice": (HEAD + "(declare-const X_0 Real)", LoadError, "line 2, column 1: X_0 is declared twice"),
    "other type": ("(declare-const X_0 Int)", LoadError, "Real"),
    "gap": ("(declare-const X_0 Real)(declare-const X_2 Real)(declare-const Y_0 Real)", LoadError, "X_1"),
    "huge index": ("(declare-const X_99999999999999999999 Real)", InputError, "X_9999"),
    "no outputs": ("(declare-const X_0 Real)(assert (<= X_0 1))", LoadError, "Y_0"),
    "missing bound": (HEAD + "(assert (<= X_0 1))(assert (>= X_0 0))(assert (<= X_1 1))" + RULE, InputError, "line 1, column 25: X_1 has no lower bound"),
    "no bounds": (HEAD + RULE, InputError, "X_0 .and 1 others. has no lower bound"),
    "infinite bound": (HEAD + "(assert (<= X_0 inf))", InputError, "inf is not a finite number"),
    "nan": (HEAD + BOX + "(assert (<= Y_0 nan))", InputError, "nan is not a finite number"),
    "too large": (HEAD + BOX + "(assert (<= Y_0 1e309))", InputError, "range of float64"),
    "far too large": (HEAD + BOX + "(assert (<= Y_0 1e999999999))", InputError, "range of float64"),
    "far too long": (HEAD + BOX + f"(assert (<= Y_0 {'1' * 10000}))", InputError, "range of float64"),
    "reversed": (
        HEAD + BOX + "(assert (>= X_0 1.5))" + RULE,
        InputError,
        "line 1, column 1: the input set is empty: X_0 would be at least 1.5 and at most 1.0",
    ),
    "all cases reversed": (HEAD + BOX + "(assert (or (<= X_1 -1) (>= X_1 1)))" + RULE, InputError, "the input set is empty: X_1"),
    "contradiction": (HEAD + BOX + RULE + "(assert (<= 1 0))", InputError, "contradict"),
    "outputs that never differ": (HEAD + BOX + "(assert (<= (+ Y_0 1) Y_0))", InputError, "contradict"),
    "no outputs asked": (HEAD + BOX, InputError, "no constraint on the outputs"),
    "trivially unsafe": (HEAD + BOX + "(assert (<= Y_0 Y_0))", InputError, "no constraint on the outputs"),
    "not linear": (HEAD + BOX + "(assert (<= (* Y_0 Y_1) 1))", InputError, "not linear"),
    "square": (HEAD + BOX + "(assert (<= (* Y_0 Y_0) 1))", InputError, "not linear"),
    "inputs and outputs": (HEAD + BOX + "(assert (<= (+ X_0 Y_1) 1))", InputError, "mixes inputs and outputs"),
    "several inputs": (HEAD + BOX + "(assert (<= (+ X_0 X_1) 1))", InputError, "2 inputs at once"),
    "not and": (HEAD + BOX + "(assert (not (and (<= Y_0 1) (<= Y_1 1))))", InputError, "'not' is supported only before a single"),
    "comparison as term": (HEAD + BOX + "(assert (<= (<= Y_0 1) 1))", LoadError, "found a comparison where"),
    "term as comparison": (HEAD + BOX + "(assert (and (+ Y_0 1) (<= Y_0 1)))", LoadError, "takes comparisons"),
    "term asserted": (HEAD + BOX + "(assert Y_0)", LoadError, "assert needs one"),
    "two asserted": (HEAD + BOX + "(assert (<= Y_0 1) (<= Y_1 1))", LoadError, "assert needs one"),
    "three compared": (HEAD + BOX + "(assert (<= 0 Y_0 1))", LoadError, "takes 2 terms, got 3"),
    "empty or": (HEAD + BOX + "(assert (or))", LoadError, "or has no operands"),
    "list first": (HEAD + BOX + "(assert ((<= Y_0 1)))", InputError, "a list is not an operator"),
    "too many digits": (HEAD + BOX + "(assert (<= (+ (* 0.12345678901234567 Y_0) (* 3.3333333333333333e-9 Y_1)) 1))", InputError, "too many digits"),
    "too many alternatives": (
        HEAD + BOX + "".join(f"(assert (or (<= Y_0 {n}) (and (<= Y_1 {n}) (>= Y_1 -{n}))))" for n in range(20)),
        InputError,
        "1,048,576 alternatives",
    ),
    "uncountable": (HEAD + BOX + "(assert (or (<= Y_0 1) (>= Y_1 2)))" * 5000, InputError, "more than 1,000,000,000,000,000,000"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_texts_say_what_is_wrong(name):
    text, kind, message = WRONG[name]
    with pytest.raises(kind, match=message) as raised:
        parse_property(text, "some.vnnlib")
    assert str(raised.value).startswith("some.vnnlib")
    assert isinstance(raised.value, UsageError)
    assert raised.value.exit_code == 2


def test_wrong_files(tmp_path):
    """Missing, a folder, half a gzip file, not text."""
    half = tmp_path / "half.vnnlib.gz"
    half.write_bytes(gzip.compress(HEAD.encode())[:-9])
    binary = tmp_path / "binary.vnnlib"
    binary.write_bytes(b"\xff\xfe\x00(")
    for path, message in ((tmp_path / "none.vnnlib", "does not exist"), (tmp_path, "is a folder"), (half, "truncated gzip"), (binary, "byte 0")):
        with pytest.raises(LoadError, match=message):
            read_property(path)


def test_gzip_is_known_by_its_content(tmp_path):
    """Also with a byte order mark and the line ends of Windows."""
    path = tmp_path / "plain-name.vnnlib"
    path.write_bytes(gzip.compress(("\ufeff; a comment\n" + HEAD + BOX + RULE).replace("\n", "\r\n").encode()))
    assert read_property(path).inputs == 2


@pytest.mark.parametrize(
    ("begin", "end", "depth"), [("(and ", " (<= Y_1 1))", 5_000), ("(or ", " (<= Y_1 1))", 5_000), ("(or (<= Y_0 2) (and ", " (<= Y_1 1)))", 300)]
)
def test_no_depth_is_too_much(begin, end, depth):
    """Thousands of levels, or as many as the alternatives allow, at a cost that grows as what is read."""
    found, calls = calls_of(lambda: parse_property(HEAD + BOX + f"(assert {begin * depth}(<= Y_0 1){end * depth})"))
    clauses = found.cases[0].clauses
    assert calls < 1000 * (depth + sum(len(clause.rows) for clause in clauses))
    assert max(len(clause.rows) for clause in clauses) == (depth + 1 if "and" in begin else 1)
    assert len(clauses) == (depth + 1 if "or" in begin else 1)


@pytest.mark.slow
def test_many_boxes_take_seconds():
    """Ten thousand disjuncts of their own boxes, as in published look-up tables, at some function calls each."""
    parts = " ".join(f"(and (<= X_0 {n + 1}e-4) (>= X_0 {n}e-4) (<= Y_0 {n}))" for n in range(10_000))
    found, calls = calls_of(lambda: parse_property(HEAD + BOX + f"(assert (or {parts}))"))
    assert calls < 1000 * 10_000
    assert len(found.cases) == 10_000


def test_reading_needs_no_torch():
    """A process that only reads a property is up in a tenth of the time."""
    words = [sys.executable, "-c", "import sys, sparring.certification.vnnlib.parse; sys.exit('torch' in sys.modules or 'onnxruntime' in sys.modules)"]
    assert subprocess.run(words, check=False).returncode == 0
