"""The tests notice planted slips. Only whether they do takes long; that each still fits its function is a quick test."""

import ast
import contextlib
import functools
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from slips.areas import SLIPS
from slips.plant import NoLongerPlants, Slip, change, find, plant

HERE = Path(__file__).resolve().parent
TOY = """
class Toy:
    def clip(self, value, low, high):
        if value is None: raise ValueError("no value")
        inside = (low <= value) & (value <= high)
        return (min(max(value, low), high), inside, self.say(value, low, loud=True))
"""


@pytest.mark.parametrize(
    ("old", "new", "nth", "becomes"),
    [
        ("min(A, _)", "A", None, "return (max(value, low), inside, self.say(value, low, loud=True))"),
        ("A <= B", "A < B", 1, "inside = (low <= value) & (value < high)"),
        ("(A <= B) & (B <= C)", "A <= C", None, "inside = low <= high"),
        ("if _: A", "if False: A", None, "if False:\n            raise ValueError('no value')"),
        ("F(*A, loud=_)", "F(*A)", None, "self.say(value, low))"),
        ("F(A, *_, loud=B)", "F(A, B)", None, "self.say(value, True)"),
        ("A._(_, _, **_)", "A", None, "inside, self)"),
        ("A = B & _\nreturn C", "return B", None, "return low <= value"),
        ("(*A, _)", "(*A, 0)", None, "inside, 0)"),
        ("A >= B", "A", None, None),
        ("A <= B", "A < B", None, None),
        ("A <= B", "A < B", 2, None),
        ("(A <= B) & (C <= A)", "A", None, None),
    ],
)
def test_a_change_is_made_once(old, new, nth, becomes):
    """A pattern means what it says, and one that fits nowhere, or more often than was said, changes nothing and is an error."""
    tree = ast.parse(TOY)
    with contextlib.nullcontext() if becomes else pytest.raises(NoLongerPlants):
        change(find(tree, "Toy.clip"), old, new, nth)
    assert (becomes or ast.unparse(ast.parse(TOY))) in ast.unparse(ast.fix_missing_locations(tree))


def test_slips_have_names_of_their_own():
    """No slip is counted twice."""
    names = [slip.name for slip in SLIPS]
    assert len(set(names)) == len(names) >= 180


@pytest.mark.parametrize("slip", SLIPS, ids=lambda slip: slip.name.replace(" ", "-"))
def test_a_slip_can_be_planted(slip):
    """It fits its function, and the tests that must notice exist."""
    plant(slip)
    named, chosen = killers_of(slip)
    assert named
    tests = set()
    for file, test in named:
        assert (HERE.parent / file).is_file(), file
        assert test is None or test in names_in(file), f"{file} has no test {test}"
        tests |= {one.rpartition("::")[2] for one in names_in(file)}
    assert chosen <= tests, f"no test is called {chosen - tests}"


def killers_of(slip):
    """What the killers of a slip name: pairs of a file and a test in it (None for all), and the tests named after -k."""
    words = shlex.split(slip.killers)
    named = [one.partition("[")[0].partition("::")[::2] for one in words if one.partition("::")[0].endswith(".py")]
    chosen = {name for place, one in enumerate(words[:-1]) if one == "-k" for name in re.findall(r"\btest_\w+", words[place + 1])}
    return [(file, test or None) for file, test in named], chosen


@functools.cache
def names_in(file):
    """The names of all tests in a file below tests/, as pytest writes them behind the file: `test_it`, `TestThem` or `TestThem::test_it`."""
    names = set()
    for node in ast.parse((HERE.parent / file).read_text()).body:
        if isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            names |= {node.name, *(f"{node.name}::{one.name}" for one in node.body if isinstance(one, ast.FunctionDef))}
        elif isinstance(node, ast.FunctionDef):
            names.add(node.name)
    return {name for name in names if name.rpartition("::")[2].startswith(("test_", "Test"))}


@pytest.mark.parametrize(
    ("killers", "named", "chosen"),
    [
        ("a/test_b.py", [("a/test_b.py", None)], set()),
        ("a/test_b.py::test_c a/test_b.py::TestD::test_e[f]", [("a/test_b.py", "test_c"), ("a/test_b.py", "TestD::test_e")], set()),
        ("a/test_b.py -k 'test_c and high'", [("a/test_b.py", None)], {"test_c"}),
    ],
)
def test_killers_are_read(killers, named, chosen):
    """Files, tests in them, and tests that -k chooses."""
    assert killers_of(Slip("name", "module:function", "A", "B", killers)) == (named, chosen)


def test_tests_are_found_by_name():
    """Functions that are no tests do not count."""
    found = names_in("slips/test_slips.py")
    assert "test_tests_are_found_by_name" in found
    assert not {"names_in", "killers_of"} & found
    assert {"TestRefused", "TestRefused::test_other_models"} <= names_in("models/trees/test_readers.py")


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_planted_slips_are_noticed():
    """At least 95 % of the slips are killed."""
    finished = subprocess.run([sys.executable, str(HERE / "run.py")], capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": ""})
    lines = finished.stdout.splitlines()
    assert lines, finished.stderr
    count = json.loads(lines[-1])
    assert count["slips"] == len(SLIPS)
    assert count["rate"] >= 0.95, "\n".join(line for line in lines if line.startswith("SURVIVED"))
