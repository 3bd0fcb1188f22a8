"""Names of registered things for completion, kept in the user's cache, because importing what registers them takes seconds."""

import contextlib
import hashlib
import json
import os
import sys
import uuid
from collections.abc import Iterator
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

SOURCES = Path(__file__).parents[1]

MOST_BYTES = 1 << 20
"""The largest file of names that is read."""


def cache_file() -> Path:
    """Return the file that holds the names.

    It is sparring/names.json in $XDG_CACHE_HOME, by default ~/.cache.
    """
    given = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(given) if Path(given).is_absolute() else Path("~/.cache").expanduser()) / "sparring" / "names.json"


def names_of(kind: str) -> list[str]:
    """Return the names of a kind as the registry has them.

    They come from the cache where no module of Sparring and its plugins changed since.

    A cache that cannot be read or written is none.
    """
    state = _state()
    held = _read(state)
    if kind in held:
        return held[kind]
    from sparring.core.registry import everything

    names = list(everything(kind))
    with contextlib.suppress(OSError, RuntimeError):  # no folder to write into, or no home
        file = cache_file()
        file.parent.mkdir(parents=True, exist_ok=True)
        aside = file.with_name(f"{file.name}.{uuid.uuid4().hex}.tmp")
        aside.write_text(json.dumps({"state": state, "names": {**held, kind: names}}))
        aside.replace(file)
    return names


def _read(state: str) -> dict[str, list[str]]:
    """The names by kind that were kept in this state; none where there are none, or where the file is another one."""
    try:
        file = cache_file()
        if file.stat().st_size > MOST_BYTES:
            return {}
        held = json.loads(file.read_text())
        names = held["names"] if held["state"] == state else {}
    except (OSError, ValueError, LookupError, TypeError, RuntimeError):
        return {}
    sound = isinstance(names, dict) and all(isinstance(one, list) and all(isinstance(name, str) for name in one) for one in names.values())
    return names if sound else {}


def _state() -> str:
    """The hash of what decides the names: Python, and the times of all modules of Sparring and of its plugins."""
    digest = hashlib.sha256(sys.version.encode())
    for line in _lines():
        digest.update(f"{line}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _lines() -> Iterator[str]:
    yield from _times(SOURCES)
    for point in sorted(entry_points(group="sparring"), key=str):
        yield f"{point.name} {point.value}"
        top = point.value.partition(":")[0].partition(".")[0].strip()
        with contextlib.suppress(ImportError, ValueError):
            found = find_spec(top)
            for place in (found and found.submodule_search_locations) or ():
                yield from _times(Path(place))
            if found and found.origin:
                yield from _times(Path(found.origin))


def _times(place: Path) -> Iterator[str]:
    """Modules in a folder, or one file, with the times of their last changes."""
    for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
        with contextlib.suppress(OSError):
            yield f"{file} {file.stat().st_mtime_ns}"
