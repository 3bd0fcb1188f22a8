"""Imports point one way, along the two chains of the design that meet in bench; inside packages they make no circle."""

import ast
import sys
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src"
DOING = [
    "core",
    ("domains", "graph", "tasks"),
    ("data", "models", "threats"),
    "attacks",
    "certification",
    "defences",
    "judge",
    "diagnosis",
    "aims",
    "bench",
    "cli",
]
TELLING = ["core", "records", "metrics", ("aims", "report"), "bench", "cli"]
INSIDE = {
    "sparring.certification": ["certificate", "certifier", "networks", ("smoothing", "text", "trees"), "proof", ("certify", "vnnlib")],
    "sparring.certification.networks": [
        "bounds", "query", "state", ("cost_model", "exact", "falsify", "milp_encoding", "proof"), "chances", "verifier", ("portfolio", "verifiers"),
        "scheduler", "decide", ("lipschitz", "network"),
    ],
}  # fmt: skip
"""The floors of packages with many rooms, lowest first: a room imports from the floors below its own. Tests make sure that every room stands here."""


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


def module_of(path):
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules():
    """Name to path of every module of both packages."""
    return {module_of(path): path for path in sorted(SOURCE.rglob("*.py"))}


def imported(tree):
    """Names that a module imports when it is loaded or later in its functions; what only type checkers read does not count."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in modules() else node.module or ""
        waiting += ast.iter_child_nodes(node)


@cache
def arrows():
    """By module the modules of ours that it imports."""
    found = {}
    for name, path in modules().items():
        found[name] = sorted({one for one in imported(ast.parse(path.read_text())) if one in modules() and one != name})
    return found


def imports():
    """(file, its room, the room it imports), for every import of the package that is not at its top."""
    for name, others in arrows().items():
        parts = name.split(".")
        if parts[0] == "sparring" and len(parts) > 1 and parts[1] != "__main__":  # sparring/__init__.py gathers the public names
            yield from ((name, parts[1], other.split(".")[1]) for other in others if other.startswith("sparring."))


def inner(package):
    """By room (module or folder) of a package the other rooms of it that it imports."""
    found = {}
    for name, others in arrows().items():
        if name.startswith(f"{package}."):
            room = name.removeprefix(f"{package}.").split(".")[0]
            found.setdefault(room, set()).update(one.removeprefix(f"{package}.").split(".")[0] for one in others if one.startswith(f"{package}."))
    return {room: sorted(others - {room}) for room, others in found.items()}


def packages():
    return sorted(name for name, path in modules().items() if path.name == "__init__.py")


def circles(graph):
    """The groups of nodes that reach each other (Tarjan's strongly connected components of two or more)."""
    number, low, stack, found = {}, {}, [], []

    def visit(node):
        number[node] = low[node] = len(number)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in number:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], number[other])
        if low[node] == number[node]:
            group = []
            while not group or group[-1] != node:
                group.append(stack.pop())
            if len(group) > 1:
                found.append(sorted(group))

    for node in graph:
        if node not in number:
            visit(node)
    return found


def test_there_are_imports_to_look_at():
    assert len(list(imports())) > 50
    assert sum(map(len, arrows().values())) > 1000


def test_imports_point_one_way():
    assert not [f"{file} imports {there}" for file, here, there in imports() if not allowed(here, there)]


def test_a_class_name_occurs_once():
    """In the packages of certificates and of the network graph: one word is one thing."""
    places = {}
    for name, path in modules().items():
        if name.startswith(("sparring.certification", "sparring.graph")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef):
                    places.setdefault(node.name, []).append(name)
    assert len(places) > 50
    assert not {one: where for one, where in places.items() if len(where) > 1}


def test_the_checker_of_proofs_stands_alone():
    """`sparring_check` needs numpy and the standard library."""
    checker = {name: path for name, path in modules().items() if name.split(".")[0] == "sparring_check"}
    assert len(checker) > 2
    for name, path in checker.items():
        others = {one.split(".")[0] for one in imported(ast.parse(path.read_text()))} - set(sys.stdlib_module_names)
        assert others <= {"numpy", "sparring_check"}, name


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
        ("models", "graph", True),
        ("graph", "models", False),
    ],
)
def test_the_law_itself(here, there, good):
    assert allowed(here, there) is good


def test_no_module_imports_itself_by_way_of_others():
    assert not circles(arrows())


@pytest.mark.parametrize("package", INSIDE)
def test_imports_point_one_way_inside(package):
    order, rooms = INSIDE[package], inner(package)
    listed = [room for entry in order for room in (entry if isinstance(entry, tuple) else (entry,))]
    assert sorted(listed) == sorted(rooms)
    assert not [f"{room} imports {other}" for room, others in rooms.items() for other in others if not rank(order, other) < rank(order, room)]


@pytest.mark.parametrize("package", packages())
def test_rooms_of_a_package_make_no_circle(package):
    assert not circles(inner(package))


def test_circles_are_found():
    assert circles({"a": ["b"], "b": ["c"], "c": ["b"], "d": ["a", "c"]}) == [["b", "c"]]
    assert not circles({"a": ["b", "c"], "b": ["c"], "c": []})
