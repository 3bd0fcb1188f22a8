"""Compares the network in a proof file with an ONNX file, which it reads by itself: `check_proof`, numpy and the standard library, no onnx.

Both are computed in float64, piece by piece: at every ReLU the values that go in are compared, and then both go on from the same random values.
Affine maps that agree at random points are the same, up to the tolerance `AGREE`: a weight, sign or place that is another shows.
"""

import gzip
import hashlib
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sparring_check.check_proof import AFFINE, File, Graph, linear

TYPES = {1: "<f4", 6: "<i4", 7: "<i8", 11: "<f8"}
"""Of tensors, by their number in ONNX."""
AGREE = 1e-9
"""Up to which values are the same, in parts of the largest: sums in another order, and constants that were folded into others."""


Relu = Callable[[np.ndarray], np.ndarray]


class Unknown(Exception):
    """Report a part of the ONNX file that this checker does not read."""


def varint(content: bytes, place: int) -> tuple[int, int]:
    """Read a variable-length integer: (int64, the place after it)."""
    value = shift = 0
    while content[place] > 127:
        value |= (content[place] & 127) << shift
        place, shift = place + 1, shift + 7
    value |= content[place] << shift
    return value - (1 << 64) if value >= 1 << 63 else value, place + 1


def fields(content: bytes) -> Iterator[tuple[int, Any]]:
    """Yield (number, value) of each field of a protobuf message.

    Values are int, bytes, or float of 4 bytes.
    """
    place = 0
    while place < len(content):
        key, place = varint(content, place)
        kind = key & 7
        if kind == 0:
            value, place = varint(content, place)
            yield key >> 3, value
            continue
        if kind not in (1, 2, 5):
            raise Unknown(f"a field of wire type {kind}")
        size, place = varint(content, place) if kind == 2 else ({1: 8, 5: 4}[kind], place)
        part = content[place : place + size]
        if len(part) < size:
            raise Unknown("a field that is cut off")
        place += size
        yield key >> 3, struct.unpack("<f", part)[0] if kind == 5 else part


def numbers(value: Any) -> list[int]:
    """Read repeated int64, packed or one."""
    found, place = [] if isinstance(value, bytes) else [value], 0
    while isinstance(value, bytes) and place < len(value):
        one, place = varint(value, place)
        found.append(one)
    return found


def inner(content: bytes, *path: int) -> list[Any]:
    """Return all values of a field of a field of ... a message."""
    values = [value for number, value in fields(content) if number == path[0]]
    return values if len(path) == 1 else [deep for value in values for deep in inner(value, *path[1:])]


def tensor(content: bytes) -> tuple[str, np.ndarray]:
    """Read (name, values) of a TensorProto; floats as float64."""
    shape, kind, name, raw, listed = [], 1, "", None, []
    for number, value in fields(content):
        if number == 1:
            shape += numbers(value)
        elif number == 2:
            kind = value
        elif number == 8:
            name = value.decode()
        elif number == 9:
            raw = value
        elif number == 4:
            listed.append(np.frombuffer(value, "<f4") if isinstance(value, bytes) else np.array([value], "<f4"))
        elif number in (5, 7):
            listed.append(np.array(numbers(value), np.int64))
        elif number in (13, 14):
            raise Unknown(f"the tensor {name!r} lies in another file")
    if kind not in TYPES:
        raise Unknown(f"tensors of type {kind}")
    values = np.frombuffer(raw, TYPES[kind]) if raw is not None else np.concatenate(listed) if listed else np.zeros(0)
    return name, values.reshape(shape).astype(np.int64 if kind in (6, 7) else np.float64)


def attribute(content: bytes) -> tuple[str, Any]:
    """Read (name, value) of an AttributeProto: int, float, text, list of int, or tensor."""
    name, found = "", None
    whole: list[int] = []
    for number, value in fields(content):
        if number == 1:
            name = value.decode()
        elif number in (2, 3):
            found = value
        elif number == 4:
            found = value.decode()
        elif number == 5:
            found = tensor(value)[1]
        elif number == 8:
            whole += numbers(value)
    return name, whole or found


class Onnx:
    """Represent the graph of an ONNX file.

    nodes: (operator, inputs, outputs, attributes); constants by name; inputs and outputs: names.
    """

    def __init__(self, content: bytes):
        self.nodes: list[tuple[str, list[str], list[str], dict[str, Any]]] = []
        self.constants: dict[str, np.ndarray] = {}
        self.inputs: list[str] = []
        self.outputs: list[str] = []
        self.sides: dict[str, list[int]] = {}
        (graph,) = inner(content, 7)
        for number, value in fields(graph):
            if number == 1:
                taken, given = ([name.decode() for name in inner(value, which)] for which in (1, 2))
                self.nodes.append((inner(value, 4)[0].decode(), taken, given, dict(attribute(one) for one in inner(value, 5))))
            elif number == 5:
                name, values = tensor(value)
                self.constants[name] = values
            elif number in (11, 12):
                name = inner(value, 1)[0].decode()
                (self.inputs if number == 11 else self.outputs).append(name)
                self.sides[name] = [max(1, *inner(side, 1), 1) for side in inner(value, 2, 1, 2, 1)]
        self.inputs = [name for name in self.inputs if name not in self.constants]
        if len(self.inputs) != 1 or len(self.outputs) != 1:
            raise Unknown(f"{len(self.inputs)} inputs and {len(self.outputs)} outputs")

    def run(self, x: np.ndarray, relu: Relu) -> np.ndarray:
        """Return the output [numbers] for x [numbers].

        relu: what is put in the place of a ReLU.
        """
        values: dict[str, Any] = {**self.constants, self.inputs[0]: x.reshape(self.sides[self.inputs[0]]), "": None}
        for operator, names, outputs, given in self.nodes:
            taken = [values[name] for name in names]
            values[outputs[0]] = relu(taken[0]) if operator == "Relu" else compute(operator, taken, given)
        return values[self.outputs[0]].ravel()


def compute(operator: str, taken: list[Any], given: dict[str, Any]) -> np.ndarray:
    """Return one operator in float64."""
    if operator == "Constant":
        return given["value"]
    first, *rest = taken
    two = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide, "MatMul": np.matmul}
    if operator in two:
        return two[operator](first, rest[0])
    if operator == "Gemm":
        a, b = (value.T if given.get(flag) else value for value, flag in ((first, "transA"), (rest[0], "transB")))
        return given.get("alpha", 1.0) * (a @ b) + (given.get("beta", 1.0) * rest[1] if len(rest) > 1 else 0.0)
    if operator in ("Identity", "Dropout"):
        return first
    if operator == "Flatten":
        return first.reshape(int(np.prod(first.shape[: given.get("axis", 1)])), -1)
    if operator == "Reshape":
        return first.reshape([first.shape[place] if side == 0 else side for place, side in enumerate(rest[0].tolist())])
    if operator == "Transpose":
        return first.transpose(given.get("perm"))
    if operator == "Conv":
        return convolution(first, rest[0], rest[1] if len(rest) > 1 else None, given)
    raise Unknown(f"the operator {operator}")


def convolution(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, given: dict[str, Any]) -> np.ndarray:
    """Compute the convolution of one sample, over any number of axes, place by place."""
    axes = weight.ndim - 2
    if given.get("auto_pad", "NOTSET") != "NOTSET":
        raise Unknown("padding that is not given")
    pads, strides, dilations = given.get("pads", [0] * 2 * axes), given.get("strides", [1] * axes), given.get("dilations", [1] * axes)
    groups = given.get("group", 1)
    wide = np.pad(x, [(0, 0), (0, 0), *zip(pads[:axes], pads[axes:], strict=True)])
    rest = zip(wide.shape[2:], weight.shape[2:], strides, dilations, strict=True)
    sides = [(size - d * (k - 1) - 1) // s + 1 for size, k, s, d in rest]
    found = np.zeros((len(weight), *sides))
    for place in np.ndindex(*weight.shape[2:]):
        cut = tuple(slice(at * d, at * d + s * (side - 1) + 1, s) for at, d, s, side in zip(place, dilations, strides, sides, strict=True))
        parts = zip(np.split(weight[(slice(None), slice(None), *place)], groups), np.split(wide[(0, slice(None), *cut)], groups), strict=True)
        found += np.concatenate([np.tensordot(kernel, part, 1) for kernel, part in parts])
    return (found if bias is None else found + bias.reshape(-1, *[1] * axes))[None]


def run(graph: Graph, x: np.ndarray, relu: Relu) -> np.ndarray:
    """Return the same for the network of a proof file."""
    values = [x]
    for node in graph.nodes[1:]:
        taken = [values[before] for before in node["inputs"]]
        if node["operator"] in AFFINE:
            found = linear(node, graph.nodes[node["inputs"][0]], taken[0][None])[0] + node["constant"]
        elif node["operator"] == "Relu":
            found = relu(taken[0])
        elif node["operator"] == "Add":
            found = sum(taken[1:], taken[0])
        else:
            shapes = [graph.nodes[before]["shape"] for before in node["inputs"]]
            found = np.concatenate([value.reshape(shape) for value, shape in zip(taken, shapes, strict=True)], node["axis"]).ravel()
        values.append(found)
    return values[-1]


def differences(graph: Graph, onnx: Onnx, points: int = 3) -> list[float]:
    """Compare two networks layer by layer.

    Of what goes into each ReLU layer, and of the output, the largest difference in parts of the largest magnitude; infinite where sizes differ.
    """
    worst = np.zeros(len(graph.relus) + 1)
    for seed in range(points):
        draw = np.random.default_rng(seed)
        met: list[tuple[np.ndarray, np.ndarray]] = []

        def first(value: np.ndarray, met: list = met, draw: np.random.Generator = draw) -> np.ndarray:
            met.append((value.ravel(), draw.normal(size=value.size)))
            return met[-1][1].reshape(value.shape)

        x = draw.normal(size=graph.nodes[0]["count"])
        theirs = onnx.run(x, first)
        other: list[np.ndarray] = []

        def follow(value: np.ndarray, met: list = met, other: list = other) -> np.ndarray:
            other.append(value)
            return met[len(other) - 1][1]

        if len(met) != len(graph.relus):
            return [float("inf")]
        ours = run(graph, x, follow)
        for place, (one, two) in enumerate(zip([*(value for value, _ in met), theirs], [*other, ours], strict=True)):
            same = one.shape == two.shape
            worst[place] = max(worst[place], float(np.abs(one - two).max() / max(1.0, np.abs(one).max())) if same else float("inf"))
    return worst.tolist()


def plain(text: str) -> str:
    """Return a text on one line, with escapes for what a terminal would obey."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def main(given: list[str]) -> int:
    """Run the command.

    Returns its exit code: 0 the same, 1 another network, 2 it cannot be compared.
    """
    proof, network = given
    try:
        file, content = File(proof), Path(network).read_bytes()
        content = gzip.decompress(content) if network.endswith(".gz") else content
        if file.header["source"] is None or hashlib.sha256(content).hexdigest() != file.header["source"]["sha256"]:
            print(plain(f"ANOTHER NETWORK: the proof was not made from {network}"))
            return 1
        worst = differences(Graph(file), Onnx(content))
    except Exception as error:
        print(plain(f"cannot be compared: {type(error).__name__}: {error}"))
        return 2
    if not max(worst) <= AGREE:
        print(f"ANOTHER NETWORK: of its {len(worst)} pieces number {int(np.argmax(worst))} differs by {max(worst):.2g} of what it gives")
        return 1
    print(plain(f"the same network as {network}: all {len(worst)} pieces between ReLUs agree at random points, up to {max(worst):.1g} of what they give"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
