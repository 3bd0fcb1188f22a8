"""Who is there: one file adds a thing, and the registry finds it by walking the package."""

import importlib
import pkgutil
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any, TypeVar

from sparring.core.errors import LoadError, UnknownName

Thing = TypeVar("Thing")

ROOMS = {
    "attack": "sparring.attacks",
    "space": "sparring.threats",
    "goal": "sparring.threats",
    "domain": "sparring.domains",
    "adapter": "sparring.models",
    "model": "sparring.models",
    "loss": "sparring.attacks",
    "dataset": "sparring.data",
    "reader": "sparring.data",
    "check": "sparring.judge",
    "certifier": "sparring.certification",
    "rung": "sparring.certification.falsify sparring.certification.bounds sparring.certification.exact",
    "metric": "sparring.metrics",
    "section": "sparring.report",
}
"""Which room of the house each kind of thing lives in; of rungs only the corners, since commands that need them are to answer at once."""

SAID = {"space": "threat", "dataset": "data set"}
"""What a kind is called where a person reads it."""

_things: dict[str, dict[str, Any]] = {kind: {} for kind in ROOMS}
_walked: set[str] = set()


def register(kind: str, name: str) -> Callable[[Thing], Thing]:
    """Decorator that enters a thing under `kind` and `name`; a second thing of that name is an error."""

    def enter(thing: Thing) -> Thing:
        known = _things[kind].get(name)
        same_place = known is not None and getattr(known, "__module__", 0) == getattr(thing, "__module__", 1)
        if known is not None and not same_place:
            raise ValueError(f"two {kind}s are called {name!r}: {known!r} and {thing!r}")
        _things[kind][name] = thing
        return thing

    return enter


def everything(kind: str) -> dict[str, Any]:
    """All registered things of a kind by name, plugins included, in alphabetical order."""
    if kind not in ROOMS:
        raise UnknownName("kind", kind, ROOMS)
    for room in ROOMS[kind].split():
        _walk(room)
    _load_plugins()
    return dict(sorted(_things[kind].items()))


def find(kind: str, name: str) -> Any:
    """The thing of that kind and name; `UnknownName` names the nearest otherwise."""
    things = everything(kind)
    if name not in things:
        raise UnknownName(SAID.get(kind, kind), name, things)
    return things[name]


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


def _load_plugins() -> None:
    """Modules named by entry points of the group "sparring" register themselves on import."""
    if "plugins" in _walked:
        return
    _walked.add("plugins")
    for point in entry_points(group="sparring"):
        try:
            plugin = point.load()
            if hasattr(plugin, "__path__"):
                for module in pkgutil.walk_packages(plugin.__path__, plugin.__name__ + "."):
                    importlib.import_module(module.name)
        except Exception as error:  # a stranger's module may raise anything
            _walked.discard("plugins")
            raise LoadError(f"the plugin {point.name} ({point.value}) cannot be loaded: {type(error).__name__}: {error}: mend it or uninstall it") from error
