"""Exported torch programs in .pt2 files, inspected before torch opens them.

`torch.export.load` may unpickle, compile strings of the file as Python and look operators up by any dotted name. Here only
plain files pass: tensors, known operators, arithmetic on sizes. Torch gives no promise of its own.
"""

import contextlib
import json
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from sparring.core.errors import LoadError

LIBRARIES = "aten|prims|quantized_decomposed|torchvision"
OPERATORS = re.compile(rf"torch\.ops\.({LIBRARIES})\.[A-Za-z]\w*(\.[A-Za-z]\w*)?|_operator\.[a-z]+|math\.[a-z0-9]+|torch\.sym_\w+")
HARMLESS = re.compile(
    r"Symbol\('\w+'(, \w+=(True|False))*\)|L(\['\w+'\])+(\[\d+\])*|\.(size|stride|storage_offset)\(\)|\b[suz]\d+\b|\b\d+(\.\d+)?(e[+-]?\d+)?\b"
)
FUNCTIONS = re.compile(r"\b(Max|Min|Mod|PythonMod|FloorDiv|CleanDiv|CeilToInt|FloorToInt|Eq|Ne|Le|Lt|Ge|Gt|And|Or|Not|True|False|and|or|not|oo|int_oo)\b")

LOOKED_UP = ("target", "as_operator")
COMPILED = ("expr_str", "guards_code")
"""Keys of the strings that torch looks up by dotted name, and of those that it compiles."""


def read_pt2(path: Path) -> ExportedProgram:
    """Return the program.

    LoadError for a broken file, and for one that could run code when opened.
    """
    try:
        _look_through(path)
        with _without_pickles():
            return torch.export.load(path)
    except LoadError:
        raise
    except Exception as error:  # torch raises anything
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise LoadError(f"{path} is not an exported program that torch {torch.__version__} can read: {said}") from error


def _look_through(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if compiled := [name for name in names if "aotinductor" in name or name.endswith((".so", ".dll", ".dylib"))]:
            raise LoadError(f"{path} holds compiled code ({compiled[0]}): export it with torch.export.save, without compiling")
        programs = [name for name in names if name.endswith(".json") and "/models/" in name]
        if not programs:
            raise LoadError(f"{path} does not hold an exported program: write it with torch.export.save of torch 2.8 or later")
        for name in programs:
            for key, value in _strings(json.loads(archive.read(name))):
                sound = OPERATORS.fullmatch(value) if key in LOOKED_UP else _arithmetic(value)
                if not sound:
                    what = "an operator that is not part of torch" if key in LOOKED_UP else "an expression that is not arithmetic"
                    raise LoadError(f"{path} holds {what}, {value[:80]!r}, which could run code: build the model in a factory, package.module:factory")


def _strings(node: Any) -> Iterator[tuple[str, str]]:
    """The strings that torch would look up or compile, with their keys."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        for one in value if key == "guards_code" and isinstance(value, list) else [value]:
            if key in (*LOOKED_UP, *COMPILED) and isinstance(one, str):
                yield str(key), one
        yield from _strings(value)


def _arithmetic(text: str) -> bool:
    return not re.search(r"[^ +\-*/%()<>=!&|,]", FUNCTIONS.sub("", HARMLESS.sub("", text)))


@contextlib.contextmanager
def _without_pickles() -> Iterator[None]:
    """Torch refuses to unpickle anything but tensors while this is open."""
    key = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(key)
    os.environ[key] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[key]
        else:
            os.environ[key] = before
