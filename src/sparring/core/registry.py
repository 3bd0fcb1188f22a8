"""Finds registered things by walking the package, so that adding a file is enough."""

import importlib
import pkgutil
import re
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, TypeVar

from sparring.core.errors import LoadError, UnknownName

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

_things: dict[str, dict[str, Any]] = {kind: {} for kind in ROOMS}
_walked: set[str] = set()


def register(kind: str, name: str) -> Callable[[Thing], Thing]:
    """Register the decorated thing under `kind` and `name`; a second of that name is an error."""

    def enter(thing: Thing) -> Thing:
        known = _things[kind].get(name)
        same_place = known is not None and getattr(known, "__module__", 0) == getattr(thing, "__module__", 1)
        if known is not None and not same_place:
            raise ValueError(f"two {kind}s are called {name!r}: {known!r} and {thing!r}; rename one")
        _things[kind][name] = thing
        return thing

    return enter


def everything(kind: str) -> dict[str, Any]:
    """Return all registered things of a kind by name, plugins included, in alphabetical order."""
    if kind not in ROOMS:
        raise UnknownName("kind", kind, ROOMS)
    for room in ROOMS[kind].split():
        _walk(room)
    _load_plugins()
    return dict(sorted(_things[kind].items()))


def find(kind: str, name: str) -> Any:
    """Return the thing of that kind and name.

    Raises:
        UnknownName: Where no thing has that name; the message suggests the nearest one.
    """
    things = everything(kind)
    if name not in things:
        raise UnknownName(SAID.get(kind, kind), name, things)
    return things[name]


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
    """Import the modules named by entry points of the group "sparring", which register themselves."""
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
            raise LoadError(f"the plugin {point.name} ({point.value}) cannot be loaded ({type(error).__name__}: {error}): fix it or uninstall it") from error
