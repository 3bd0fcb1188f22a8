"""Changes one function of the library while its module is imported.

A slip names the function as "module:qualified.name" (a class or a constant of the module will do as well) and describes the
change by two pieces of Python: what stands there, and what takes its place. Both are compared and replaced as syntax trees, so
layout and comments do not matter, and neither do names, because

- a capital letter stands for any expression, and wherever it occurs again for the same expression;
- `_` stands for any expression, or after a dot for any attribute, and is not remembered;
- `*A` stands for all further arguments or elements, and `**A` for all further keyword arguments;
- a capital letter on a line of its own stands for all further statements of its block.

Everything else stands for itself: `A.sum()` becomes `A.mean()`, `if A not in B: C` becomes `pass`. What stands there must occur
exactly once in the function, unless `nth` says which of several occurrences is meant (from 0, an expression before its parts).
"""

import ast
import builtins
import copy
import re
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).resolve().parents[2] / "src"


class Slip(NamedTuple):
    """One mistake in one function, and the tests that must notice it, as arguments to pytest below tests/."""

    name: str
    target: str
    old: str
    new: str
    killers: str
    nth: int | None = None

    @property
    def module(self) -> str:
        return self.target.partition(":")[0]

    @property
    def file(self) -> Path:
        bare = SOURCE.joinpath(*self.module.split("."))
        return bare / "__init__.py" if bare.is_dir() else bare.with_suffix(".py")


class NoLongerPlants(Exception):
    """A slip describes something that its function does not contain, or contains more often than it says."""


def plant(slip, source=None):
    """Returns the code of the slip's module with the slip in it."""
    tree = ast.parse(slip.file.read_text() if source is None else source)
    before, known = ast.dump(tree), _names_in(tree)
    try:
        change(find(tree, slip.target.partition(":")[2]), slip.old, slip.new, slip.nth)
    except NoLongerPlants as error:
        raise NoLongerPlants(f"{slip.name!r} no longer plants in {slip.target}: {error}") from None
    if ast.dump(tree) == before:
        raise NoLongerPlants(f"{slip.name!r} changes nothing in {slip.target}")
    if unknown := _names_in(tree) - known - _names_in(ast.parse(slip.new), ast.Store) - set(dir(builtins)):
        raise NoLongerPlants(f"{slip.name!r} needs {unknown}, which {slip.module} does not know")
    return compile(ast.fix_missing_locations(tree), str(slip.file), "exec")


def find(tree, name):
    """Returns the function, class or assignment of this qualified name."""
    node = tree
    for part in name.split("."):
        found = [one for one in node.body if part in _names(one)]
        if len(found) != 1:
            raise NoLongerPlants(f"{part!r} is defined {len(found)} times")
        node = found[0]
    return node


def _names(statement):
    """Returns what a statement defines."""
    match statement:
        case ast.FunctionDef(name) | ast.ClassDef(name) | ast.Assign(targets=[ast.Name(name)]) | ast.AnnAssign(target=ast.Name(name)):
            return {name}
    return set()


def _names_in(tree, context=ast.expr_context):
    """Returns the names that are read, written or imported somewhere below a node."""
    nodes = list(ast.walk(tree))
    names = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, context)}
    return names | {(node.asname or node.name).partition(".")[0] for node in nodes if isinstance(node, ast.alias)}


def change(tree, old, new, nth=None):
    """Replaces one occurrence of the pattern `old` below a node by what `new` makes of it."""
    pattern, made = ast.parse(old).body, ast.parse(new).body
    match pattern, made:
        case [ast.Expr(value)], [ast.Expr(other)]:
            pattern, made = [value], [other]
    size = len(pattern)
    found = [(siblings, place, bound) for siblings, place in _places(tree) if (bound := _match(pattern, siblings[place : place + size])) is not None]
    if len(found) <= (nth or 0) or (nth is None and len(found) > 1):
        raise NoLongerPlants(f"there are {len(found)} of {old!r}, and {'one' if nth is None else f'number {nth}'} is wanted")
    siblings, place, bound = found[nth or 0]
    siblings[place : place + size] = [ast.copy_location(one, siblings[place]) for one in _fill(made, bound)]


class _Field(list):
    """The only child in a field of a node, as a list that writes what it is given back to the node."""

    def __init__(self, node, field):
        super().__init__([getattr(node, field)])
        self.node, self.field = node, field

    def __setitem__(self, place, values):
        super().__setitem__(place, values)
        setattr(self.node, self.field, self[0])


def _places(node):
    """Yields every child as a list of siblings and a position in it, an expression before its parts."""
    for field, value in ast.iter_fields(node):
        siblings = value if isinstance(value, list) else _Field(node, field)
        for place, child in enumerate(siblings):
            if isinstance(child, ast.AST):
                yield siblings, place
                yield from _places(child)


def _match(old, nodes):
    """Returns what each letter of a pattern stands for, or nothing where the pattern does not fit."""
    bound = {}
    return bound if len(old) == len(nodes) and _fits(old, nodes, bound) else None


def _fits(old, node, bound):
    letter = _letter(old)
    if letter and isinstance(node, ast.expr):
        return _bind(letter, node, bound)
    if type(old) is not type(node):
        return False
    if isinstance(old, list):
        return _all_fit(old, node, bound)
    if not isinstance(old, ast.AST):
        return old in (node, "_")
    return all(_fits(getattr(old, field), getattr(node, field), bound) for field in old._fields if field != "ctx")


def _all_fit(old, nodes, bound):
    """Whether a list fits: keyword arguments by their names, everything else in order, and a rest anywhere."""
    rest = next((place for place, one in enumerate(old) if _rest(one)), None)
    if rest is None:
        return len(old) == len(nodes) and all(_fits(*pair, bound) for pair in zip(_ordered(old), _ordered(nodes), strict=True))
    before, after = old[:rest], old[rest + 1 :]
    if any(isinstance(one, ast.keyword) for one in old):
        wanted = {one.arg for one in before + after}
        own, others = [one for one in nodes if one.arg in wanted], [one for one in nodes if one.arg not in wanted]
        return _all_fit(before + after, own, bound) and _bind(_rest(old[rest]), others, bound)
    end = len(nodes) - len(after)
    return rest <= end and _all_fit(before, nodes[:rest], bound) and _bind(_rest(old[rest]), nodes[rest:end], bound) and _all_fit(after, nodes[end:], bound)


def _ordered(nodes):
    return sorted(nodes, key=lambda one: one.arg or "") if all(isinstance(one, ast.keyword) for one in nodes) else nodes


def _letter(node):
    return node.id if isinstance(node, ast.Name) and re.fullmatch("[A-Z_]", node.id) else None


def _rest(node):
    """The letter of `*A`, `**A` or a line `A`."""
    alone = isinstance(node, ast.Starred | ast.Expr) or (isinstance(node, ast.keyword) and node.arg is None)
    return _letter(node.value) if alone else None


def _bind(letter, node, bound):
    """Whether a letter may stand for a node or a list of nodes: it has no meaning yet, or the same."""
    return letter == "_" or _text(bound.setdefault(letter, node)) == _text(node)


def _text(node):
    return [_text(one) for one in node] if isinstance(node, list) else ast.unparse(node)


def _fill(new, bound):
    """Returns the replacement with the meaning of each letter put in."""
    if isinstance(new, list):
        rests = [bound.get(_rest(one)) for one in new]
        return [filled for one, rest in zip(new, rests, strict=True) for filled in (rest if isinstance(rest, list) else [_fill(one, bound)])]
    if _letter(new) in bound:
        return _in_context(bound[_letter(new)], new.ctx)
    if not isinstance(new, ast.AST):
        return new
    return type(new)(**{field: _fill(getattr(new, field), bound) for field in new._fields})


def _in_context(node, context):
    """Returns a copy of an expression to be read or written, as `context` says."""
    node = copy.deepcopy(node)
    for one in [node, *getattr(node, "elts", [])]:
        if "ctx" in one._fields:
            one.ctx = context
    return node


class Planter(MetaPathFinder):
    """Imports the module of one slip from given code, and everything else as ever."""

    def __init__(self, slip, code):
        self.slip = slip
        self.loader = _Loader(slip, code)

    def find_spec(self, fullname, path, target=None):
        return spec_from_file_location(fullname, self.slip.file, loader=self.loader) if fullname == self.slip.module else None

    @property
    def imported(self) -> bool:
        """Whether the module in use is the one with the slip."""
        return getattr(sys.modules.get(self.slip.module), "__loader__", None) is self.loader


class _Loader(SourceFileLoader):
    def __init__(self, slip, code):
        super().__init__(slip.module, str(slip.file))
        self.code = code

    def get_code(self, fullname):
        return self.code
