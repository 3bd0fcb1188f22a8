"""Defines a reader: it accepts some paths and makes `Data` of them."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

from sparring.core.errors import InputError
from sparring.core.registry import register
from sparring.core.task import Task
from sparring.data.dataset import Data


@dataclass(frozen=True)
class Options:
    """Hold the options that a user gives for a source; None if not given.

    split: which part, "test" say. target: name of the column with the classes, or several with commas between them. size: (height, width) to scale
    images to. deployed: "float" or "8bit", the form in which images reach the model. encoding: of text files. task: what is true.
    """

    split: str | None = None
    target: str | None = None
    size: int | tuple[int, int] | None = None
    deployed: str | None = None
    encoding: str | None = None
    task: Task | None = None

    @property
    def other(self) -> Task | None:
        """Return what is true, where it is said and no class."""
        return None if self.task is None or self.task.kind == "classes" else self.task

    def check(self, taken: frozenset[str], what: str) -> None:
        """Raise InputError for an option that this kind of source does not have."""
        for option in fields(self):
            value = getattr(self, option.name)
            if option.name == "task" and self.other is None:
                continue  # every source without another task holds classes
            if value is not None and option.name not in taken:
                known = f"use {', '.join(sorted(taken))}" if taken else "leave it out"
                raise InputError(f"{option.name}={value!r} has no meaning for {what}: {known}")


class Reader(NamedTuple):
    """Hold a reader of files and the paths that it accepts.

    accepts: does it read this path? read: (path, options) -> Data. takes: the options it knows. files: what it
    reads, in words. Lower `order` asks first.
    """

    accepts: Callable[[Path], bool]
    read: Callable[[Path, Options], Data]
    takes: frozenset[str]
    files: str
    order: int


def reader(name: str, accepts: Callable[[Path], bool], *, files: str, takes: set[str], order: int = 50) -> Callable[..., Callable[[Path, Options], Data]]:
    """Register a function (path, options) -> Data as the reader of the accepted paths."""

    def enter(read: Callable[[Path, Options], Data]) -> Callable[[Path, Options], Data]:
        register("reader", name)(Reader(accepts, read, frozenset(takes), files, order))
        return read

    return enter
