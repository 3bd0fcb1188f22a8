"""Files of a run, on disk or in any fsspec store; files are written atomically."""

import os
import uuid
from typing import Any

import fsspec
import fsspec.core

from sparring.core.errors import LoadError


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
        """Return the content of a file."""
        return self.files.cat_file(self.path(name))

    def write(self, name: str, content: bytes) -> None:
        """Write a whole file.

        On a disk it is written aside and renamed; object stores do so by themselves.
        """
        path = self.path(name)
        self.files.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        if not self.local:
            self.files.pipe_file(path, content)
            return
        aside = f"{path}.{uuid.uuid4().hex}.tmp"
        self.files.pipe_file(aside, content)
        os.replace(aside, path)

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
