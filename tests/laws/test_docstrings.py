"""Public docstrings: the first line is one sentence of at most 90 characters that begins with a verb in the imperative."""

import ast
import doctest
import functools
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import sparring
from sparring.certification.certificate import Certificate
from sparring.core.registry import ROOMS, everything
from sparring.core.victim import Victim

SOURCES = Path(sparring.__file__).parents[1]
LONGEST = 90
WORDS = """
Add Allow Alternate Answer Apply Ascend Ask Attack, Attack Average Bisect Blur Bound Branch Breed Bring Carry Certify Change Check Close
Collect Combine Compare Compute Convolve Copy Count Cut Decide Describe Do Draw Drop Encode Estimate Evaluate Evolve
Exchange Find Flip Fold Follow Give Hold Import Join Keep Lead Learn Leave Let List Load Lower Make Map Measure Merge Minimise Move
Multiply Name Note Number Offer Omit Open Optimise Parse Pick Print Propagate Prove Push Put Query Raise Read Recolour
Refuse Register Replace Report Represent Restore Return Run Say Scale Score Search Send Set Settle Show Shrink Smear Sort
Split State Step Store Stretch Take Tamper Tell Trace Train Try Turn Update Verify Walk Watch Wrap Write Yield
"""

VERBS = frozenset(WORDS.split())
"""Verbs in the imperative that a first line may begin with."""


class Documented(NamedTuple):
    """Hold one public definition of a file."""

    path: str
    name: str
    node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    member: bool


def definitions(path: Path) -> Iterator[Documented]:
    """Yield the public classes, functions, methods and properties that a file defines at its top and in its classes."""

    def walk(body: list[ast.stmt], prefix: str) -> Iterator[Documented]:
        for node in body:
            if isinstance(node, ast.If | ast.Try):
                yield from walk(node.body, prefix)
            if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
                continue
            marks = {ast.unparse(mark) for mark in node.decorator_list}
            if "overload" in marks or any(mark.endswith(".setter") for mark in marks):
                continue
            yield Documented(str(path.relative_to(SOURCES)), prefix + node.name, node, bool(prefix))
            if isinstance(node, ast.ClassDef):
                yield from walk(node.body, prefix + node.name + ".")

    yield from walk(ast.parse(path.read_text()).body, "")


def is_override(one: Documented) -> bool:
    """Return whether a base of the class defines a method of that name."""
    holder: Any = importlib.import_module(one.path.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
    *classes, name = one.name.split(".")
    for part in classes:
        holder = getattr(holder, part)
    return any(name in vars(base) for base in inspect.getmro(holder)[1:])


def complaint(text: str) -> str:
    """Return what is wrong with the first line of a docstring, or an empty string."""
    first, *rest = text.split("\n")
    if len(first) > LONGEST:
        return f"the first line has {len(first)} characters"
    if not first.endswith("."):
        return "the first line does not end with a period"
    if first.split()[0].rstrip(",") not in VERBS:
        return f"the first line begins with {first.split()[0]!r}, which is no verb in the list"
    if rest and rest[0].strip():
        return "no blank line follows the first line"
    return ""


PATHS = sorted(path for package in ("sparring", "sparring_check") for path in (SOURCES / package).rglob("*.py"))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: str(path.relative_to(SOURCES)))
def test_first_lines(path):
    """Every public definition has a docstring, unless it is an override, and its first line is a sentence that begins with a verb."""
    wrong = []
    for one in definitions(path):
        text = ast.get_docstring(one.node)
        if text is None:
            if not (one.member and is_override(one)):
                wrong.append(f"{one.name}: there is no docstring")
        elif problem := complaint(text):
            wrong.append(f"{one.name}: {problem}: {text.splitlines()[0]}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Return the points.", ""),
        ("Return the points.\n\nThey are allowed.", ""),
        ("Return the points", "period"),
        ("The points.", "verb"),
        ("Return the points.\nThey are allowed.", "blank"),
        (f"Return {'the points ' * 9}.", "characters"),
    ],
)
def test_the_law_itself(text, expected):
    """Each kind of fault is found, and a good line passes."""
    found = complaint(text)
    assert expected in found if expected else not found


@pytest.mark.parametrize("name", sorted(everything("attack")))
def test_every_setting_of_an_attack_is_described(name):
    """The section Args of an attack names each setting."""
    one = everything("attack")[name]
    text = inspect.cleandoc(one.__doc__ or "")
    missing = [setting for setting in one.defaults if f"\n    {setting}: " not in text]
    assert not missing, f"{name} does not describe {', '.join(missing)}"
    assert "\nSource: " in text


@pytest.mark.parametrize("name", [name for name in sparring.__all__ if not inspect.ismodule(getattr(sparring, name))])
def test_examples_run(name):
    """Examples in the docstrings of public names print what they say."""
    thing = getattr(sparring, name)
    module = importlib.import_module(thing.__module__)
    runner = doctest.DocTestRunner()
    for test in doctest.DocTestFinder(recurse=False).find(thing, name, module=module, globs=dict(vars(module))):
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0


GROUPS = [name for name in sparring.__all__ if inspect.ismodule(getattr(sparring, name))]
"""Public names that hold further names."""

FORMER = {"Certificate.witness"}
"""Names of an earlier version, which are described in one line."""


def _public() -> dict[str, Any]:
    """Every public name: those of the package, and the public methods of the nouns."""
    found = {name: getattr(sparring, name) for name in sparring.__all__ if name not in GROUPS}
    for noun in (sparring.Data, sparring.Run, sparring.Threat, Victim, Certificate):
        for name, member in vars(noun).items():
            if not name.startswith("_") and (callable(member) or isinstance(member, classmethod | property | functools.cached_property)):
                found[f"{noun.__name__}.{name}"] = member
    return {name: one for name, one in found.items() if name not in FORMER}


def lacks(thing: Any) -> list[str]:
    """Return what a docstring does not say: parameters, the sections Args, Returns and Example, a doctest."""
    plain = thing.fget if isinstance(thing, property) else thing.func if isinstance(thing, functools.cached_property) else thing
    function = getattr(plain, "__func__", plain)
    text = inspect.cleandoc(function.__doc__ or "")
    parameters = [] if function.__init__ is object.__init__ and inspect.isclass(function) else list(inspect.signature(function).parameters)
    asked = [one for one in parameters if one not in ("self", "cls")]
    returns = not (inspect.isclass(function) or (plain is not thing and not isinstance(thing, classmethod)))
    wanted = [*(["Args:"] if asked and not inspect.isabstract(thing) else []), *(["Returns:"] if returns else []), "Example:", ">>>"]
    silent = [] if inspect.isabstract(thing) else [one for one in asked if f"\n    {one}: " not in text]
    return [*(section for section in wanted if section not in text), *silent]


@pytest.mark.parametrize("name", _public())
def test_public_names_are_described_in_full(name):
    """The docstring names each parameter, the result and an example that is a doctest."""
    missing = lacks(_public()[name])
    assert not missing, f"the docstring of {name} lacks {', '.join(missing)}"


@pytest.mark.parametrize("name", [name for name in _public() if "." in name])
def test_examples_of_methods_run(name):
    """Examples in the docstrings of public methods print what they say."""
    member = _public()[name]
    function = getattr(member, "__func__", getattr(member, "fget", getattr(member, "func", member)))
    module = importlib.import_module(function.__module__)
    runner = doctest.DocTestRunner()
    for test in doctest.DocTestFinder(recurse=False).find(function, name, module=module, globs=dict(vars(module))):
        runner.run(test)
    results = runner.summarize(verbose=False)
    assert results.failed == 0
    assert results.attempted > 0


def test_the_law_of_arguments_itself():
    """A parameter, a result and an example that are missing are found."""

    def described(steps: int) -> int:
        """Return the steps.

        Args:
            steps: How many.

        Returns:
            The same.

        Example:
            >>> 1
            1
        """
        return steps

    def silent(steps: int) -> int:
        """Return the steps."""
        return steps

    assert lacks(described) == []
    assert lacks(silent) == ["Args:", "Returns:", "Example:", ">>>", "steps"]


def test_kinds_are_known():
    """The registry has the kinds whose names `spar ls` prints."""
    assert {"attack", "certifier", "goal", "space", "recipe", "dataset", "check", "metric"} <= set(ROOMS)
