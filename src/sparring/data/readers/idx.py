"""idx files (the MNIST format); the labels are found in the same folder as the images."""

from pathlib import Path

import numpy as np

from sparring.core.errors import LoadError
from sparring.data.dataset import Data
from sparring.data.readers.content import pick_split, read_bytes
from sparring.data.readers.pixels import as_images
from sparring.data.readers.reader import Options, reader
from sparring.domains.image import image

SPLITS = {"t10k": "test", "test": "test", "train": "train", "val": "validation"}
"""First part of the usual file names -> split."""


def _plain(path: Path) -> str:
    return path.name.lower().removesuffix(".gz")


def _image_files(folder: Path) -> dict[str, Path]:
    found = {path: _plain(path) for path in sorted(folder.iterdir()) if path.is_file() and "images" in path.name and _is_idx(path)}
    return {SPLITS.get(name.split("-")[0], name.split("-")[0]): path for path, name in found.items()}


def _is_idx(path: Path) -> bool:
    return _plain(path).endswith(("-ubyte", ".idx", ".idx1", ".idx3", ".idx4"))


def _accepts(path: Path) -> bool:
    return bool(_image_files(path)) if path.is_dir() else _is_idx(path)


@reader("idx", _accepts, files="idx files (...-images-idx3-ubyte, also .gz)", takes={"split", "deployed"}, order=10)
def idx(path: Path, options: Options) -> Data:
    """Read images [n, h, w] (or [n, c, h, w]) of unsigned bytes.

    The path is the file of the images or their folder.
    """
    if path.is_dir():
        known = _image_files(path)
        path = known[pick_split(options.split, sorted(known), path)]
    elif options.split:
        raise LoadError(f"{path} is a single split: give its folder to choose split={options.split!r}")
    labels_path = _labels_beside(path)
    pixels, labels = read_idx(path), read_idx(labels_path)
    if pixels.ndim not in (3, 4):
        raise LoadError(f"{path} holds {pixels.ndim} dimensions {pixels.shape}, not images: give the file of the images, not of the labels")
    if labels.ndim != 1:
        raise LoadError(f"{labels_path} holds {labels.ndim} dimensions {labels.shape}, not labels: give a file with one label per image")
    if len(pixels) != len(labels):
        raise LoadError(f"{path} holds {len(pixels)} images but {labels_path} {len(labels)} labels: give two files of the same set")
    x = as_images(pixels, str(path))
    domain = image(*x.shape[1:], deployed=options.deployed or "float")
    name = _plain(path).split(".")[0].removesuffix("-ubyte").removesuffix("-idx3").removesuffix("-idx4")
    return Data.of(x, labels.astype(np.int64), domain, name=name, source=str(path))


def _labels_beside(path: Path) -> Path:
    """The usual names: images -> labels, idx3 -> idx1, with or without .gz."""
    if "images" not in path.name:
        raise LoadError(f"{path}: give the file of the images, with 'images' in its name, so that the file of the labels can be found")
    name = path.name.replace("images", "labels").replace("idx3", "idx1").replace("idx4", "idx1")
    bare = name.removesuffix(".gz")
    for one in (name, bare, bare + ".gz"):
        if path.with_name(one).is_file():
            return path.with_name(one)
    raise LoadError(f"no labels for {path}: expected {bare} or {bare}.gz in {path.parent}")


def read_idx(path: Path) -> np.ndarray:
    """Return an idx file of unsigned bytes as uint8 array.

    LoadError for a wrong magic number or length.
    """
    content = read_bytes(path)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != 8 or not 1 <= content[3] <= 4:
        raise LoadError(f"{path} begins with {content[:4].hex(' ')}, not with 00 00 08 and the number of dimensions: give an idx file of bytes")
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise LoadError(f"{path} is truncated ({len(content)} bytes, the header needs {start}): copy it again")
    shape = tuple(int(side) for side in np.frombuffer(content[4:start], dtype=">u4"))
    expected = start + int(np.prod([1, *shape], dtype=object))
    if len(content) != expected:
        fault = "truncated" if len(content) < expected else "too long"
        raise LoadError(f"{path} is {fault} ({len(content)} bytes, expected {expected} for {' x '.join(map(str, shape))}): copy it again")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)
