"""Exported torch programs in .pt2 files, checked and written anew before torch opens them.

`torch.export.load` unpickles, imports what enumerations name, compiles expressions and the names of values as Python, and looks operators up by any dotted
name; torch says not to give it files from strangers. It gets none: a new archive is made here, of the parts that are known (the program, plain tensors), each
checked. Then the sizes of all values are computed without memory, and only a program that fits is returned.
"""

import contextlib
import io
import json
import keyword
import math
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.export import ExportedProgram
from torch.fx import GraphModule, Interpreter, Node
from torch.utils._pytree import tree_leaves

from sparring.core.documents import parse_json
from sparring.core.errors import LoadError
from sparring.core.files import check_members, decoded, read_file
from sparring.models.pt2_expressions import is_arithmetic
from sparring.models.pt2_operators import is_pure

LARGEST = 1 << 30
"""Bytes that one value of a program may have for a batch of two; an activation of a large segmentation network has a half."""

NODES = 50_000
"""Operators that a program may have; the largest language models have some ten thousand."""

PROGRAM = "models/model.json"
CONFIGS = {"data/weights/model_weights_config.json": "weight_", "data/constants/model_constants_config.json": "tensor_"}
PICKLES = {"data/weights/model.pt", "data/constants/model.pt"}
"""Tensors as torch 2.8 writes them, a state dict, which is opened without unpickling anything else."""

SAMPLE = "data/sample_inputs/model.pt"
KEPT = re.compile(r"archive_format|archive_version|byteorder|\.data/\w+|data/(weights/weight|constants/tensor)_\d+")
"""What is taken over as it is, beside the parts named above."""

WORD = re.compile(r"[\w.+:/ *<>=!-]{0,500}", re.ASCII)
"""Strings of a program that are no expressions: names, versions, kinds."""

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,499}")
RANGE = re.compile(r"[a-z]{1,3}\d{1,4}")
CURE = "build the model in a factory, package.module:factory"


def read_pt2(path: Path) -> ExportedProgram:
    """Return the program.

    LoadError for a broken file, and for one that could run code when opened.
    """
    try:
        archive = _written_anew(read_file(path), str(path))
        with _without_pickles():
            program = torch.export.load(archive)
        _check_sizes(program, str(path))
        return program
    except LoadError:
        raise
    except Exception as error:  # torch raises anything
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise LoadError(f"{path} is not an exported program that torch {torch.__version__} can read: {said[:300]}") from error


def _written_anew(content: bytes, where: str) -> io.BytesIO:
    """An archive of the known parts, all checked; two readers of zip files can disagree on one that a stranger made."""
    fresh = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as given, zipfile.ZipFile(fresh, "w") as made:
        check_members(given, len(content), where)
        members = {one.filename.partition("/")[2]: one for one in given.infolist()}
        if compiled := [name for name in members if "aotinductor" in name or name.endswith((".so", ".dll", ".dylib"))]:
            raise LoadError(f"{where} holds compiled code ({compiled[0][:80]}): export it with torch.export.save, without compiling")
        if PROGRAM not in members:
            raise LoadError(f"{where} does not hold an exported program: write it with torch.export.save of torch 2.8 or later")
        for name, member in members.items():
            if KEPT.fullmatch(name) or name in (PROGRAM, *CONFIGS, *PICKLES):
                part = given.read(member)
                made.writestr(f"archive/{name}", _checked(name, part, members, where) if name.endswith(".json") else part)
        made.writestr(f"archive/{SAMPLE}", b"")
    fresh.seek(0)
    return fresh


def _checked(name: str, part: bytes, members: dict[str, zipfile.ZipInfo], where: str) -> str | bytes:
    content = parse_json(decoded(part, where), f"{where}, {name}")
    if name in CONFIGS:
        for key, payload in content["config"].items():
            _check_tensor(key, payload, CONFIGS[name], {one.rpartition("/")[2]: about.file_size for one, about in members.items()}, where)
        return part
    nodes = content["graph_module"]["graph"]["nodes"]
    if len(nodes) > NODES:
        raise LoadError(f"{where} has {len(nodes):,} operators, the limit is {NODES:,}: {CURE}")
    for node in nodes:
        node["metadata"] = {}  # stack traces and names of modules, which torch would look up
    for key, value in _strings(content, ""):
        if not _harmless(key, value):
            raise LoadError(f"{where} holds {_said(key)}, {value[:80]!r}, which could run code: {CURE}")
    return json.dumps(content)


def _check_tensor(key: str, payload: Any, stem: str, sizes: dict[str, int], where: str) -> None:
    """Refuse weights that are objects, or are said to have more numbers than there are."""
    path, meta = payload["path_name"], payload["tensor_meta"]
    if payload["use_pickle"] or not re.fullmatch(rf"{stem}\d+", path):
        raise LoadError(f"{where} keeps {key[:80]!r} as a pickled object, which could run code: {CURE}")
    shape = [side["as_int"] for side in meta["sizes"]]
    if math.prod(shape) > max(1, sizes.get(path, 0)) or min(shape, default=0) < 0:
        raise LoadError(f"{where}: {key[:80]!r} is said to have the shape {shape}, its part {path} has {sizes.get(path, 0):,} bytes: write it again")


def _strings(node: Any, key: str) -> Iterator[tuple[str, str]]:
    """All strings of a program with the keys under which they stand; keys themselves stand under "key"."""
    if isinstance(node, str):
        yield key, node
    elif isinstance(node, list):
        for one in node:
            yield from _strings(one, key)
    elif isinstance(node, dict):
        for name, one in node.items():
            yield ("range" if key == "range_constraints" else "key"), name
            yield from _strings(one, name)


def _harmless(key: str, value: str) -> bool:
    """Whether torch may have this string, of which it makes names, expressions and look-ups."""
    match key:
        case "target" | "as_operator":
            return is_pure(value)
        case "expr_str" | "guards_code":
            return is_arithmetic(value)
        case "in_spec" | "out_spec":
            return value == "" or _plain_tree(parse_json(value, "the program")[1])
        case "name" | "as_name":
            return value == "" or (NAME.fullmatch(value) is not None and not keyword.iskeyword(value))
        case "range":
            return RANGE.fullmatch(value) is not None
        case "as_string" | "as_strings":
            return len(value) <= 500 and value.isprintable()
        case "class_fqn" | "as_custom_obj":
            return False
        case "type":  # of a device
            return value in ("cpu", "cuda", "mps", "xpu")
        case _:
            return WORD.fullmatch(value) is not None


def _said(key: str) -> str:
    return {
        "target": "an operator that is not part of torch, or reaches beyond its arguments", "as_operator": "an operator that is not part of torch",
        "expr_str": "an expression that is not arithmetic", "guards_code": "an expression that is not arithmetic",
    }.get(key, f"an unusual string under {key[:40]!r}")  # fmt: skip


def _plain_tree(node: dict[str, Any]) -> bool:
    """Whether a description of arguments or results has tuples, lists and dictionaries alone; others import what they name."""
    context = node["context"]
    if node["type"] not in (None, "builtins.tuple", "builtins.list", "builtins.dict"):
        return False
    if context is not None and not (isinstance(context, str) and re.fullmatch(r'null|\[("[\w.-]*"(, )?)*\]', context)):
        return False
    return all(_plain_tree(child) for child in node["children_spec"])


class _Sizes(Interpreter):
    """Runs a program on tensors without memory, and stops at the first value that is too large."""

    def __init__(self, module: GraphModule, where: str):
        super().__init__(module)
        self.where = where

    def run_node(self, node: Node) -> Any:
        if node.target is torch.ops.aten.detach_.default:  # of a constant, which is a view here
            return self.env[node.args[0]]  # type: ignore[index]
        value = super().run_node(node)
        for one in tree_leaves(value):
            size = one.numel() * one.element_size() if isinstance(one, Tensor) else 0
            if not size <= LARGEST or (isinstance(one, int) and abs(one) >= 2**63):
                said = f"{size:,} bytes for a batch of two, the limit is {LARGEST:,}" if size else "a whole number beyond 64 bits"
                raise LoadError(f"{self.where}: the value {node.name[:80]} would take {said}: {CURE}")
        return value


def _check_sizes(program: ExportedProgram, where: str) -> None:
    """Refuse a program that would compute values of any size."""
    asked = set(program.graph_signature.user_inputs)
    given = [node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder" and node.name in asked]
    with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True):
        inputs = [torch.empty([_side(side) for side in one.shape], dtype=one.dtype) if isinstance(one, Tensor) else _side(one) for one in given]
        try:
            _Sizes(program.module(), where).run(*inputs, enable_io_processing=False)
        except (DataDependentOutputException, DynamicOutputShapeException) as error:
            raise LoadError(f"{where} has values whose shape depends on other values ({str(error)[:80]}): {CURE}") from error


def _side(side: Any) -> Any:
    """A side of an input; two where the program leaves it open."""
    return max(2, side.node.hint or 2) if isinstance(side, torch.SymInt) else side


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
