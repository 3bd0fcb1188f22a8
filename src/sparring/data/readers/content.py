"""Reads bytes, text and classes from files, with errors that name the file."""

import codecs
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sparring.core.errors import InputError, LoadError, UnknownName
from sparring.core.files import GZIP, read_file, unpacked
from sparring.tasks.classes import MOST_CLASSES

GAPS = 10
"""Numbers of classes up to so many times the count of classes that a file holds may be their numbers; a file may lack some classes."""


def suffix_of(path: Path) -> str:
    """Return the suffix in lower case; that of the content where the file is gzipped."""
    return (Path(path.stem) if path.suffix.lower() == ".gz" else path).suffix.lower()


def stem_of(path: Path) -> str:
    """Return the name without .gz and without its suffix."""
    return (Path(path.stem) if path.suffix.lower() == ".gz" else path).stem


def read_bytes(path: Path) -> bytes:
    """Return the content, decompressed where it is gzipped.

    LoadError for a missing, truncated, empty or special file, and for one that unpacks to too much.
    """
    content = read_file(path)
    if path.suffix.lower() == ".gz" and content[:2] != GZIP:
        raise LoadError(f"{path} is not a valid gzip file: copy it again, or remove .gz from the name if it is not compressed")
    return unpacked(content, str(path))


def read_text(path: Path, encoding: str | None) -> str:
    """Return the content as text in `encoding`.

    Without one it is UTF-16 where a byte order mark says so, else UTF-8, else Latin-1. A byte order mark is dropped.
    """
    content = read_bytes(path)
    try:
        if encoding:
            return content.decode(encoding)
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return content.decode("utf-16")
        if b"\0" in content:
            raise LoadError(f"{path} holds zero bytes, so it is no text in UTF-8: give encoding=utf-16-le, or save the file as UTF-8")
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError:
            return content.decode("latin-1")
    except (UnicodeDecodeError, LookupError) as error:
        raise LoadError(f"{path} cannot be read as {encoding} ({error}): give encoding= of load, or save the file as UTF-8") from error


def pick_split(split: str | None, known: Sequence[str], where: Path) -> str:
    """Return the requested split, else "test", else the first one.

    `known`: those that are there.
    """
    if split is None:
        return "test" if "test" in known else known[0]
    if split not in known:
        raise UnknownName(f"split of {where}", split, known)
    return split


def number_classes(values: Any, where: str) -> tuple[np.ndarray, list[str]]:
    """Number the classes of a file: int64 [n] and their names.

    Whole numbers that begin with 0 keep their number, unless far more numbers are missing than there. Others are numbered in sorted order.

    Raises:
        InputError: For real numbers, and for almost as many classes as samples: such a column is no class.
    """
    array = np.asarray(values)
    if array.dtype.kind == "f":
        if not np.isfinite(array).all() or (array != np.round(array)).any():
            wrong = array[~np.isfinite(array) | (array != np.round(array))]
            raise InputError(f"{where} holds {wrong[0]:g}, not a class: give the column with the classes, target=...")
        if len(array) and np.abs(array).max() >= 2.0**63:
            raise InputError(f"{where} holds {array[np.abs(array).argmax()]:g}, not a class: give the column with the classes, target=...")
        array = array.astype(np.int64)
    names, numbers = np.unique(array if array.dtype.kind in "iub" else array.astype(str), return_inverse=True)
    if len(names) > MOST_CLASSES:
        raise InputError(f"{where} holds {len(names):,} classes, the limit is {MOST_CLASSES:,}: give the column with the classes, target=...")
    if len(array) > 40 and len(names) > len(array) / 2:
        seen = f"{len(names)} different values in {len(array)} rows, such as {str(names[0])!r}"
        raise InputError(f"{where} holds {seen}: give the column with the classes, target=...")
    if names.dtype.kind in "iu" and len(names) and names[0] == 0 and int(names[-1]) < GAPS * len(names):
        return array.astype(np.int64).reshape(-1), [str(number) for number in range(int(names[-1]) + 1)]
    return numbers.astype(np.int64).reshape(-1), [str(name) for name in names]
