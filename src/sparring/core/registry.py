"""Finds registered things by walking the package, so that adding a file is enough."""

import importlib
import inspect
import pkgutil
import re
import sys
import types
import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from sparring.core.errors import PlanError, PluginWarning, SparringError, UnknownName
from sparring.core.expression import WORDS, parse
from sparring.core.files import is_there

Thing = TypeVar("Thing")

ROOMS = {
    "attack": "sparring.attacks",
    "method": "sparring.attacks",
    "space": "sparring.threats",
    "tampering": "sparring.threats",
    "goal": "sparring.threats",
    "domain": "sparring.domains",
    "task": "sparring.tasks",
    "adapter": "sparring.models",
    "model": "sparring.models",
    "loss": "sparring.attacks",
    "set": "sparring.attacks.sets",
    "change": "sparring.attacks.evasion.transfer.changes",
    "dataset": "sparring.data",
    "reader": "sparring.data",
    "check": "sparring.diagnosis",
    "recipe": "sparring.defences",
    "fit": "sparring.defences.training.fits",
    "remedy": "sparring.diagnosis.remedies",
    "certifier": "sparring.certification",
    "verifier": "sparring.certification.networks.verifiers",
    "aim": "sparring.aims",
    "metric": "sparring.metrics",
    "section": "sparring.report",
}
"""The package of each kind of thing. For verifiers it is the subpackage only, so that commands that use them start fast."""

SAID = {"space": "threat", "tampering": "threat", "method": "attack", "dataset": "data set", "set": "set of attacks"}
"""The name of a kind in messages."""

EXAMPLES = {"space": "linf 8/255", "tampering": "labels 0.1", "goal": "targeted 3", "task": "values(tolerance=20)"}
"""How things of a kind are written with their settings."""

_things: dict[str, dict[str, Any]] = {kind: {} for kind in ROOMS}
_walked: set[str] = set()


def register(kind: str, name: str) -> Callable[[Thing], Thing]:
    """Register the decorated thing under `kind` and `name`; a second of that name is an error.

    If a plugin has already taken the name of something in Sparring, the plugin is left out with a warning.

    Raises:
        UnknownName: For a kind that does not exist.
        ValueError: For a second thing of that name, from another module.
        TypeError: For a class that lacks methods which its kind must have, or calls itself otherwise.
    """

    if kind not in ROOMS:
        raise UnknownName("kind", kind, ROOMS)

    def enter(thing: Thing) -> Thing:
        if inspect.isabstract(thing):
            raise TypeError(f"the {kind} {name!r} lacks {', '.join(sorted(thing.__abstractmethods__))}: define them in {thing.__qualname__}")  # type: ignore[attr-defined]
        if isinstance(thing, type) and isinstance(own := getattr(thing, "kind", name), str) and own != name:
            raise TypeError(f"the {kind} {name!r} calls itself {own!r}, by which records would name it: set kind = {name!r} in {thing.__qualname__}")
        known = _things[kind].get(name)
        if known is not None and known is not thing and (there := origin(known)) != (here := origin(thing)):
            if is_ours(there) or not is_ours(here):
                raise ValueError(f"two {kind}s are called {name!r}, one in {there} and one in {here}: rename the second")
            warn_of_plugin(there, f"the {kind} {name!r} of {there} is left out, as one of Sparring's has that name: rename it")
        _things[kind][name] = thing
        return thing

    return enter


def origin(thing: Any) -> str:
    """Return the name of the module that defines a registered thing.

    What is made by a decorator comes from where the function or class that it holds is defined.
    """
    if isinstance(thing, type | types.FunctionType) or "__module__" in getattr(thing, "__dict__", {}):
        return thing.__module__
    held = thing._asdict() if hasattr(thing, "_asdict") else getattr(thing, "__dict__", {})
    return next((one.__module__ for one in held.values() if isinstance(one, type | types.FunctionType)), type(thing).__module__)


def everything(kind: str) -> dict[str, Any]:
    """Return all registered things of a kind by name, plugins included, in alphabetical order."""
    if kind not in ROOMS:
        raise UnknownName("kind", kind, ROOMS)
    for room in ROOMS[kind].split():
        _walk(room)
    _load_plugins()
    return dict(sorted(_things[kind].items()))


def reads(kind: str, folder: Path) -> bool:
    """Return whether the registry imports the modules of a folder to find things of a kind."""
    everything(kind)
    walked = (*ROOMS[kind].split(), *(point.value.partition(":")[0].strip() for point in entry_points(group="sparring")))
    packages = [module for name, module in sys.modules.items() if any(f"{name}.".startswith(f"{one}.") for one in walked)]
    return folder.resolve() in {Path(one).resolve() for package in packages for one in getattr(package, "__path__", ())}


def find(kind: str, name: str) -> Any:
    """Return the thing of that kind and name.

    Raises:
        UnknownName: Where no thing has that name; the message suggests the nearest one.
    """
    things = everything(kind)
    if name not in things:
        raise UnknownName(SAID.get(kind, kind), name, things)
    return things[name]


def read_thing(kind: str, written: str, maker: str = "") -> Any:
    """Return the thing of a kind that a plan writes as `labels 0.1` or `values(tolerance=20)`.

    Args:
        kind: The kind of thing.
        written: Its name and settings.
        maker: The method that takes the settings; empty where the thing itself does.

    Raises:
        UnknownName: For a name or a setting that does not exist.
        PlanError: For settings that are missing, too many or of the wrong type.
    """
    expression = parse(_with_paths_quoted(written))
    name, said = expression.name, SAID.get(kind, kind)
    make = find(kind, name)
    make = getattr(make, maker) if maker else make
    known = inspect.signature(make).parameters
    if unknown := expression.settings.keys() - known:
        raise UnknownName(f"setting of {name}", min(unknown), known)
    try:
        return make(*expression.arguments, **expression.settings)
    except TypeError as error:
        cure = f"its settings are {', '.join(known)}; write it as in {EXAMPLES[kind]}" if known else f"write {name} alone, it has no settings"
        raise PlanError(f"cannot read the {said} {written!r}: {cure}") from error


def _with_paths_quoted(written: str) -> str:
    """Return `rules my folder/rules.yaml` with quotes around the path with blanks, if there is such a file."""
    words = WORDS.findall(written)
    if len(words) > 100:  # no path: all parts of it would be looked for
        return written
    for start in range(1, len(words) - 1):
        for end in range(len(words), start + 1, -1):
            path = " ".join(words[start:end])
            if '"' not in path and is_there(path):
                return " ".join([*words[:start], f'"{path}"', *words[end:]])
    return written


def named_in(settings: Mapping[str, Any]) -> list[Any]:
    """Return the registered things that settings name.

    A setting may be called after a kind: `loss="dlr"`, `verifiers=["ibp", "crown"]`.
    None, where a setting is called after several things of a kind, stands for all of them.
    """
    found: list[Any] = []
    for setting, value in settings.items():
        for kind in ROOMS:
            if setting in (kind, f"{kind}s"):
                things = everything(kind)
                written = [value] if isinstance(value, str) else list(value) if isinstance(value, Mapping | list | tuple) else []
                names = {name for one in written for name in re.findall(r"[A-Za-z_][\w-]*", str(one))}
                found += [thing for name, thing in things.items() if name in names or (value is None and setting != kind)]
    return found


Answer = TypeVar("Answer")


def ask_tolerantly(thing: Any, what: str, ask: Callable[[], Answer], otherwise: Answer) -> Answer:
    """Return the answer of a registered thing; if a plugin fails, warn and return `otherwise`.

    Args:
        thing: The registered thing.
        what: Its name in the warning: "the metric ambiguity".
        ask: Computes the answer.
        otherwise: The answer if the plugin fails.
    """
    try:
        return ask()
    except SparringError:
        raise
    except Exception as error:
        if is_ours(origin(thing)):
            raise
        warn_of_plugin(origin(thing), f"{what} of {origin(thing)} fails and is left out ({_said(error)}): fix the plugin or uninstall it")
        return otherwise


def _walk(package_name: str) -> None:
    if package_name in _walked:
        return
    _walked.add(package_name)
    try:
        package = importlib.import_module(package_name)
        for module in pkgutil.walk_packages(getattr(package, "__path__", ()), package_name + "."):
            importlib.import_module(module.name)
    except BaseException:
        _walked.discard(package_name)  # half a walk must not pass for a whole one
        raise


class Trouble(NamedTuple):
    """Hold a module of a plugin that cannot be imported, and why."""

    module: str
    error: BaseException


def _load_plugins() -> None:
    """Import the modules named by entry points of the group "sparring", which register themselves; a broken one causes only a warning."""
    if "plugins" in _walked:
        return
    _walked.add("plugins")
    try:
        points = list(entry_points(group="sparring"))
    except Exception as error:  # a package whose list of entry points was written by hand
        warn_of_plugin(
            "", f"no plugin is loaded, because the entry points of the installed packages cannot be read ({_said(error)}): fix or uninstall the package"
        )
        return
    for point in points:
        _load_plugin(point)


def _load_plugin(point: EntryPoint) -> None:
    before = {kind: dict(things) for kind, things in _things.items()}
    troubles = list(_import_all(point))
    for kind, things in _things.items():
        for name in [name for name, thing in things.items() if name not in before[kind] and origin(thing) not in sys.modules]:
            del things[name]  # its module failed after it was registered
    named = f"the plugin {point.name} ({point.value})"
    if troubles:
        first = troubles[0]
        place = "" if first.module == point.value else f"{first.module}: "
        more = f" (and {len(troubles) - 1} more of its modules)" if len(troubles) > 1 else ""
        rest = "its other modules are in use" if any(_of(point)) else "it is left out"
        warn_of_plugin(point.value, f"{named} cannot be loaded: {place}{_said(first.error)}{more}: {rest}; fix it or uninstall it")
    elif not any(_of(point)) and all(things == before[kind] for kind, things in _things.items()):
        warn_of_plugin(point.value, f"{named} registers nothing: name the module or package whose decorators register things, then try spar ls")


def _import_all(point: EntryPoint) -> Iterator[Trouble]:
    """Import the module of an entry point, with all modules of a package; yield those that fail."""
    if not point.pattern.match(point.value):
        yield Trouble(point.value, ValueError("it names no module: write my_plugin or my_plugin.module"))
        return
    try:
        waiting = [point.load()]
    except (Exception, SystemExit) as error:  # a stranger's module may raise anything
        yield Trouble(point.value, error)
        return
    while waiting:
        package = waiting.pop()
        for found in pkgutil.iter_modules(getattr(package, "__path__", ()), f"{getattr(package, '__name__', '')}."):
            if found.name.endswith(".__main__"):
                continue  # a program
            try:
                waiting.append(importlib.import_module(found.name))
            except (Exception, SystemExit) as error:
                yield Trouble(found.name, error)


def _of(point: EntryPoint) -> Iterator[str]:
    """The names of all things from the package that an entry point names."""
    top = point.value.partition(":")[0].partition(".")[0].strip()
    return (name for things in _things.values() for name, thing in things.items() if origin(thing).partition(".")[0] == top)


def is_ours(module: str) -> bool:
    """Return whether a module is part of Sparring itself."""
    return module.partition(".")[0] == "sparring"


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split()) or 'no reason given'}"


def warn_of_plugin(module: str, text: str) -> None:
    """Report an error in a plugin as a warning, so that everything else continues.

    The command line writes the text as one line.
    """
    warnings.warn_explicit(text, PluginWarning, module or "sparring", 0)
