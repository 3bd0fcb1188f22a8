"""The record of a run: a header, and per cell immutable Parquet parts with one row per sample."""

import hashlib
import io
import json
import os
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sparring.core.arguments import shown
from sparring.core.errors import LoadError, RecordError
from sparring.records.header_schema import check_header, header_of
from sparring.records.schema_1 import FIRST_ROW, upgraded, upgraded_rows
from sparring.records.store import Store

SCHEMA = 2

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
    return hashlib.sha256(text.encode()).hexdigest()[:16]


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
        check_header(header, store.url)
        if header["schema"] == 1:
            header = upgraded(header)
            check_header(header, store.url)
        return cls(store, header)

    def save_header(self) -> None:
        """Write run.json atomically."""
        self.store.write("run.json", json_text(self.header).encode())

    def add_part(self, cell: str, name: str, rows: dict[str, list[Any]], points: Points | None = None) -> None:
        """Write one finished batch of a cell: points first, because rows mark it as complete."""
        if points is not None and len(points.ids):
            packed = io.BytesIO()
            np.savez_compressed(packed, ids=np.asarray(points.ids), before=points.before, after=points.after)
            self.store.write(f"cells/{cell}/points/{name}.npz", packed.getvalue())
        written = io.BytesIO()
        pq.write_table(pa.table(rows, schema=self.schema(cell)), written)
        self.store.write(f"cells/{cell}/{name}.parquet", written.getvalue())

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
        parts = [self._part(cell, name) for name in self.store.names(f"cells/{cell}", ".parquet")]
        frame = pa.concat_tables([self.schema(cell).empty_table(), *parts]).to_pandas()
        return frame.drop_duplicates("id").sort_values("position", ignore_index=True)

    def known(self, cell: str) -> dict[str, tuple[str, str]]:
        """Return (status, note) of every finished sample of a cell, by id."""
        rows = self.rows(cell)
        return dict(zip(rows["id"].tolist(), zip(rows["status"].tolist(), rows["note"].tolist(), strict=True), strict=True))

    def _part(self, cell: str, name: str) -> pa.Table:
        path = f"cells/{cell}/{name}"
        try:
            part = pq.read_table(io.BytesIO(self.store.read(path)))
        except (pa.ArrowException, OSError) as error:
            raise RecordError(f"{self.store.path(path)} cannot be read ({error}): delete it and run the same command again") from error
        if part.schema.names == FIRST_ROW:
            part = upgraded_rows(part)
        expected = self.schema(cell)
        if part.schema.names != expected.names:
            raise RecordError(f"{self.store.path(path)} has columns {part.schema.names}, expected {expected.names}: delete it and run the same command again")
        try:
            return part.cast(expected)
        except pa.ArrowException as error:
            raise RecordError(f"{self.store.path(path)} has unexpected column types ({error}): delete it and run the same command again") from error

    def points(self, cell: str) -> Points:
        """Return the stored points of a cell as packed arrays; see `Domain.unpack`."""
        folder = f"cells/{cell}/points"
        ids: list[str] = []
        before: list[np.ndarray] = []
        after: list[np.ndarray] = []
        for name in self.store.names(folder, ".npz"):
            try:
                with np.load(io.BytesIO(self.store.read(f"{folder}/{name}")), allow_pickle=False) as stored:
                    found = stored["ids"].tolist(), stored["before"], stored["after"]
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
                raise RecordError(f"{self.store.path(folder)}/{name} cannot be read ({error}): delete it; the rows stay valid") from error
            ids += found[0]
            before.append(found[1])
            after.append(found[2])
        empty = np.zeros((0,))
        return Points(ids, np.concatenate(before) if before else empty, np.concatenate(after) if after else empty)

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

    def merge(self, others: Iterable["Record"]) -> None:
        """Copy the parts of other workers' folders of the same run into this one."""
        for other in others:
            if other.header["id"] != self.header["id"]:
                raise RecordError(f"{other.store.url} belongs to run {other.header['id']}, this one to {self.header['id']}: merge only shards of one run")
            for cell in other.store.names("cells"):
                for folder in (f"cells/{cell}", f"cells/{cell}/points"):
                    for name in other.store.names(folder):
                        if name.endswith((".parquet", ".npz")):
                            self.store.write(f"{folder}/{name}", other.store.read(f"{folder}/{name}"))
