"""Tells which operators an exported program may call: those listed in pt2_operators.txt, and nothing else."""

import re
from functools import cache
from importlib.resources import files

import torch

PLAIN = frozenset({"Tensor", "int", "float", "bool", "number", "str", "NoneType", "SymInt", "ScalarType", "Layout", "Device", "MemoryFormat", "Generator"})
"""Types of arguments. A device is checked where the file names it; a generator cannot be written in a file."""

ANSWERS = frozenset({"Tensor", "int", "float", "bool", "number", "SymInt", "()"})


def is_pure(target: str) -> bool:
    """Return whether an exported program may call what stands under this dotted name.

    The overload has to take and return tensors and numbers: those of TorchScript for strings and lists are refused.

    >>> is_pure("torch.ops.aten.relu.default"), is_pure("torch.ops.aten.from_file.default"), is_pure("torch.ops.aten.add.str")
    (True, False, False)
    """
    *home, last = target.split(".")
    if home[:2] != ["torch", "ops"]:
        return len(home) == 1 and last in _listed().get(home[0], ())
    if len(home) != 4 or home[3] not in _listed().get(home[2], ()):
        return False
    packet = getattr(getattr(torch.ops, home[2]), home[3], None)
    if packet is None or last not in packet.overloads():
        return False
    schema = getattr(packet, last)._schema
    return not any(one.is_out for one in schema.arguments) and (
        all(_bare(one.type) in PLAIN for one in schema.arguments) and all(_bare(one.type) in ANSWERS for one in schema.returns)
    )


@cache
def _listed() -> dict[str, frozenset[str]]:
    """The names of each library."""
    text = re.sub(r"#.*", "", files("sparring.models").joinpath("pt2_operators.txt").read_text("utf-8"))
    return {library: frozenset(names.split()) for library, names in re.findall(r"\[(\w+)\]([^\[]*)", text)}


def _bare(kind: object) -> str:
    """A type without the lists and options around it."""
    name = str(kind)
    while inner := re.fullmatch(r"(?:Optional|List)\[(.*)\]", name):
        name = inner[1]
    return name
