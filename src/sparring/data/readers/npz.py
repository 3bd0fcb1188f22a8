"""NumPy archives: arrays x and y, or x_train, y_train, x_test, y_test."""

import io
import lzma
import math
import sys
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sparring.core.domain import Domain
from sparring.core.errors import InputError, LoadError, UnknownName
from sparring.core.files import check_members
from sparring.data.dataset import Data
from sparring.data.readers.content import number_classes, pick_split, read_bytes
from sparring.data.readers.pixels import as_images
from sparring.data.readers.reader import Options, reader
from sparring.domains.image import image
from sparring.domains.table import table
from sparring.domains.text import text
from sparring.tasks.classes import MOST_CLASSES, several_labels

INPUTS = ("x", "X", "images", "data")
LABELS = ("y", "Y", "labels", "targets", "target", "mask", "masks")
SPLITS = ("train", "test", "val")


class Pair(NamedTuple):
    """Hold the names of the two arrays of a split."""

    inputs: str
    labels: str


@reader("npz", lambda path: path.suffix.lower() == ".npz", files="NumPy archives (.npz)", takes={"split", "deployed", "task"}, order=10)
def npz(path: Path, options: Options) -> Data:
    """Read images, rows of numbers or strings, with their classes [n].

    Another task reads its truth from the same array. Images are uint8, or floats in [0, 1]; rows of numbers are [n, columns], strings [n].

    Whole-number classes from 0 on stay as they are; others are numbered in sorted order. An array `classes`, if there is
    one, names them. The split "all" joins the others; "test" is the default.
    """
    content = io.BytesIO(read_bytes(path))
    if not zipfile.is_zipfile(content):
        raise LoadError(f"{path} is not a valid .npz archive ({len(content.getvalue())} bytes): copy it again, or write it with np.savez")
    try:
        with zipfile.ZipFile(content) as archive:
            check_members(archive, len(content.getvalue()), str(path))
            names = [one.removesuffix(".npy") for one in archive.namelist()]
            pairs = _pairs(names, path)
            split = pick_split(options.split, [*pairs, *(["all"] if len(pairs) > 1 else [])], path)
            chosen = list(pairs) if split == "all" else [split]
            parts = {one: _array(archive, pairs[one].inputs, path) for one in chosen}
            labels = {one: _array(archive, pair.labels, path) for one, pair in pairs.items()}
            named = [str(one) for one in _array(archive, "classes", path)] if "classes" in names else None
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, RuntimeError) as error:
        raise LoadError(f"{path} is not a valid .npz archive ({error}): copy it again") from error
    for one, array in parts.items():
        if array.ndim == 0 or len(array) != len(labels[one]):
            raise LoadError(f"{path}: {pairs[one].inputs} has shape {array.shape} but {pairs[one].labels} {labels[one].shape}: give one label per sample")
    true = np.concatenate(list(labels.values()))
    numbers, classes = (true, []) if options.other is not None else _classes(true, f"{path}: {pairs[chosen[0]].labels}", named)
    starts = dict(zip(labels, np.cumsum([0, *map(len, labels.values())]), strict=False))
    y = np.concatenate([numbers[starts[one] : starts[one] + len(labels[one])] for one in chosen])
    try:
        joined = np.concatenate(list(parts.values()))
    except ValueError as error:
        raise LoadError(f"{path}: the splits differ in shape: {', '.join(str(one.shape) for one in parts.values())}: choose one with split=") from error
    x, domain = _inputs(joined, f"{path}: {pairs[chosen[0]].inputs}", options)
    name = path.stem
    ids = [f"{name}/{one}/{place:05d}" if one else f"{name}/{place:05d}" for one in chosen for place in range(len(parts[one]))]
    named = named if options.other is None else None
    return Data.of(x, y, domain, name=name, classes=named or classes, ids=ids, task=options.other, source=f"{path}, split {split}" if split else str(path))


def _pairs(names: list[str], path: Path) -> dict[str, Pair]:
    """Split -> its two arrays; the split is "" where there is one pair without a split in its name."""
    found: dict[str, Pair] = {}
    for split in ("", *SPLITS):
        spelled = [[f"{stem}_{split}", f"{split}_{stem}"] if split else [stem] for stem in (*INPUTS, *LABELS)]
        inputs = [name for options in spelled[: len(INPUTS)] for name in options if name in names]
        labels = [name for options in spelled[len(INPUTS) :] for name in options if name in names]
        if inputs and labels:
            found[split] = Pair(inputs[0], labels[0])
    if not found:
        raise LoadError(f"{path} holds {', '.join(names) or 'no arrays'}: expected x and y, or x_test and y_test (and x_train, y_train)")
    return {split: pair for split, pair in found.items() if split} or found


def _array(archive: zipfile.ZipFile, name: str, path: Path) -> np.ndarray:
    content = archive.read(f"{name}.npy" if f"{name}.npy" in archive.namelist() else name)
    try:
        return np.lib.format.read_array(io.BytesIO(_sound(content, name, path)), allow_pickle=False)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError, tokenize.TokenError) as error:
        raise LoadError(f"{path}: {name} cannot be read ({str(error)[:200]}): write it again with np.savez") from error


def _sound(content: bytes, name: str, path: Path) -> bytes:
    """The content of a .npy file that holds as many numbers as its header says, none of them objects."""
    stream = io.BytesIO(content)
    if np.lib.format.read_magic(stream) == (1, 0):
        shape, _, kind = np.lib.format.read_array_header_1_0(stream)
    else:
        shape, _, kind = np.lib.format.read_array_header_2_0(stream)
    if kind.hasobject:
        raise LoadError(f"{path}: {name} holds pickled Python objects, which can run code when opened: save numbers or strings of type str")
    if min(shape, default=0) < 0 or math.prod(shape) * kind.itemsize != len(content) - stream.tell():
        said = " x ".join(map(str, shape)) or "one"
        raise LoadError(f"{path}: {name} is said to hold {said[:80]} of {kind}, but has {len(content) - stream.tell():,} bytes: write it again with np.savez")
    if kind.kind == "U" and (np.frombuffer(content, kind.byteorder.replace("|", "=") + "u4", offset=stream.tell()) > sys.maxunicode).any():
        raise LoadError(f"{path}: {name} holds strings with characters that do not exist: write it again with np.savez")
    return content


def _classes(labels: np.ndarray, where: str, named: list[str] | None) -> tuple[np.ndarray, list[str]]:
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if labels.ndim != 1:
        raise InputError(f"{where} has shape {labels.shape}: give one class per sample, [n]{several_labels(labels)}")
    if labels.dtype.kind == "U" and named:
        for one in np.unique(labels).tolist():
            if one not in named:
                raise UnknownName(f"class in {where}", one, named)
        return np.array([named.index(one) for one in labels.tolist()], dtype=np.int64), named
    if labels.dtype.kind in "iu" and len(labels) and int(labels.min()) >= 0:
        if int(labels.max()) >= MOST_CLASSES:
            raise InputError(f"{where} reaches {labels.max()}, the limit is {MOST_CLASSES:,} classes: number the classes from 0 on, without gaps")
        numbers = labels.astype(np.int64)
        return numbers, [str(number) for number in range(int(numbers.max()) + 1)]
    return number_classes(labels, where)


def _inputs(array: np.ndarray, where: str, options: Options) -> tuple[Any, Domain]:
    if array.ndim in (3, 4):
        x = as_images(array, where)
        return x, image(*x.shape[1:], deployed=options.deployed or "float")
    if options.deployed:
        raise InputError(f"{where} has shape {array.shape} and holds no images: leave out deployed={options.deployed!r}")
    if array.ndim == 1 and array.dtype.kind == "U":
        return array, text()
    if array.ndim == 2 and array.dtype.kind in "fiu":
        frame = pd.DataFrame(array, columns=[f"column {place}" for place in range(array.shape[1])])
        return frame, table(frame)
    raise InputError(f"{where} is {array.dtype} {array.shape}: expected images [n, h, w(, c)], rows [n, columns] or strings [n]")
