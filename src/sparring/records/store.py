"""Files of a run, on disk or in any fsspec store; files are written atomically."""

import contextlib
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import fsspec
import fsspec.core

from sparring.core.errors import LoadError, RecordError, StorageError

try:
    import fcntl
except ImportError:  # a system without it; folders are not locked there
    fcntl = None

PATIENCE = 2.0
"""Seconds to wait for a lock, because others hold it for a moment, to look or to sweep."""

LEFT = f"*.{'[0-9a-f]' * 32}.tmp"
"""Names of files that are being written."""


class Store:
    """Read and write a folder behind a path or URL.

    Examples are "runs/7f3a", "memory://runs/7f3a" and "s3://bucket/runs/7f3a".
    """

    def __init__(self, url: str | os.PathLike[str]):
        self.url = os.fspath(url)
        try:
            self.files, self.root = fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise LoadError(f"cannot reach {self.url!r}: {error}; check the path or URL") from error
        self.local = "file" in self.files.protocol

    def path(self, name: str) -> str:
        """Return the path of a file within its file system."""
        return f"{self.root}/{name}" if name else self.root

    def exists(self, name: str = "") -> bool:
        """Return whether the file exists, or the folder itself without a name."""
        return self.files.exists(self.path(name))

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            RecordError: Where it cannot be read.
        """
        try:
            return self.files.cat_file(self.path(name))
        except OSError as error:
            raise RecordError(f"{self.path(name)} cannot be read ({error.strerror or error}): check the path and its permissions") from error

    def write(self, name: str, content: bytes) -> None:
        """Write a whole file.

        On a disk it is written aside and renamed; object stores do so by themselves.

        Raises:
            StorageError: Where it cannot be written; nothing is left behind.
        """
        self.write_all([(name, lambda: content)])

    def write_all(self, files: Sequence[tuple[str, Callable[[], bytes]]]) -> None:
        """Write several files: all of them, or on a disk none if one fails.

        Each comes with a function that returns its content.

        Raises:
            StorageError: Where one cannot be written; nothing is left behind.
        """
        asides: list[tuple[str, str]] = []
        path = self.root
        try:
            for name, content in files:
                path = self.path(name)
                self.files.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
                if not self.local:
                    self.files.pipe_file(path, content())
                    continue
                asides.append((f"{path}.{uuid.uuid4().hex}.tmp", path))
                self.files.pipe_file(asides[-1][0], content())
            for aside, path in asides:
                os.replace(aside, path)
        except OSError as error:
            raise StorageError(path, error.strerror or str(error)) from error
        finally:
            for aside, _ in asides:
                with contextlib.suppress(OSError):  # renamed already, or never made
                    Path(aside).unlink()

    def overwrite(self, name: str, content: bytes) -> None:
        """Write over a file in its place, for a disk without room for a second one.

        Does nothing where this fails too.
        """
        if self.local:
            with contextlib.suppress(OSError), Path(self.path(name)).open("r+b") as file:
                file.write(content)
                file.truncate()

    def sweep(self) -> None:
        """Take away what a killed process left half written.

        To be called by the only process that writes here.
        """
        for left in Path(self.root).rglob(LEFT) if self.local else ():
            with contextlib.suppress(OSError):
                left.unlink()

    @contextlib.contextmanager
    def locked(self, shared: bool = False) -> Iterator[None]:
        """Keep other processes from writing into this folder meanwhile.

        The system releases the lock when the process ends. shared: let others in that share it too.
        A folder that is not on a disk, or on one without locks, is not locked.

        Raises:
            StorageError: Where the folder cannot be made or opened.
            RecordError: Where another process holds the lock.
        """
        if not self.local or fcntl is None:
            yield
            return
        try:
            Path(self.root).mkdir(parents=True, exist_ok=True)
            folder = os.open(self.root, os.O_RDONLY)
        except OSError as error:
            raise StorageError(str(error.filename or self.root), error.strerror or str(error)) from error
        try:
            alone = _lock(folder, fcntl.LOCK_EX, 0.0 if shared else PATIENCE)
            if alone:
                self.sweep()
            if not (_lock(folder, fcntl.LOCK_SH, PATIENCE) if shared else alone):
                raise RecordError(f"another process is writing into {self.root}: wait until it has ended, or give another out=")
            yield
        finally:
            os.close(folder)

    @contextlib.contextmanager
    def only(self, task: str) -> Iterator[None]:
        """Keep other processes from doing the same task in this folder meanwhile.

        This goes beyond what `locked` does.

        A file of that name with the ending .lock is locked, and deleted at the end; one that a killed process left behind is not locked any more.

        Args:
            task: Its name, such as "shard 1 of 4".

        Raises:
            StorageError: Where the file cannot be made.
            RecordError: Where another process does the task.
        """
        if not self.local or fcntl is None:
            yield
            return
        path = Path(self.path(f".{task.replace(' ', '-')}.lock"))
        while True:
            try:
                file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            except OSError as error:
                raise StorageError(str(path), error.strerror or str(error)) from error
            if not _lock(file, fcntl.LOCK_EX, 0.0):
                os.close(file)
                raise RecordError(f"another process is computing {task} in {self.root}: wait until it has ended, or choose another shard")
            if path.exists() and os.path.samestat(os.fstat(file), path.stat()):
                break
            os.close(file)  # its owner deleted it between the two calls
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                path.unlink()
            os.close(file)

    def busy(self) -> bool:
        """Return whether a process may be writing into this folder; True where this cannot be known."""
        if not self.local or fcntl is None:
            return True
        try:
            folder = os.open(self.root, os.O_RDONLY)
        except OSError:
            return True
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(folder)
        return False

    def names(self, folder: str, suffix: str = "") -> list[str]:
        """Return the names of the files (or folders) directly in a folder, sorted.

        The list is empty where there is no such folder.
        """
        self.files.invalidate_cache(self.path(folder))
        if not self.exists(folder):
            return []
        entries: list[Any] = self.files.ls(self.path(folder), detail=False)
        return sorted(name for name in (entry.rstrip("/").rsplit("/", 1)[-1] for entry in entries) if name.endswith(suffix))

    def inner(self, name: str) -> "Store":
        """Return the store of a folder within this one."""
        return Store(f"{self.url.rstrip('/')}/{name}")


def _lock(folder: int, kind: int, patience: float) -> bool:
    """Lock an open folder, and return whether no other process kept this one from it; patience: in seconds."""
    assert fcntl
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(folder, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            time.sleep(0.01)
        except OSError:  # a file system without locks
            return True
        else:
            return True
