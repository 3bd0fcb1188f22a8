"""The current folder on the import path: last, and only once the user names a module in it."""

import contextlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

_kept = False


def leave_path() -> None:
    """Take the current folder off the path until the user names a module of it.

    `python -m` has put it there, before everything else.

    For the entry point of a program: a file json.py that lies around would else be imported instead of the library of that name.
    """
    if sys.path and sys.path[0] in ("", str(Path.cwd())):
        del sys.path[0]


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Keep the folder on the path once it was needed, until the program ends.

    The user's code may import its neighbours later, while it runs.
    """
    global _kept
    _kept = True
    try:
        yield
    finally:
        _kept = False


@contextlib.contextmanager
def on_path() -> Iterator[None]:
    """Put the current folder last on the import path, so that it hides no library."""
    here = str(Path.cwd())
    there = here in sys.path
    if not there:
        sys.path.append(here)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        if not (there or _kept):
            with contextlib.suppress(ValueError):
                sys.path.remove(here)
