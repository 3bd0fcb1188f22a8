"""A hash of the code that decides a result: the given things and the modules of their packages that they import.

Comments, docstrings and layout do not count. Nothing is executed to find out what is imported: modules are located, read and parsed. Modules of other
packages (torch, numpy) do not count; they are named by their versions in the environment of a record.
"""

import ast
import dis
import functools
import hashlib
import inspect
import os
import sys
import textwrap
import types
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sparring.core.modules import OWN, Analysis, Import, Place, absolute, analyse, foreign, is_installed, locate, parents, rests_on_us, tree_digest, zipped

PLAIN = (str, bytes, int, float, complex, bool, type(None), type(...))


def code_of(*things: Any) -> str:
    """Return a hash of the code of these things, 16 hexadecimal digits.

    A function or class stands for its module and for all modules that this imports, directly or not, within its own top-level package, within
    `sparring`, and beside its file in a folder where nothing is installed. A value stands for its class, for the functions and classes that it
    holds, and for those named by its `parts` where it has such a property. What has no file (a cell of a notebook, a program read from a pipe, `exec`)
    stands for its own source or, without one, its bytecode, and for what it names of its globals.

    Args:
        things: Functions, classes, modules or values; plain values (text, numbers) count by themselves.

    Example:
        >>> code_of(code_of) == code_of(code_of), len(code_of(code_of))
        (True, 16)
    """
    walk = _Walk()
    for thing in things:
        walk.add(thing)
    return hashlib.sha256("\n".join(sorted(walk.found)).encode()).hexdigest()[:16]


def code_of_subject(data: Any, victim: Any = None) -> str:
    """Return a hash of the code that decides what is asked of a model and what its answers mean.

    Args:
        data: Data with a `domain` and a `task`: how samples are written, what is true, what counts as wrong.
        victim: A victim, with all that it wraps; None where the model is made by a fit, whose code counts by itself.
    """
    things: list[Any] = [data.domain, data.task]
    if victim is not None:
        things += [victim.domain, victim.task]
    while victim is not None:
        things.append(type(victim))
        victim = getattr(victim, "inner", None)
    return code_of(*things)


class _Walk:
    """What one question has found so far. found: lines that make up the hash. packages, folders: in which imports are followed."""

    def __init__(self) -> None:
        self.found: set[str] = set()
        self.packages = {OWN}
        self.folders: set[str] = set()
        self.seen: dict[str, Analysis | None] = {}
        self.done: set[int] = set()
        self.handed_out: set[tuple[str, Import]] = set()
        self.kept: list[Any] = []  # so that no id of what is done is given to something else

    def add(self, thing: Any) -> None:
        """Take in a thing that was given or that another one holds."""
        if isinstance(thing, PLAIN):
            self.found.add(f"value {thing!r}")
            return
        if id(thing) in self.done:
            return
        self.done.add(id(thing))
        self.kept.append(thing)
        if isinstance(thing, types.ModuleType):
            self._open(thing.__name__, getattr(thing, "__file__", None))
        elif isinstance(thing, functools.partial):
            for part in (thing.func, *thing.args, *thing.keywords, *thing.keywords.values()):
                self.add(part)
        elif isinstance(thing, types.MethodType):
            self.add(thing.__func__)
            self._called(thing.__self__)
        elif isinstance(thing, types.FunctionType):
            self._function(thing)
        elif isinstance(thing, type):
            self._class(thing)
        elif not isinstance(thing, types.BuiltinFunctionType):
            self._value(thing)

    def _value(self, thing: Any) -> None:
        self.add(type(thing))
        for part in getattr(thing, "parts", ()) if not isinstance(getattr(type(thing), "parts", None), types.FunctionType) else ():
            self.add(part)
        held = thing._asdict() if hasattr(thing, "_asdict") else getattr(thing, "__dict__", {})
        for value in held.values():
            for one in _spread(value):
                if isinstance(one, types.FunctionType | type | types.MethodType | functools.partial):
                    self.add(one)
                elif callable(one) and not foreign(type(one).__module__):
                    self._called(one)

    def _called(self, thing: Any) -> None:
        """Take in an object that is called, or whose method is: its code, and its attributes by their content as far as this is stable."""
        self.add(thing)
        for name, value in getattr(thing, "__dict__", {}).items() if not isinstance(thing, type) else ():
            if (content := _content(value)) is not None:
                self.found.add(f"{type(thing).__qualname__}.{name} = {content}")

    def _function(self, function: types.FunctionType) -> None:
        self.found.add(f"function {function.__qualname__}")
        if isinstance(inner := getattr(function, "__wrapped__", None), types.FunctionType):
            self.add(inner)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                self._named(name, cell.cell_contents)
            except ValueError:  # a cell that is still empty
                continue
        file = function.__code__.co_filename
        if Path(file).is_file() or zipped(function.__module__):
            self._open(function.__module__, file)
            return
        source = _source_of(function)
        self.found.add(f"{function.__qualname__} {source or _bytecode(function.__code__, function.__doc__)}")
        for name, value in _defaults(function):
            self._named(f"{function.__qualname__}({name})", value)
        self._names(function.__code__, function.__globals__)

    def _class(self, kind: type) -> None:
        self.found.add(f"class {kind.__qualname__}")
        module = sys.modules.get(kind.__module__)
        file = getattr(module, "__file__", None)
        bodies = [one for one in map(_body, vars(kind).values()) if one]
        if not bodies and (kind.__module__ in sys.builtin_module_names or kind.__module__ in sys.stdlib_module_names):
            return
        generated = hasattr(kind, "__dataclass_fields__") or issubclass(kind, tuple)
        files = [one.__code__.co_filename for one in bodies if not (generated and one.__code__.co_filename.startswith("<"))]
        if file and (all(Path(one).is_file() for one in files) or zipped(kind.__module__)):
            self._open(kind.__module__, file)
            return
        if source := _source_of(kind):
            self.found.add(f"{kind.__qualname__} {source}")
        for name, value in vars(kind).items():
            if body := _body(value):
                self.add(body)
            elif not name.startswith("__"):
                self._named(f"{kind.__qualname__}.{name}", value)
        for base in kind.__bases__:
            self.add(base)

    def _names(self, code: types.CodeType, space: Mapping[str, Any]) -> None:
        """Take in what a piece of code without a file names."""
        for one in dis.get_instructions(code):
            if one.opname == "IMPORT_NAME" and (module := sys.modules.get(str(one.argval))):
                self._reached(module)
        for name in code.co_names:
            if name in space:
                self._named(name, space[name])
        for inner in code.co_consts:
            if isinstance(inner, types.CodeType):
                self._names(inner, space)

    def _named(self, name: str, value: Any) -> None:
        """Take in a global, a cell or a default: code by its code, other values by their content as far as this is stable."""
        if isinstance(value, types.ModuleType):
            self._reached(value)
        elif isinstance(value, types.FunctionType | type):
            if not foreign(value.__module__):
                self.add(value)
        elif isinstance(value, types.MethodType | functools.partial):
            self.add(value)
        elif (content := _content(value)) is not None:
            self.found.add(f"{name} = {content}")
        elif not foreign(type(value).__module__):
            self.add(value)

    def _reached(self, module: types.ModuleType) -> None:
        if not foreign(module.__name__):
            self.add(module)

    def _open(self, name: str, file: str | None) -> None:
        """Begin at a module: its package is followed from here on, and its folder where nothing is installed there."""
        if name == "__main__":
            spec = getattr(sys.modules.get(name), "__spec__", None)
            name = spec.name if spec else Path(file or name).stem
            place = Place(name, file, ())
        else:
            place = locate(name, self.folders)
            if place is None or (file and place.file and file.endswith(".py") and os.path.realpath(place.file) != os.path.realpath(file)):
                place = Place(name, file, ())
        top = name.partition(".")[0]
        if top != OWN and top not in self.packages and place.file:
            installed = is_installed(place.file)
            if installed and not rests_on_us(place):
                self._keep(place)
                return
            self.packages.add(top)
            depth = name.count(".") + bool(place.folders)
            if not installed:
                self.folders.add(str(Path(place.file).resolve().parents[depth]))
        self._follow(place)

    def _follow(self, first: Place) -> None:
        waiting = [first]
        while waiting:
            place = waiting.pop()
            if place.name in self.seen:
                continue
            if (analysis := self._keep(place)) is None:
                continue
            for parent in parents(place.name):
                if parent not in self.seen and (found := locate(parent, self.folders)) and not ((read := analyse(found)) and read.hands_out):
                    waiting.append(found)
            for one in analysis.imports:
                waiting += self._targets(one, place, analysis)

    def _keep(self, place: Place) -> Analysis | None:
        self.seen[place.name] = analysis = analyse(place)
        if analysis:
            self.found.add(f"module {place.name} {analysis.digest}")
        return analysis

    def _targets(self, one: Import, place: Place, analysis: Analysis) -> Iterator[Place]:
        """The modules of ours that an import statement stands for."""
        module = absolute(one, place)
        top = module.partition(".")[0]
        if not top or (top not in self.packages and not self._beside(top)):
            return
        for name in [module] if one.names is not None else [*parents(module), module]:
            found = locate(name, self.folders)
            if found is None:
                continue
            yield found
            taken = set(one.names or ())
            for name in taken:
                if inner := locate(f"{module}.{name}", self.folders) if name != "*" else None:
                    yield inner
            read = analyse(found)
            if read and read.hands_out:
                for name, lazy in read.lazy.items():
                    wanted = "*" in taken or name in taken or name in analysis.mentioned
                    if wanted and (found.name, lazy) not in self.handed_out:  # `from package import part` in the package itself leads back to it
                        self.handed_out.add((found.name, lazy))
                        yield from self._targets(lazy, found, read)

    def _beside(self, top: str) -> bool:
        """Whether there is such a module in a folder that is followed."""
        places = [Path(folder) for folder in self.folders]
        return any((place / f"{top}.py").is_file() or (place / top).is_dir() for place in places)


def _source_of(thing: types.FunctionType | type) -> str | None:
    """Return a hash of the source of a thing without a file; None if the source is not available or does not match."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(thing)))
    except (OSError, TypeError, SyntaxError, IndexError):
        return None
    named = [one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]
    if thing.__name__ != "<lambda>" and thing.__name__ not in [one.name for one in named[:1]]:
        return None
    return tree_digest(tree)


def _bytecode(code: types.CodeType, doc: str | None = None) -> str:
    constants = []
    for one in code.co_consts:
        if isinstance(one, types.CodeType):
            constants.append(_bytecode(one))
        elif not (doc is not None and one == doc):
            constants.append(_content(one))
    parts = (code.co_code.hex(), constants, code.co_names, code.co_varnames, code.co_freevars, code.co_argcount, code.co_kwonlyargcount)
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()


def _content(value: Any) -> str | None:
    """A plain value, a collection of them or an array as text that is the same in every process; None for other things."""
    if isinstance(value, PLAIN):
        return repr(value)
    if isinstance(value, list | tuple | set | frozenset):
        parts = [_content(one) for one in value]
        if None in parts:
            return None
        return f"{type(value).__name__}{sorted(map(str, parts)) if isinstance(value, set | frozenset) else parts}"
    if isinstance(value, dict):
        pairs = [(_content(name), _content(one)) for name, one in value.items()]
        return None if any(None in pair for pair in pairs) else f"dict{pairs}"
    if hasattr(value, "__array__") and hasattr(value, "shape"):
        try:
            array = (value.detach().cpu() if hasattr(value, "detach") else value).__array__()
            return None if array.dtype.hasobject else f"array {array.dtype} {array.shape} {hashlib.sha256(array.tobytes()).hexdigest()}"
        except (TypeError, ValueError, RuntimeError, AttributeError):
            return None
    return None


def _spread(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list | tuple | set | frozenset) else (value,)


def _body(value: Any) -> types.FunctionType | None:
    """The function behind an attribute of a class; None where it is something else."""
    inner = getattr(value, "__func__", None) or getattr(value, "fget", None) or getattr(value, "func", None) or value
    return inner if isinstance(inner, types.FunctionType) else None


def _defaults(function: types.FunctionType) -> list[tuple[str, Any]]:
    return [*((str(place), one) for place, one in enumerate(function.__defaults__ or ())), *(function.__kwdefaults__ or {}).items()]
