"""The hash of code: every module of the method's own package counts, however it is imported, and nothing else does."""

import importlib
import os
import subprocess
import sys
import textwrap
import time

import pytest

from sparring.aims.evasion.choice import choose_certifiers
from sparring.attacks.attack import read_attack
from sparring.attacks.losses import NamedLoss
from sparring.core.code import code_of
from sparring.core.registry import everything

FILES = {
    "plug/__init__.py": "",
    "plug/attack.py": """
        import plug.absolute
        import plug.aliased as other
        from importlib import import_module
        from plug import chosen
        from typing import TYPE_CHECKING
        from .relative import number
        from .inner import deep
        if TYPE_CHECKING:
            from plug import only_for_types

        def search(problem, steps: int = 3):
            "Search."
            import torch, missing_dependency_of_the_plugin
            from plug.inside import late
            return import_module("plug.named")
        """,
    "plug/absolute.py": "a = 1",
    "plug/aliased.py": "a = 1",
    "plug/chosen.py": "a = 1",
    "plug/relative.py": "from .second import a\nnumber = a",
    "plug/second.py": "import beside\na = beside.a",
    "plug/inner/deep.py": "from ..upward import a",
    "plug/upward.py": "a = 1",
    "plug/inside.py": "late = 1",
    "plug/named.py": "a = 1",
    "plug/only_for_types.py": "a = 1",
    "plug/unrelated.py": "a = 1",
    "beside.py": "import nameless.below as b\na = 1",
    "nameless/below.py": "a = 1",
    "unrelated.py": "a = 1",
}
DECIDING = [name for name in FILES if "unrelated" not in name and "only_for_types" not in name]


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A folder with a package of many modules, of which `attack` alone is imported; one import of it is missing."""
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [one for one in sys.modules if one.split(".")[0] in ("plug", "beside", "nameless")]:
        del sys.modules[name]


def search():
    importlib.invalidate_caches()
    return importlib.import_module("plug.attack").search


def edit(path, before, after):
    content = path.read_text()
    assert before in content
    path.write_text(content.replace(before, after))
    os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns + 1_000_000))


@pytest.mark.parametrize("name", DECIDING)
def test_an_edit_of_what_is_imported_changes_the_key(plugin, name):
    before = code_of(search())
    path = plugin / name
    path.write_text(path.read_text() + "\nadded = 2\n")
    assert code_of(search()) != before


@pytest.mark.parametrize("name", [name for name in FILES if name not in DECIDING])
def test_an_edit_of_what_is_not_imported_does_not(plugin, name):
    before = code_of(search())
    (plugin / name).write_text("a = 2")
    assert code_of(search()) == before


@pytest.mark.parametrize(
    ("before", "after"),
    [("import plug.absolute", "# a comment\nimport plug.absolute"), ('"Search."', '"Another text."'), ("steps: int = 3", "steps: int  =  3")],
)
def test_comments_docstrings_and_layout_do_not_count(plugin, before, after):
    key = code_of(search())
    edit(plugin / "plug/attack.py", before, after)
    assert code_of(search()) == key


def test_a_setting_does_count(plugin):
    key = code_of(search())
    edit(plugin / "plug/attack.py", "steps: int = 3", "steps: int = 4")
    assert code_of(search()) != key


def test_nothing_is_imported_to_find_out(plugin):
    (plugin / "plug/inside.py").write_text("raise SystemExit('executed')")
    code_of(search())
    assert "plug.inside" not in sys.modules
    assert "plug.named" not in sys.modules


def test_a_plugin_rests_on_the_modules_of_ours_that_it_takes_names_of(plugin, monkeypatch):
    """Also where it takes them of the package itself, which imports them late."""
    from sparring.core import code

    found = []
    monkeypatch.setattr(code._Walk, "_keep", lambda self, place, kept=code._Walk._keep: found.append(place.name) or kept(self, place))
    edit(plugin / "plug/absolute.py", "a = 1", "import sparring as sp\na = lambda net, data: sp.harden(net, data, sp.linf(0.1))")
    code_of(search())
    assert {"sparring.defences.training.harden", "sparring.threats.balls"} <= set(found)
    assert "sparring.bench.api" not in found


def test_a_broken_module_and_a_circle_do_no_harm(plugin):
    (plugin / "plug/inside.py").write_text("this is no Python")
    (plugin / "plug/named.py").write_text("import plug.attack\nfrom . import named")
    before = code_of(search())
    (plugin / "plug/inside.py").write_text("this is no python")
    assert code_of(search()) != before


PROGRAM = """
from sparring.core.code import code_of
names = {"b", "a", "c"}
LIMIT = 3
class Shape:
    size = 2
    def area(self): return self.size * LIMIT
def helper(x):
    return x + LIMIT + len(names)
def search(problem, step=helper):
    "Search."
    import json
    return [helper(one) for one in problem], Shape().area()
print(code_of(search), code_of(Shape), code_of(lambda: helper))
"""


def piped(program):
    answer = subprocess.run(
        [sys.executable, "-"], input=program, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    return answer.stdout.split()


def executed(program):
    """The hashes of a program without a file and without a source that anybody kept."""
    said = []
    exec(program, {"print": lambda *keys: said.extend(keys), "__name__": "of_nobody"})
    return said


@pytest.mark.parametrize("run", [piped, executed])
def test_code_without_a_file(run):
    """The key is the same in two processes and changes with what the function names, not with its docstring."""
    first = run(PROGRAM)
    assert first == run(PROGRAM)
    assert first == run(PROGRAM.replace('"Search."', '"Other."'))
    for before, after in [("x + LIMIT", "x - LIMIT"), ("LIMIT = 3", "LIMIT = 4"), ('"c"}', '"d"}')]:
        assert all(one != other for one, other in zip(run(PROGRAM.replace(before, after))[::2], first[::2], strict=True)), before
    assert run(PROGRAM.replace("size = 2", "size = 3"))[:2] != first[:2]


def test_closures_and_partials_count_with_what_they_hold():
    from functools import partial

    def make(strength):
        return lambda x: x * strength

    assert code_of(make(1)) != code_of(make(2))
    assert code_of(make(1)) == code_of(make(1))
    assert code_of(partial(make, 1)) != code_of(partial(make, strength=2))


def test_what_a_setting_names_belongs_to_the_attack(monkeypatch):
    """A loss, found by name alone."""
    before = code_of(read_attack('pgd(loss="dlr")')), code_of(read_attack('pgd(loss="ce")'))
    changed = NamedLoss("dlr")
    changed.variants[object] = test_a_setting_does_count
    monkeypatch.setitem(everything.__globals__["_things"]["loss"], "dlr", changed)
    assert code_of(read_attack('pgd(loss="dlr")')) != before[0]
    assert code_of(read_attack('pgd(loss="ce")')) == before[1]
    assert code_of(read_attack('minimal(attack="pgd")')) != code_of(read_attack('minimal(attack="fgsm")'))


def test_the_verifiers_belong_to_the_certifier(digits_case):
    victim, threat = digits_case
    (network,) = choose_certifiers("network", victim, threat)
    names = {one.name for one in network.parts}
    assert names == set(everything("verifier"))
    assert {one.name for one in network.configure(verifiers=["ibp"]).parts} == {"ibp"}
    assert code_of(network) != code_of(network.configure(verifiers=["ibp"]))


@pytest.fixture
def digits_case():
    import sparring as sp
    from sparring.models.zoo import digits_plain

    return sp.victim(digits_plain(), sp.load("digits", take=2).domain), sp.linf(0.1)


def test_the_subject_counts_with_task_domain_and_all_that_a_victim_wraps(digits_case):
    """The kind of answers, the kind of inputs and every wrapper decide what is asked and what it means."""
    import sparring as sp
    from sparring.core.code import code_of_subject
    from sparring.models.eot import eot
    from sparring.tasks.values import Values

    victim, _ = digits_case
    data = sp.load("digits", take=2)
    table = sp.load("breast-cancer", take=2)
    values = sp.Data.of(data.x, [1.0, 2.0], data.domain, task=Values())
    keys = [code_of_subject(*one) for one in ((data,), (table,), (values,), (data, victim), (data, eot(victim, 2)))]
    assert len(set(keys)) == len(keys)
    assert code_of_subject(sp.load("digits", take=1), victim) == keys[3]
