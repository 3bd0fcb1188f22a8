"""The record of a run: a header, and per cell immutable Parquet parts with one row per sample."""

import hashlib
import io
import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sparring.core.arguments import shown
from sparring.core.errors import LoadError, RecordError, StorageError
from sparring.records.header_schema import check_header, header_of
from sparring.records.schema_1 import FIRST_ROW, upgraded, upgraded_rows
from sparring.records.store import Store

SCHEMA = 2

AGAIN = "delete it and run the same command again, which computes it anew"
POINTS_LOST = "delete it; the rows stay valid"
"""What to do with a damaged part, and with damaged points."""

CHECKSUM = "checksum"
"""Name of the last entry of run.json: a hash of the others."""

ROW = pa.schema(
    [
        ("id", pa.string()),
        ("position", pa.int64()),  # place in the data set
        ("wanted", pa.string()),  # the true answer, as the task packs it; a class is its number
        ("given", pa.string()),  # the answer to the point; empty without one, null when skipped
        ("aimed", pa.string()),  # the answer to reach; null where there is none
        ("status", pa.string()),  # see judge.Status
        ("quality", pa.float64()),  # of the answer given, in [0, 1]
        ("margin", pa.float64()),  # how far from the goal; positive means not met
        ("size", pa.float64()),  # of the change, in the unit of the radius
        ("radius", pa.float64()),
        ("queries", pa.int64()),  # of this row; what all rows of a cell share, as the copy of an extraction, is divided among them
        ("forwards", pa.int64()),
        ("backwards", pa.int64()),
        ("seconds", pa.float64()),  # share of the batch
        ("note", pa.string()),
    ]
)


class Points(NamedTuple):
    """Hold stored inputs of some samples: ids [k], and packed arrays before and after."""

    ids: list[str]
    before: np.ndarray
    after: np.ndarray


def key_of(description: Any) -> str:
    """Return a short, stable hash of plain JSON: the address of a cell or a run."""
    text = json.dumps(description, sort_keys=True, separators=(",", ":"), default=str)
    return _hash(text.encode())[:16]


def json_text(content: Any) -> str:
    """Return content as indented JSON, with null for numbers that are not finite.

    The module `json` would write NaN, which is no JSON.
    """
    plain = json.loads(json.dumps(content, default=str), parse_constant=lambda _: None)
    return json.dumps(plain, indent=1)


def aim_of(case: Mapping[str, Any]) -> str:
    """Return the name of the aim of a case in a header.

    Older headers without an aim are about evasion.
    """
    return str((case.get("aim") or {}).get("name", "evasion"))


class Record:
    """Read and write a run folder.

    `header` is the content of run.json; cells are addressed by key.
    """

    def __init__(self, store: Store, header: dict[str, Any]):
        self.store = store
        self.header = header

    @classmethod
    def open(cls, url: str | os.PathLike[str]) -> "Record":
        """Read an existing run folder."""
        store = Store(url)
        if not store.exists("run.json"):
            raise LoadError(f"{store.url} is not a run folder, because it has no run.json: spar ls runs shows the runs")
        header = header_of(store)
        if header.get("schema") not in (1, SCHEMA):
            raise LoadError(
                f"{store.url} has schema {shown(header.get('schema'))}; this version reads 1 and {SCHEMA}: use the version of Sparring that wrote it"
            )
        _check_sum(header, store.url)
        check_header(header, store.url)
        if header["schema"] == 1:
            header = upgraded(header)
            check_header(header, store.url)
        if header["status"] == "running" and not store.busy():  # its process was killed
            header["status"] = "interrupted"
        return cls(store, header)

    def save_header(self) -> None:
        """Write run.json atomically, with a checksum as its last entry."""
        self.store.write("run.json", json_text(self._signed()).encode())

    def save_end(self) -> None:
        """Write run.json at the end of a run that failed, also where the disk is full."""
        try:
            self.save_header()
        except StorageError:
            self.store.overwrite("run.json", json.dumps(self._signed()).encode())

    def _signed(self) -> dict[str, Any]:
        plain = json.loads(json_text(self.header))
        return {**plain, CHECKSUM: _hash(json.dumps(plain).encode())}

    def add_part(self, cell: str, name: str, rows: dict[str, list[Any]], points: Points | None = None) -> None:
        """Write one finished batch of a cell: points first, because rows mark it as complete.

        The names of both files end in a checksum of their content and place.
        """
        if points is not None and len(points.ids):
            packed = io.BytesIO()
            np.savez_compressed(packed, ids=np.asarray(points.ids), before=points.before, after=points.after)
            self._write(f"cells/{cell}/points/{name}", ".npz", packed.getvalue())
        written = io.BytesIO()
        pq.write_table(pa.table(rows, schema=self.schema(cell)), written, write_page_checksum=True)
        self._write(f"cells/{cell}/{name}", ".parquet", written.getvalue())

    def _write(self, path: str, suffix: str, content: bytes) -> None:
        self.store.write(f"{path}.{_stamp(path, content)}{suffix}", content)

    def content(self, path: str, cure: str = AGAIN) -> bytes:
        """Return the content of a part, or of its points.

        Raises:
            RecordError: Where it is not what was written there.
        """
        content = self.store.read(path)
        stem, *stamp = path.rpartition(".")[0].rsplit(".", 1)  # older parts have no checksum
        if stamp and stamp[0] != _stamp(stem, content):
            raise RecordError(f"{self.store.path(path)} is damaged, because its checksum is another: {cure}")
        return content

    def schema(self, cell: str) -> pa.Schema:
        """Return the columns of a cell: those of every record, then those of its aim."""
        own = next((case.get("aim") or {} for case in self.header["cases"] if any(one["key"] == cell for one in case["cells"])), {})
        further = own.get("columns") or {}
        try:
            return pa.schema([*ROW, *((name, pa.type_for_alias(kind)) for name, kind in further.items())])
        except ValueError as error:
            raise RecordError(f"{self.store.url}/run.json names columns of an unknown type ({error}): delete it and run the same command again") from error

    def rows(self, cell: str) -> pd.DataFrame:
        """Return all rows of a cell in the order of the data, each sample once."""
        parts = [self.part(cell, name) for name in self.store.names(f"cells/{cell}", ".parquet")]
        frame = pa.concat_tables([self.schema(cell).empty_table(), *parts]).to_pandas()
        return frame.drop_duplicates("id").sort_values("position", ignore_index=True)

    def known(self, cell: str) -> dict[str, tuple[str, str]]:
        """Return (status, note) of every finished sample of a cell, by id."""
        rows = self.rows(cell)
        return dict(zip(rows["id"].tolist(), zip(rows["status"].tolist(), rows["note"].tolist(), strict=True), strict=True))

    def part(self, cell: str, name: str) -> pa.Table:
        """Return the rows of one part, in the columns of this version.

        Raises:
            RecordError: Where it is damaged or holds something else.
        """
        path = f"cells/{cell}/{name}"
        try:
            part = pq.read_table(io.BytesIO(self.content(path)))
        except (pa.ArrowException, OSError) as error:
            raise RecordError(f"{self.store.path(path)} cannot be read ({error}): {AGAIN}") from error
        if part.schema.names == FIRST_ROW:
            part = upgraded_rows(part)
        expected = self.schema(cell)
        if part.schema.names != expected.names:
            raise RecordError(f"{self.store.path(path)} has columns {part.schema.names}, expected {expected.names}: {AGAIN}")
        try:
            return part.cast(expected)
        except pa.ArrowException as error:
            raise RecordError(f"{self.store.path(path)} has unexpected column types ({error}): {AGAIN}") from error

    def points(self, cell: str) -> Points:
        """Return the stored points of a cell as packed arrays; see `Domain.unpack`."""
        folder = f"cells/{cell}/points"
        found = [self.points_in(f"{folder}/{name}") for name in self.store.names(folder, ".npz")]
        if not found:
            return Points([], np.zeros((0,)), np.zeros((0,)))
        ids, before, after = zip(*found, strict=True)
        return Points([one for part in ids for one in part], np.concatenate(before), np.concatenate(after))

    def points_in(self, path: str) -> Points:
        """Return the stored points of one batch.

        Raises:
            RecordError: Where the file is damaged.
        """
        try:
            with np.load(io.BytesIO(self.content(path, POINTS_LOST)), allow_pickle=False) as stored:
                return Points(stored["ids"].tolist(), stored["before"], stored["after"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise RecordError(f"{self.store.path(path)} cannot be read ({error}): {POINTS_LOST}") from error

    def table(self) -> pd.DataFrame:
        """Return one row per sample and attack.

        The columns are those of `ROW` and before them case, model, data, threat, attack (as written in a plan) and cell.
        """
        frames = []
        for case in self.header["cases"]:
            for cell in case["cells"]:
                names = {
                    "case": case["name"],
                    "model": case["model"]["name"],
                    "data": case["data"]["name"],
                    "threat": case["threat"]["say_short"],
                    "attack": cell["attack"]["say"],
                    "cell": cell["key"],
                }
                frame = self.rows(cell["key"])
                for place, (name, value) in enumerate(names.items()):
                    frame.insert(place, name, value)
                frames.append(frame)
        filled = [frame for frame in frames if len(frame)]
        return pd.concat(filled or frames[:1], ignore_index=True) if frames else pd.DataFrame(columns=ROW.names)

    def missing(self) -> list[str]:
        """Return what the record lacks of what its header announces, one sentence per cell.

        The list is empty where the record is complete.
        """
        found = []
        for case in self.header["cases"]:
            count = expected(case)
            for cell in case["cells"]:
                rows = self.rows(cell["key"])
                absent = sorted(set(range(count)) - set(rows["position"].tolist()))
                if absent or len(rows) != count:
                    where = f", positions {absent[0]} to {absent[-1]}" if absent else ""
                    found.append(f"{case['name']}, {cell['attack']['say']}: {len(rows)} of {count} rows{where} (cells/{cell['key']})")
        return found


def expected(case: Mapping[str, Any]) -> int:
    """Return how many units a case in a header has, each with one row per cell."""
    return int(case.get("n", case["data"].get("n", 0)))


def _check_sum(header: dict[str, Any], url: str) -> None:
    """Take the checksum out of a header; raise RecordError where it is not that of the rest. Older headers have none."""
    last = next(reversed(header.values()))
    stamp = header.pop(CHECKSUM, None)
    if stamp is None and not (isinstance(last, str) and len(last) == len(_hash(b""))):  # a checksum whose name was damaged is the last one still
        return
    if stamp != _hash(json.dumps(header).encode()):
        raise RecordError(f"{url}/run.json is damaged, because its checksum is another: delete it and run the same command again; finished batches are kept")


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _stamp(path: str, content: bytes) -> str:
    """Return a checksum of a part that belongs to its place: it does not fit where the file is moved to."""
    return _hash(path.encode() + b"\n" + content)[:16]
