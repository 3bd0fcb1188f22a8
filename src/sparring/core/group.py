"""Packages that are public groups of names: imported when first used, listed by `dir`."""

import importlib
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any


class Group(ModuleType):
    """Represent a package whose public names win over its modules of the same name.

    `sparring.threats.patch` is the function, and `from sparring.threats.patch import Patch` still finds the module: the import
    system looks modules up by their full names, and what it would write over a public name is left out.
    """

    _places: Mapping[str, str]

    def __getattr__(self, name: str) -> Any:
        if name not in self.__dict__.get("_places", {}):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        found = getattr(importlib.import_module(f"sparring.{self._places[name]}"), name)
        self.__dict__[name] = found
        return found

    def __setattr__(self, name: str, value: Any) -> None:
        if not (isinstance(value, ModuleType) and name in self.__dict__.get("_places", {})):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted(self._places)


def group(package: str, places: Mapping[str, str]) -> None:
    """Make a package a group.

    places: from each public name to the module of sparring that holds it.
    """
    module = sys.modules[package]
    module.__dict__["_places"] = dict(places)
    module.__class__ = Group
