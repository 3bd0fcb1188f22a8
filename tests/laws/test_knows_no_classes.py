"""Only what declares that it needs classes knows class numbers; core, loop, problem and judge know none, and no attack asks what the goal is called."""

import ast
import inspect
import sys
from pathlib import Path

import pytest

import sparring
from sparring.core.registry import everything

ROOT = Path(sparring.__file__).parent
NEUTRAL = [
    *sorted((ROOT / "core").glob("*.py")),
    *sorted((ROOT / "judge").glob("*.py")),
    *(ROOT / "attacks" / name for name in ("attack.py", "loop.py", "ascend.py", "method.py", "reach.py", "attack_set.py")),
]
"""Files that serve every task."""

CLASS_NAMES = {"of_classes", "label_of", "logit_gap", "check_labels", "Classes"}
"""Names of `tasks.classes` that make no sense for another task; ClassCriterion is also asked for by isinstance, to choose a way for each task."""

CLASS_PARTS = {"reference_class", "label"}
"""Parts of a criterion of classes."""


def used(node):
    """The names and attributes that code uses."""
    names = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
    return names, {one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)}


@pytest.mark.parametrize("path", NEUTRAL, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_serves_every_task_knows_no_classes(path):
    """Nothing is imported from a task, no score is told by its column, and no shape [n, C] is spoken of."""
    text = path.read_text()
    tree = ast.parse(text)
    imported = [one.module or "" for one in ast.walk(tree) if isinstance(one, ast.ImportFrom)]
    assert [one for one in imported if one.startswith("sparring.tasks")] == []
    assert "[n, C]" not in text
    names, parts = used(tree)
    assert not names & CLASS_NAMES
    assert not parts & {"reference_class", "argmax"}


def asks_for_goal(tree):
    """Comparisons and matches that involve `goal.kind`."""
    for node in ast.walk(tree):
        parts = [node.subject] if isinstance(node, ast.Match) else [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
        for part in parts:
            if isinstance(part, ast.Attribute) and part.attr == "kind" and ast.unparse(part.value).split(".")[-1] in ("goal", "criterion"):
                yield ast.unparse(node)


@pytest.mark.parametrize("room", ["attacks", "core", "judge"])
def test_nobody_asks_what_the_goal_is_called(room):
    found = [f"{path.name}: {text}" for path in sorted((ROOT / room).rglob("*.py")) for text in asks_for_goal(ast.parse(path.read_text()))]
    assert found == []


def test_the_question_is_recognised():
    assert list(asks_for_goal(ast.parse("if problem.threat.goal.kind == 'targeted': pass"))) == ["problem.threat.goal.kind == 'targeted'"]
    assert list(asks_for_goal(ast.parse("f'{threat.goal.kind}'; threat.space.kind == 'linf'"))) == []


def functions_of(search):
    """The functions that a search enters, each with its module's name: those of its module by name, and those imported from other attacks."""
    found, waiting = {}, [(search.__module__, search.__name__)]
    while waiting:
        module, name = waiting.pop()
        known = sys.modules.get(module)
        thing = getattr(known, name, None)
        if (module, name) in found or not (inspect.isfunction(thing) or inspect.isclass(thing) or hasattr(thing, "search")):
            continue
        thing = getattr(thing, "search", thing)
        if not thing.__module__.startswith("sparring.attacks") or thing.__module__.startswith("sparring.attacks.losses"):
            continue
        node = ast.parse(inspect.getsource(thing))
        found[module, name] = node
        waiting += [(thing.__module__, one) for one in used(node)[0]]
    return found


def calls(node):
    """The calls in some code, as they are written."""
    return [ast.unparse(one) for one in ast.walk(node) if isinstance(one, ast.Call)]


def guarded(node, makes):
    """Whether code asks for the kind of the criterion before it reads the parts of one, or takes one that the attack itself makes."""
    takes = any(one.annotation and ast.unparse(one.annotation) == "ClassCriterion" for one in ast.walk(node) if isinstance(one, ast.arg))
    return (takes and makes) or any(call.startswith("isinstance(") and "ClassCriterion" in call for call in calls(node))


def knows_classes(search):
    """Functions that a search enters and that read classes of whatever criterion comes."""
    told, entered = [], functions_of(search)
    makes = any(call.startswith("ClassCriterion(") for node in entered.values() for call in calls(node))
    for (module, name), node in entered.items():
        names, parts = used(node)
        if (names & CLASS_NAMES or parts & CLASS_PARTS) and not guarded(node, makes):
            told.append(f"{module}.{name}")
    return told


@pytest.mark.parametrize("name", everything("attack"))
def test_an_attack_that_knows_classes_declares_them(name):
    attack = everything("attack")[name]
    if "classes" not in attack.tasks:
        assert knows_classes(attack.search) == []


def test_what_declares_classes_knows_them():
    """The law above sees: most attacks that declare classes are found by it."""
    declared = [name for name, one in everything("attack").items() if one.tasks == {"classes"}]
    assert len(declared) >= 7
    assert [name for name in declared if not knows_classes(everything("attack")[name].search)] == []
