"""Imports point one way, along the two chains of the design that meet in bench."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "sparring"
DOING = ["core", "domains", ("data", "models", "threats"), "attacks", "certification", "defences", ("judge", "explain"), "bench", "cli"]
TELLING = ["core", "records", "metrics", "report", "bench", "cli"]


def rank(chain, room):
    for place, entry in enumerate(chain):
        if room == entry or (room in entry and isinstance(entry, tuple)):
            return place
    return None


def allowed(here, there):
    """May a module of the room `here` import the room `there`?"""
    if here == there:
        return True
    for chain in (DOING, TELLING):
        low, high = rank(chain, there), rank(chain, here)
        if low is not None and high is not None and low < high:
            return True
    return False


def imports():
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).parts
        if len(parts) == 1:
            continue  # sparring/__init__.py gathers the public names
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                if name.startswith("sparring.") and len(name.split(".")) > 1:
                    yield "/".join(parts), parts[0], name.split(".")[1]


def test_there_are_imports_to_look_at():
    assert len(list(imports())) > 50


def test_imports_point_one_way():
    wrong = [f"{file} imports {there}" for file, here, there in imports() if there != "attacks" or here != "attacks" if not allowed(here, there)]
    assert not wrong


@pytest.mark.parametrize(
    ("here", "there", "good"),
    [
        ("core", "attacks", False),
        ("report", "judge", False),
        ("report", "records", True),
        ("bench", "judge", True),
        ("attacks", "bench", False),
        ("threats", "domains", True),
        ("models", "threats", False),
    ],
)
def test_the_law_itself(here, there, good):
    assert allowed(here, there) is good
