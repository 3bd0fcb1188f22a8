"""Modules as files: where they lie, what they import and a hash of what they say, found by reading alone. Nothing is imported or executed."""

import ast
import functools
import hashlib
import importlib.abc
import importlib.util
import os
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any, NamedTuple

OWN = "sparring"
"""The package that is followed from everywhere."""

INSTALLED = tuple(os.path.realpath(sysconfig.get_path(name)) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib"))


class Import(NamedTuple):
    """Hold an import statement.

    level: dots before the name. names: what is taken from the module, None for `import module`.
    """

    level: int
    module: str
    names: tuple[str, ...] | None


class Analysis(NamedTuple):
    """Hold the analysis of one file.

    lazy: imports for type checkers of a module with a `__getattr__`, by the name that it hands out. mentioned: names of attributes.
    """

    digest: str
    imports: tuple[Import, ...]
    lazy: Mapping[str, Import]
    hands_out: bool
    mentioned: frozenset[str]


class Place(NamedTuple):
    """Hold the location of a module.

    file: None for a namespace package. folders: in which its submodules lie, empty for a plain module.
    """

    name: str
    file: str | None
    folders: tuple[str, ...]
    spec: ModuleSpec | None = None


def locate(name: str, folders: Iterable[str]) -> Place | None:
    """Find a module without importing anything; None if there is none.

    folders: where to look first.
    """
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None)
    if module is not None and (file := getattr(module, "__file__", None) or (spec.origin if spec and spec.has_location else None)):
        return Place(name, file, tuple(getattr(module, "__path__", ())), spec)
    if module is not None and hasattr(module, "__path__"):
        return Place(name, None, tuple(module.__path__))
    parent, _, tail = name.rpartition(".")
    if not parent:
        try:
            spec = PathFinder.find_spec(name, list(folders)) if folders else None
            spec = spec or importlib.util.find_spec(name)
        except (ImportError, ValueError, AttributeError):
            return None
        return _placed(name, spec)
    above = locate(parent, folders)
    if above is None or not above.folders:
        return None
    try:
        spec = PathFinder.find_spec(name, list(above.folders))
    except (ImportError, KeyError):  # a namespace package below one that is not imported
        spec = None
    if spec is None:
        inner = tuple(str(path) for path in (Path(folder) / tail for folder in above.folders) if path.is_dir())
        return Place(name, None, inner) if inner else None
    return _placed(name, spec)


def _placed(name: str, spec: ModuleSpec | None) -> Place | None:
    if spec is None or spec.origin in ("built-in", "frozen"):
        return None
    try:
        folders = tuple(spec.submodule_search_locations or ())
    except KeyError:
        folders = ()
    return Place(name, spec.origin if spec.has_location else None, folders, spec)


def absolute(one: Import, place: Place) -> str:
    """Return the full name of the module that an import statement in a place begins at."""
    if not one.level:
        return one.module
    parts = place.name.split(".") if place.folders else place.name.split(".")[:-1]
    base = ".".join(parts[: len(parts) - one.level + 1])
    return f"{base}.{one.module}" if base and one.module else base or one.module


def parents(name: str) -> list[str]:
    """Return the names of the packages around a module, the outermost first."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def analyse(place: Place) -> Analysis | None:
    """Read the file of a module and analyse it; None if there is no file to read."""
    if place.file is None:
        return None
    try:
        stat = Path(place.file).stat()
    except OSError:
        loader = place.spec.loader if place.spec else None
        source = loader.get_source(place.name) if isinstance(loader, importlib.abc.InspectLoader) else None
        return _read(source.encode()) if source else None
    return _analyse_file(place.file, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=4096)
def _analyse_file(file: str, changed: int, size: int) -> Analysis | None:
    try:
        content = Path(file).read_bytes()
    except OSError:
        return None
    return _read(content) if file.endswith((".py", ".pyw")) else Analysis(hashlib.sha256(content).hexdigest(), (), {}, False, frozenset())


def _read(content: bytes) -> Analysis:
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return Analysis(hashlib.sha256(content).hexdigest(), (), {}, False, frozenset())
    hands_out = any(isinstance(one, ast.FunctionDef) and one.name == "__getattr__" for one in tree.body)
    imports: list[Import] = []
    lazy: dict[str, Import] = {}
    mentioned: set[str] = set()
    waiting: list[tuple[ast.AST, bool]] = [(tree, False)]
    while waiting:
        node, unread = waiting.pop()
        for one in _imports(node):
            if not unread:
                imports.append(one)
        if unread and isinstance(node, ast.ImportFrom):
            lazy |= {alias.asname or alias.name: Import(node.level, node.module or "", (alias.name,)) for alias in node.names}
        if isinstance(node, ast.Attribute):
            mentioned.add(node.attr)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in (getattr(node.test, "id", ""), getattr(node.test, "attr", "")):
            waiting += [(one, True) for one in node.body] + [(one, unread) for one in node.orelse]
        else:
            waiting += [(one, unread) for one in ast.iter_child_nodes(node)]
    return Analysis(tree_digest(tree), tuple(dict.fromkeys(imports)), lazy, hands_out, frozenset(mentioned))


def _imports(node: ast.AST) -> list[Import]:
    """Return the imports of a node: a statement, or a call of `import_module` with a literal name."""
    match node:
        case ast.Import(names=names):
            return [Import(0, alias.name, None) for alias in names]
        case ast.ImportFrom(level=level, module=module, names=names):
            return [Import(level, module or "", tuple(alias.name for alias in names))]
        case ast.Call(func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"), args=[ast.Constant(value=str(name)), *_]):
            dots = len(name) - len(name.lstrip("."))
            return [Import(dots, name[dots:], () if dots else None)]
    return []


def tree_digest(tree: ast.AST) -> str:
    """Return a hash of a syntax tree without docstrings and positions.

    It is the same in every Python with the same nodes.
    """
    written: list[str] = []
    waiting: list[Any] = [tree]
    while waiting:
        node = waiting.pop()
        if node.__class__ is list:
            written.append(f"[{len(node)}")
            waiting += node
        elif isinstance(node, ast.AST):
            written.append(node.__class__.__name__)
            for name in node._fields:
                value = getattr(node, name, None)
                if name == "body" and isinstance(value, list) and isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                    value = value[ast.get_docstring(node, clean=False) is not None :]
                if value is not None and value != [] and name not in ("ctx", "type_comment", "kind"):
                    written.append(name)
                    waiting.append(value)
        else:
            written.append(repr(node))
    return hashlib.sha256("\n".join(written).encode("utf-8", "surrogatepass")).hexdigest()


def is_installed(file: str) -> bool:
    """Return whether a file belongs to Python or to an installed package."""
    path = os.path.realpath(file)
    return path.startswith(INSTALLED) or f"{os.sep}site-packages{os.sep}" in path or f"{os.sep}dist-packages{os.sep}" in path


def foreign(name: str) -> bool:
    """Return whether a module belongs to Python or to a package that does not rest on this one."""
    if name == "__main__":
        return False
    if name.partition(".")[0] in sys.stdlib_module_names:
        return True
    place = locate(name, ())
    return place is not None and place.file is not None and is_installed(place.file) and name.partition(".")[0] != OWN and not rests_on_us(place)


def rests_on_us(place: Place) -> bool:
    """Return whether a module imports sparring, or is part of a package that does."""
    names = [*parents(place.name), place.name]
    read = (analyse(found) for name in names if (found := locate(name, ())))
    return any(one.module.partition(".")[0] == OWN for analysis in read if analysis for one in analysis.imports)


def zipped(name: str) -> bool:
    """Return whether a module was loaded from an archive, which keeps its source."""
    loader = getattr(getattr(sys.modules.get(name), "__spec__", None), "loader", None)
    return type(loader).__module__ == "zipimport"
