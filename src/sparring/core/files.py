"""Reads files from strangers: regular files only, unpacked within limits, never trusted about their own sizes."""

import os
import stat
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

from sparring.core.errors import LoadError

ROOM = 128 << 20
RATIO = 20
"""A packed file may unpack to `ROOM` bytes, or to `RATIO` times its own size where that is more. Images, tables and properties of the field shrink to a
third or a tenth; files made to fill the memory shrink to a thousandth. A larger file that is honest can be unpacked by its owner first."""

GZIP = b"\x1f\x8b"
CHUNK = 1 << 20


def read_file(path: Path, where: str = "", *, most: int | None = None) -> bytes:
    """Return the bytes of a regular file that is not empty.

    Pipes, devices and sockets are refused unopened, since reading one may never end.

    Args:
        path: The file, or a link to it.
        where: What it is, for errors; the path by default.
        most: Bytes that such a file may have.

    Raises:
        LoadError: For what is missing, no regular file, empty, too large or cannot be read.
    """
    where = where or str(path)
    try:
        about = path.stat()
        if stat.S_ISDIR(about.st_mode):
            raise LoadError(f"{where} is a folder: give a file")
        if not stat.S_ISREG(about.st_mode):
            raise LoadError(f"{where} is a pipe or a device: copy its content to a file, and give that")
        if most is not None and about.st_size > most:
            raise LoadError(f"{where} has {about.st_size:,} bytes, such a file has at most {most:,}: check that it is the right file")
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise LoadError(f"{where} does not exist: check the path") from error
    except (OSError, ValueError) as error:  # ValueError: a path with a zero byte
        raise LoadError(f"{where} cannot be read: {getattr(error, 'strerror', None) or error}: check the path and its permissions") from error
    except MemoryError as error:
        raise LoadError(f"{where} does not fit into the memory: give a smaller file") from error
    if not content:
        raise LoadError(f"{where} is empty: copy it again")
    return content


def path_of(written: str | os.PathLike[str]) -> Path:
    """Return the path that a user wrote, with ~ for the user's own folder."""
    path = Path(written)
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def is_there(written: str | os.PathLike[str]) -> bool:
    """Return whether a path exists; False for a name that no file can have."""
    try:
        return path_of(written).exists()
    except (OSError, ValueError):  # too long, or with a zero byte
        return False


def unpacked(content: bytes, where: str) -> bytes:
    """Return content without gzip, recognised by its first bytes; other content as it is.

    Raises:
        LoadError: For a damaged or truncated stream, and for one that unpacks to more than `ROOM` and `RATIO` allow.
    """
    if content[:2] != GZIP:
        return content
    most, size, parts, rest = allowed(len(content)), 0, [], content
    try:
        while rest[:2] == GZIP:  # a file may have several members
            stream = zlib.decompressobj(wbits=31)
            feed = rest
            while not stream.eof:
                part = stream.decompress(feed, CHUNK)
                feed = stream.unconsumed_tail
                if not part and not feed and not stream.eof:
                    raise LoadError(f"{where} is a truncated gzip file ({len(content):,} bytes): copy it again")
                size += len(part)
                if size > most:
                    raise LoadError(f"{where} unpacks to more than {most:,} bytes from {len(content):,}: unpack it with gunzip if you trust it, and give that")
                parts.append(part)
            rest = stream.unused_data.lstrip(b"\0")
    except zlib.error as error:
        raise LoadError(f"{where} is a damaged gzip file ({error}): copy it again") from error
    if rest:
        raise LoadError(f"{where} has {len(rest):,} bytes behind its gzip stream: copy it again")
    found = b"".join(parts)
    if not found:
        raise LoadError(f"{where} unpacks to nothing: copy it again")
    return found


def decoded(content: bytes, where: str) -> str:
    """Return bytes as UTF-8 text; LoadError names the byte that is none."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LoadError(f"{where} is not text: byte {error.start} is not UTF-8: save it as UTF-8") from error


def allowed(packed: int) -> int:
    """Return to how many bytes so many packed ones may unpack."""
    return max(ROOM, RATIO * packed)


def check_members(archive: zipfile.ZipFile, size: int, where: str, most: int = 100_000) -> None:
    """Refuse a zip archive that lies about its members, or unpacks to too much.

    Args:
        archive: The archive, opened.
        size: Bytes of the whole file.
        where: What it is, for errors.
        most: How many members such a file has at most.

    Raises:
        LoadError: For a name twice or outside the archive, for encrypted members, and for too many of them or too large ones.
    """
    members = archive.infolist()
    names = [one.filename for one in members]
    if len(names) > most:
        raise LoadError(f"{where} has {len(names):,} members, such a file has at most {most:,}: check that it is the right file")
    if twice := _twice(names):
        raise LoadError(f"{where} holds {twice[:80]!r} twice: write it again")
    for one in members:
        if one.filename.startswith(("/", "\\")) or ".." in one.filename.replace("\\", "/").split("/"):
            raise LoadError(f"{where} holds {one.filename[:80]!r}, a path out of the archive: write it again")
        if one.flag_bits & 1:
            raise LoadError(f"{where} holds {one.filename[:80]!r} encrypted: write it again without a password")
    total, most_bytes = sum(one.file_size for one in members), allowed(size)
    if total > most_bytes:
        raise LoadError(f"{where} unpacks to {total:,} bytes from {size:,}, more than {most_bytes:,}: write it again without compression if you trust it")


def _twice(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
