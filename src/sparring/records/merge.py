"""Merges the folders of several workers of one run: everything is checked before anything is written."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sparring.core.errors import RecordError
from sparring.records.record import POINTS_LOST, ROW, Record, expected
from sparring.records.store import Store

PART = re.compile(r"part-(\d{7,})-(\d{7,})(\.[0-9a-f]{16})?\.parquet")
CONTRADICTION = re.compile(r"contradictions/[0-9a-f]{16}-part-\d{7,}-\d{7,}\.npz")
"""Names of parts and of files of contradictions."""

VERDICT = ["position", "wanted", "given", "aimed", "status"]
"""Columns in which two rows of one unit must agree; those of the aim must too, up to rounding."""

Writing = tuple[str, Callable[[], bytes]]


def merge(record: Record, others: Sequence[Record]) -> None:
    """Copy into a record what other workers of the same run have computed.

    What their headers found is taken over. Parts whose units are there already are not copied. The header is changed but not written.

    Raises:
        RecordError: For another run, a damaged or foreign part, a link, and two verdicts about one unit; nothing is written then.
        StorageError: Where the folder cannot be written; nothing is left behind.
    """
    writing: dict[str, Callable[[], bytes]] = {}
    for other in others:
        _check_same_run(record, other)
    for case in record.header["cases"]:
        places: dict[int, tuple[str, str]] = {}
        for cell in (one["key"] for one in case["cells"]):
            _refuse_links(record.store, f"cells/{cell}")
            known = record.rows(cell).set_index("id")
            _check_places(known, places, record.store.path(f"cells/{cell}"))
            for other in others:
                _refuse_links(other.store, f"cells/{cell}")
                for name in other.store.names(f"cells/{cell}", ".parquet"):
                    rows = _part(other, cell, name, expected(case))
                    where = other.store.path(f"cells/{cell}/{name}")
                    _check_places(rows, places, where)
                    _check_agree(known, rows, where)
                    if not rows.index.isin(known.index).all():
                        writing.update(_files_of(other, cell, name, set(rows.index)))
                        known = pd.concat([one for one in (known, rows[~rows.index.isin(known.index)]) if len(one)])
    for other in others:
        take_over(record.header, other.header)
        writing.update(_files_of_contradictions(record, other))
    record.store.write_all(list(writing.items()))


def _check_same_run(record: Record, other: Record) -> None:
    if other.header["id"] != record.header["id"]:
        raise RecordError(f"{other.store.url} belongs to run {other.header['id']}, {record.store.url} to {record.header['id']}: merge only shards of one run")
    if _identity(other) != _identity(record):
        raise RecordError(
            f"{other.store.url}/run.json describes other models, data, methods or counts than {record.store.url}/run.json: merge only shards of one run"
        )


def _identity(record: Record) -> list[Any]:
    """What all workers of a run have in common."""
    return [
        [case["name"], expected(case), case["model"].get("sha256"), case["data"].get("sha256"), [(one["attack"]["say"], one["key"]) for one in case["cells"]]]
        for case in record.header["cases"]
    ]


def _refuse_links(store: Store, name: str) -> None:
    """Refuse links in a folder of a run, which may lead out of it."""
    if not store.local:
        return
    folder = Path(store.path(name))
    inside = [*folder.rglob("*")] if not folder.is_symlink() else []
    for one in (*([folder.parent] if "/" in name else []), folder, *inside):
        if one.is_symlink():
            raise RecordError(f"{one} is a link, which spar merge does not follow: replace it by what it leads to")


def _part(record: Record, cell: str, name: str, count: int) -> pd.DataFrame:
    """Return the rows of a part by id; raise RecordError where they are not those that its name announces."""
    where, found = record.store.path(f"cells/{cell}/{name}"), PART.fullmatch(name)
    if found is None:
        raise RecordError(f"{where} is not the name of a part: remove the file from the folder")
    rows = record.part(cell, name).to_pandas().set_index("id")
    positions = list(range(int(found[1]), int(found[2]) + 1))
    if rows["position"].tolist() != positions or rows.index.has_duplicates or positions[-1] >= count:
        raise RecordError(f"{where} holds other units than the {count} of this run at the places in its name: delete it and run its shard again")
    return rows


def _check_places(rows: pd.DataFrame, places: dict[int, tuple[str, str]], where: str) -> None:
    """Refuse other units than those that stand at the same positions in other files of the case."""
    for unit, position in rows["position"].items():
        first, source = places.setdefault(int(position), (str(unit), where))
        if first != unit:
            raise RecordError(f"{where} has {unit} at position {position}, {source} has {first}: one of them is of other data, so delete it")


def _check_agree(known: pd.DataFrame, rows: pd.DataFrame, where: str) -> None:
    """Refuse rows that say something else than the known ones about the same unit."""
    shared = rows.index.intersection(known.index)
    mine, other = known.loc[shared], rows.loc[shared]
    further = [name for name in rows.columns if name not in ROW.names]
    differ = pd.Series(False, index=shared)
    for name in (*VERDICT, *further):
        one, two = mine[name], other[name]
        near = np.isclose(one, two, rtol=1e-4, atol=1e-6) if name in further and pd.api.types.is_numeric_dtype(one) else one == two
        differ |= ~(near | (one.isna() & two.isna()))
    if differ.any():
        place = int(differ.to_numpy().argmax())
        told, said = mine["status"].iloc[place], other["status"].iloc[place]
        raise RecordError(
            f"{where} contradicts the record about {int(differ.sum())} units, such as {shared[place]} ({said}, not {told}): delete the part that is wrong"
        )


def _files_of(record: Record, cell: str, name: str, ids: set[str]) -> Iterator[Writing]:
    """The files of a part: its points first, because rows mark it as complete."""
    batch = name.partition(".")[0]
    for points in record.store.names(f"cells/{cell}/points", ".npz"):
        if points.partition(".")[0] == batch:
            path = f"cells/{cell}/points/{points}"
            if not ids.issuperset(record.points_in(path).ids):
                raise RecordError(f"{record.store.path(path)} holds points of units that its part lacks: {POINTS_LOST}")
            yield path, partial(record.content, path)
    yield f"cells/{cell}/{name}", partial(record.content, f"cells/{cell}/{name}")


def take_over(header: dict[str, Any], other: Mapping[str, Any]) -> None:
    """Add to a header what another worker of the same run found.

    These are checks, re-evaluations, warnings and contradictions.
    """
    for mine, theirs in zip(header["cases"], other["cases"], strict=True):
        mine["checks"] = mine["checks"] or theirs["checks"]
        if "reevaluation" in theirs:
            mine.setdefault("reevaluation", theirs["reevaluation"])
    for name in ("warnings", "contradictions"):
        known = header.setdefault(name, [])
        known += [one for one in other.get(name, []) if one not in known]


def _files_of_contradictions(record: Record, other: Record) -> Iterator[Writing]:
    """The files that the contradictions in another header name, where they are not there yet."""
    for store in (record.store, other.store):
        _refuse_links(store, "contradictions")
    for one in other.header.get("contradictions", []):
        file = one.get("file", "")
        if CONTRADICTION.fullmatch(file) and other.store.exists(file) and not record.store.exists(file):
            yield file, partial(other.store.read, file)
