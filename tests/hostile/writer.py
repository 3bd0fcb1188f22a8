"""Ways to bend honest files, and a folder to write them into."""

import copy
import io
import json
import random
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

SEED = 20261129
VALUES = (-1, 0, 2**31, 2**62, -(2**62), 10**400, 1e308, float("nan"), float("inf"), None, True, "", "x" * 2000, "../../CANARY", [], {}, [[[[]]]], {"a": {}})
"""What stands in the place of a value of a JSON document."""


class Writer:
    """Represent a folder that is being filled; `add` takes the reader, a short name and the suffix.

    wanted: beginnings of the names that are written; all by default.
    """

    def __init__(self, folder: Path, wanted: tuple[str, ...] = ("",)):
        self.folder = folder
        self.wanted = wanted
        self.names: list[str] = []

    def wants(self, reader: str) -> bool:
        """Return whether any file of a reader is wanted."""
        return any(one.startswith(reader) or reader.startswith(one) for one in self.wanted)

    def add(self, reader: str, name: str, content: bytes | str | Callable[[], bytes | str], suffix: str) -> None:
        """Write one file; what takes long to make is a function, and made only where it is wanted."""
        full = f"{reader}--{name}{suffix}"
        if not full.startswith(self.wanted):
            return
        assert full not in self.names, full
        made = content() if callable(content) else content
        (self.folder / full).write_bytes(made.encode("utf-8", "surrogateescape") if isinstance(made, str) else made)
        self.names.append(full)

    def bent(self, reader: str, content: bytes, suffix: str, *, cuts: int = 4, flips: int = 8) -> None:
        """Write an honest file as it is, cut at several places, with bits flipped, and with a piece twice."""
        self.add(reader, "honest", content, suffix)
        rng = random.Random(f"{SEED} {reader} {suffix}")
        for number in range(cuts):
            self.add(reader, f"cut-{number}", content[: len(content) * number // cuts], suffix)
        for number in range(flips):
            changed = bytearray(content)
            for _ in range(1 + number % 4):
                changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
            self.add(reader, f"flip-{number}", bytes(changed), suffix)
        place = rng.randrange(len(content))
        self.add(reader, "piece-twice", content[:place] + content[max(0, place - 100) :], suffix)
        self.add(reader, "zeros", bytes(len(content)), suffix)

    def documents(self, reader: str, content: object, suffix: str, count: int, packed: Callable[[bytes], bytes] = lambda text: text) -> None:
        """Write a JSON document with one value replaced, or one list emptied or repeated."""
        rng = random.Random(f"{SEED} {reader} documents")
        for number in range(count):
            changed = copy.deepcopy(content)
            places = list(_places(changed))
            holder, key = rng.choice(places)
            holder[key] = rng.choice(VALUES) if not isinstance(holder[key], list) or rng.random() < 0.5 else holder[key] * 3 + [rng.choice(VALUES)]
            with _long_numbers():
                self.add(reader, f"value-{number}", lambda changed=changed: packed(json.dumps(changed).encode()), suffix)


def _places(node: object) -> Iterator[tuple]:
    for key, value in list(node.items()) if isinstance(node, dict) else list(enumerate(node)) if isinstance(node, list) else []:
        yield node, key
        yield from _places(value)


class _long_numbers:
    """Python writes numbers of any length while this is open."""

    def __enter__(self) -> None:
        self.before = sys.get_int_max_str_digits()
        sys.set_int_max_str_digits(0)

    def __exit__(self, *error: object) -> None:
        sys.set_int_max_str_digits(self.before)


def repacked(content: bytes, change: Callable[[str, bytes], bytes | None], more: dict[str, bytes] | None = None, compressed: bool = False) -> bytes:
    """Return a zip archive with its members changed (None leaves one out), and more of them behind."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            part = change(name, old.read(name))
            if part is not None:
                new.writestr(name, part)
        for name, part in (more or {}).items():
            new.writestr(name, part)
    return made.getvalue()


def npy(shape: tuple[int, ...], kind: str, data: bytes) -> bytes:
    """Return a .npy file whose header says what it likes."""
    head = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape!r}, }}".encode()
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + data


def bomb(size: int, piece: bytes = b"\0") -> bytes:
    """Return so many bytes, gzipped in one stream; the sum at its end is wrong, which no reader should come to see."""
    packer = zlib.compressobj(9, wbits=-15)
    block = packer.compress(piece * ((1 << 20) // len(piece))) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08\0\0\0\0\0\2\xff" + block * (size >> 20) + packer.flush() + bytes(8)
