"""Cells of aims whose attacks are `Method`s, and rows of units that are not samples."""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sparring.aims.case import Cell
from sparring.aims.rows import Columns
from sparring.attacks.method import Method
from sparring.core.code import code_of
from sparring.core.errors import LoadError, SparringError
from sparring.records.record import key_of


class Outcome(NamedTuple):
    """Hold the result of a method, or its error, and the time taken in seconds."""

    result: Any
    trouble: str
    seconds: float


def cells_of(base: dict[str, Any], baseline: tuple[str, str] | None, methods: Sequence[Method], *more: Any) -> list[Cell]:
    """Return one cell per method, and the baseline's cell if the baseline is not a method.

    Args:
        base: Plain JSON of everything on which every row depends.
        baseline: Its name and what it does.
        methods: Attacks and controls, in order.
        more: Further functions and classes on whose code the rows depend.
    """
    found = []
    if baseline:
        name, does = baseline
        found.append(Cell(name, key_of({**base, "cell": name, "code": code_of(*more)}), {"name": name, "settings": {}, "cites": "", "does": does}))
    for one in methods:
        named = {"nist": one.nist, "atlas": one.atlas} if one.nist else {}
        found.append(Cell(str(one), key_of({**base, "method": one.describe(), "code": code_of(one, *more)}), {**one.describe(), **named}))
    return found


def attempt(work: Callable[[], Any]) -> Outcome:
    """Run a function; return its own errors as a note, and raise errors of the user."""
    began = time.monotonic()
    result, trouble = None, ""
    try:
        result = work()
    except LoadError as error:  # the model failed, not its user
        trouble = str(error)
    except SparringError:
        raise
    except Exception as error:
        trouble = f"{type(error).__name__}: {error}"
    return Outcome(result, trouble, time.monotonic() - began)


def blank(ids: Sequence[str], places: Sequence[int], status: str, note: str = "", **more: Any) -> Columns:
    """Return one row per unit with nothing measured.

    more: further columns, one value each for all rows.
    """
    count = len(ids)
    empty = {name: [None] * count for name in ("wanted", "given", "aimed", "quality", "margin", "size", "radius")}
    counts = {name: [0] * count for name in ("queries", "forwards", "backwards")}
    rows = {"id": list(ids), "position": list(places), **empty, "status": [status] * count, **counts, "seconds": [0.0] * count, "note": [note] * count}
    return {**rows, **{name: [value] * count for name, value in more.items()}}
