"""The public names: grouped, typed, imported when first used."""

import functools
import importlib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sparring as sp

SOURCES = Path(sp.__file__).parents[1]


def python(*words, given=None):
    environment = {**os.environ, "PYTHONPATH": str(SOURCES)}
    return subprocess.run([sys.executable, *words], env=environment, input=given, capture_output=True, text=True, check=False)


def test_importing_costs_nothing():
    ended = python("-c", "import sparring, sys; dir(sparring); print([one for one in ('torch', 'numpy', 'pandas') if one in sys.modules])")
    assert ended.stdout.strip() == "[]", ended.stderr


def test_calls_that_sources_and_messages_name_are_there():
    """A cure such as `give task=sp.tasks.Values()` must work as written."""
    calls = {found for file in (SOURCES / "sparring").rglob("*.py") for found in re.findall(r"\bsp\.((?:\w+\.)*\w+)\(", file.read_text())}
    assert len(calls) > 15
    for name in sorted(calls):
        assert callable(functools.reduce(getattr, name.split("."), sp)), name


def test_every_name_that_is_listed_is_there():
    assert set(sp.__all__) == {*sp._PLACES, *sp._GROUPS}
    for name in [*dir(sp), *sp.__all__]:
        assert getattr(sp, name) is not None
    assert {"evaluate", "attack", "threats", "linf"} <= set(dir(sp))
    assert len([name for name in dir(sp) if not name.startswith("_")]) < 30


@pytest.mark.parametrize("group", ["threats", "defences", "smoothing", "tasks"])
def test_groups_hold_functions_not_modules(group):
    names = dir(getattr(sp, group))
    assert names
    assert getattr(sp, group).__doc__
    for name in names:
        assert callable(getattr(getattr(sp, group), name)), name
        assert getattr(getattr(sp, group), name) is getattr(sp, name, getattr(getattr(sp, group), name))


def test_a_group_wins_over_its_modules_whatever_is_imported_first():
    program = "import sparring.threats.patch, sparring as sp; from sparring.threats.patch import Patch; print(sp.threats.patch(2).space == Patch(2))"
    assert python("-c", program).stdout.strip() == "True"


def test_an_attack_shows_its_settings():
    parameters = inspect.signature(sp.attacks.pgd).parameters
    assert list(parameters)[:6] == ["victim", "x", "y", "threat", "rng", "batch"]
    assert parameters["steps"].default == 40
    assert parameters["steps"].kind is inspect.Parameter.KEYWORD_ONLY


def test_editors_are_told_of_the_right_attacks():
    lines = [line.split() for line in Path(sp.attacks.__file__).read_text().splitlines() if " import " in line and " as " in line]
    assert len(lines) > 40
    for _, module, _, name, _, again in lines:
        assert getattr(importlib.import_module(module), name) is getattr(sp.attacks, again), name


OWN = """
import sparring as sp
from sparring.core.problem import Problem

@sp.attack(needs={"gradients", "scores"}, uses={"project"})
def stays(problem: Problem, *, steps: int = 2):
    '''Asks about the clean inputs.'''
    problem.scores(problem.x)
    return problem.x

victim, data = sp.load_model("zoo:digits-plain"), sp.load("digits", take=3)
print((stays(victim, data.x, data.y, sp.linf(0.1), steps=1) == data.x).all().item(), sp.attacks.stays is stays, str(stays.configure(steps=3)))
"""


@pytest.mark.few(1)
@pytest.mark.parametrize("way", ["piped", "-c", "exec"])
def test_an_attack_may_be_written_anywhere(way):
    program = f"exec({OWN!r}, {{}})" if way == "exec" else OWN
    ended = python("-", given=program) if way == "piped" else python("-c", program)
    assert ended.stdout.strip() == "True True stays(steps=3)", ended.stderr


@pytest.mark.slow
def test_a_type_checker_knows_the_settings(tmp_path):
    written = tmp_path / "use.py"
    written.write_text(
        "from typing import Any\nimport sparring as sp\npgd = sp.attacks.pgd\n"
        "v: Any = None\npgd(v, v, v, sp.linf(0.1), batch=2, steps=50)\npgd(v, v, v, sp.linf(0.1), stepz=50)\npgd.configure(steps='x')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(SOURCES)}
    ended = subprocess.run(
        [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, written], env=environment, capture_output=True, text=True, check=False
    )
    wrong = [line for line in ended.stdout.splitlines() if " error: " in line]
    assert len(wrong) == 2, ended.stdout
    assert "stepz" in wrong[0]
