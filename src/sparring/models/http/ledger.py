"""Answers of endpoints, kept in one SQLite file so that no query is paid for twice."""

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sparring.core.errors import LoadError, RecordError

SCHEMA = 1
TABLES = """
CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, scores BLOB, label INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS endpoints (identity TEXT PRIMARY KEY, address TEXT, version TEXT, paid INTEGER, sent INTEGER, remembered INTEGER);
"""
COUNT = "UPDATE endpoints SET paid = paid + ?, sent = sent + ?, remembered = remembered + ? WHERE identity = ?"
AT_ONCE = 500
"""Keys in one look-up; SQLite bounds the number of variables of a statement."""


class Reply(NamedTuple):
    """Hold the answer of an endpoint to one input.

    scores: float64 [classes], or None; label: or None.
    """

    scores: np.ndarray | None
    label: int | None


class Bill(NamedTuple):
    """Hold the costs of one endpoint over all runs.

    paid: inputs that were answered live. sent: inputs in all requests, retries
    included, so the most that can have been charged (but for a batch in flight when a process was killed). remembered:
    inputs answered from the ledger.
    """

    address: str
    version: str
    paid: int
    sent: int
    remembered: int


class QueryLedger:
    """Represent the ledger of one endpoint.

    Use inside `line()`; every `add` is committed before it returns, so a process that is killed loses at most the request
    in flight. Several processes may share the file.
    """

    def __init__(self, path: str | Path, identity: str, address: str, version: str):
        self.path = Path(path)
        self.identity = identity
        self.about = (identity, address, version)
        self._base: sqlite3.Connection | None = None
        self._recalled = 0

    @contextlib.contextmanager
    def line(self) -> Iterator[None]:
        """Keep the file open inside the context."""
        with self._plainly():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._base = _opened(self.path)
        try:
            with self._plainly(), self._base:
                self._base.execute("INSERT OR IGNORE INTO endpoints VALUES (?, ?, ?, 0, 0, 0)", self.about)
            try:
                yield
            finally:
                if self._recalled:
                    self.count()
        finally:
            self._base.close()
            self._base = None

    def key(self, row: bytes) -> bytes:
        """Return the SHA-256 of the endpoint and the input as sent."""
        return hashlib.sha256(self.identity.encode() + b"\n" + row).digest()

    def recall(self, keys: Sequence[bytes]) -> dict[bytes, Reply]:
        """Return the known replies to these keys."""
        found: dict[bytes, Reply] = {}
        with self._plainly():
            for start in range(0, len(keys), AT_ONCE):
                some = keys[start : start + AT_ONCE]
                marks = ",".join("?" * len(some))
                for key, scores, label in self._open.execute(f"SELECT key, scores, label FROM answers WHERE key IN ({marks})", some):
                    found[key] = Reply(None if scores is None else np.frombuffer(scores, dtype="<f8"), label)
        return found

    def add(self, replies: dict[bytes, Reply], sent: int) -> None:
        """Write the replies to one request and its number of inputs in one transaction."""
        rows = [(key, None if one.scores is None else one.scores.astype("<f8").tobytes(), one.label) for key, one in replies.items()]
        with self._plainly(), self._open as base:
            base.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?, ?)", rows)
            base.execute(COUNT, (len(rows), sent, self._recalled, self.identity))
        self._recalled = 0

    def count(self, *, paid: int = 0, sent: int = 0) -> None:
        """Add inputs to the bill that brought no new answers."""
        with self._plainly(), self._open as base:
            base.execute(COUNT, (paid, sent, self._recalled, self.identity))
        self._recalled = 0

    def note_recalled(self, inputs: int) -> None:
        """Count inputs that were answered from the ledger.

        The count is written with the next answers, or at the end.
        """
        self._recalled += inputs

    @property
    def _open(self) -> sqlite3.Connection:
        if self._base is None:
            raise RecordError(f"the ledger {self.path} is closed: use it inside line()")
        return self._base

    @contextlib.contextmanager
    def _plainly(self) -> Iterator[None]:
        with plainly(self.path):
            yield


def bills(path: str | Path) -> list[Bill]:
    """Return the costs of every endpoint in a ledger."""
    if not Path(path).is_file():
        raise LoadError(f"{path} does not exist: run an evaluation of an endpoint first, which writes it")
    with plainly(path), contextlib.closing(_opened(Path(path))) as base:
        return [Bill(*row) for row in base.execute("SELECT address, version, paid, sent, remembered FROM endpoints ORDER BY address, version")]


def _opened(path: Path) -> sqlite3.Connection:
    base = sqlite3.connect(path, timeout=60)
    try:
        (schema,) = base.execute("PRAGMA user_version").fetchone()
        if schema not in (0, SCHEMA):
            raise LoadError(f"the ledger {path} has schema {schema}, this version reads {SCHEMA}: give another file, ledger=...")
        if schema == 0:
            base.executescript(TABLES)
            base.execute(f"PRAGMA user_version = {SCHEMA}")
    except BaseException:
        base.close()
        raise
    return base


@contextlib.contextmanager
def plainly(path: str | Path) -> Iterator[None]:
    """Turn errors of SQLite into our errors."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise RecordError(f"the ledger {path} cannot be used ({error}): give another file, ledger=..., or free disk space") from error
