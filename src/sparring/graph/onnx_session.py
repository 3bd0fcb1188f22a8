"""ONNX files in onnxruntime, within limits: what a file claims is checked first, memory is bounded, and a loop without end is ended."""

import math
import re
import threading
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import torch

from sparring.core.errors import LoadError
from sparring.graph.onnx_arithmetic import check_arithmetic

NODES = 20_000
"""Operators that a network may have, those of inner graphs and functions counted each time; the largest networks in use have some ten thousand."""

MEMORY = 3 << 29
"""Bytes that the values of one call may take, weights aside. Batches that need more are asked in pieces (see `TooLarge`)."""

SECONDS = 6.0
"""For the first answer to one input, and for every answer of a network with loops. It depends on the machine."""

LOOPS = frozenset({"Loop", "Scan"})
FOLDED = re.compile(
    "Abs|Add|And|Cast|Ceil|Clip|Cos|DequantizeLinear|Div|Equal|Exp|Flatten|Floor|Greater|Identity|Less|Max|Min|Mod|Mul|Neg|Not|Or|Pow|QuantizeLinear|Reciprocal"
    "|ReduceMean|ReduceProd|ReduceSum|Relu|Reshape|Round|Shape|Sigmoid|Sign|Sin|Size|Slice|Split|Sqrt|Squeeze|Sub|Tanh|Transpose|Unsqueeze|Where|Gather|Concat"
)
MOST_FOLDED = 2000
"""Operators on constants, none larger than its inputs, that onnxruntime computes when it opens a file; with others it computes them for every call."""

WITHIN = ("Available memory of", "Failed to allocate", "bad allocation", "bad_alloc", "MemoryError")


class TooLarge(LoadError):
    """Report a call that needs more memory than `MEMORY`; a smaller batch may not."""


class Place(NamedTuple):
    """Represent an input or an output.

    type: as onnxruntime writes it. shape: numbers, names of open sides, None.
    """

    name: str
    type: str
    shape: list[Any]


class Session:
    """Represent a network in onnxruntime, on the processor."""

    def __init__(self, content: bytes, name: str):
        proto = parse(content, name)
        _check(proto, name)
        check_arithmetic(proto, _nodes(proto), name)
        self.name = name
        self.loops = any(node.op_type in LOOPS for node in _nodes(proto))
        self.answered = False
        self.inner = _session(content, name, _foldable(proto))
        try:
            self.inputs, self.outputs = ([Place(one.name, one.type, one.shape) for one in ones] for ones in (self.inner.get_inputs(), self.inner.get_outputs()))
        except UnicodeDecodeError as error:
            raise LoadError(f"{name} has an input or an output whose name is not text: export it again") from error

    def get_inputs(self) -> Sequence["Place"]:
        """Return the inputs with name, type and shape."""
        return self.inputs

    def get_outputs(self) -> Sequence["Place"]:
        """Return the outputs with name, type and shape."""
        return self.outputs

    def run(self, outputs: list[str] | None, feeds: dict[str, Any]) -> list[Any]:
        """Return the outputs for these inputs.

        Raises:
            TooLarge: Where they need too much memory.
            LoadError: Where the network does not take the inputs, or takes too long.
        """
        limited = self.loops or not self.answered
        options, ended = _ending(SECONDS) if limited else (None, None)
        try:
            found = self.inner.run(outputs, feeds, options)
        except Exception as error:  # onnxruntime's errors share no base class
            said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            if any(words in said for words in WITHIN):
                raise TooLarge(f"{self.name} needs more than {MEMORY:,} bytes for {_sizes(feeds)}: give it as a torch module") from error
            if "terminate flag" in said:
                raise LoadError(f"{self.name} has not answered {_sizes(feeds)} within {SECONDS:g} seconds: give it as a torch module") from error
            raise LoadError(f"{self.name} cannot answer {_sizes(feeds)}: {said[:300]}") from error
        finally:
            if ended is not None:
                ended.cancel()
        self.answered = True
        return found


def _sizes(feeds: dict[str, Any]) -> str:
    return "inputs " + ", ".join(str(list(value.shape)) for value in feeds.values())


def _ending(seconds: float) -> tuple[Any, threading.Timer]:
    """Options of a run that is ended after so many seconds, and the clock to stop."""
    import onnxruntime

    options = onnxruntime.RunOptions()
    clock = threading.Timer(seconds, setattr, (options, "terminate", True))
    clock.daemon = True
    clock.start()
    return options, clock


def _foldable(proto: Any) -> bool:
    """Whether what follows from constants alone may be computed when the file is opened, which nothing can interrupt: little of it, and nothing that grows."""
    known, count = {"", *(tensor.name for tensor in proto.graph.initializer)}, 0
    for node in proto.graph.node:
        if known.issuperset(node.input) and node.op_type != "Constant":
            count += 1
            if not FOLDED.fullmatch(node.op_type) or count > MOST_FOLDED:
                return False
        if known.issuperset(node.input):
            known.update(node.output)
    return True


def _session(content: bytes, name: str, foldable: bool) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise LoadError("ONNX files need onnxruntime: pip install 'sparring[onnx]'") from error
    _bound_memory()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")  # weights do not count
    try:
        left_out = None if foldable else ["ConstantFolding"]
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"], disabled_optimizers=left_out)
    except Exception as error:  # onnxruntime's errors share no base class
        raise LoadError(f"{name} is not an ONNX network that onnxruntime can read: {str(error).splitlines()[0][:300]}") from error


@cache
def _bound_memory() -> None:
    """Bound the memory of all sessions of this process that share onnxruntime's allocator, which are those made here."""
    import onnxruntime

    about = onnxruntime.OrtMemoryInfo("Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT)
    onnxruntime.create_and_register_allocator(about, onnxruntime.OrtArenaCfg({"max_mem": MEMORY}))


def parse(content: bytes, name: str) -> Any:
    """Return the file as onnx.ModelProto."""
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise LoadError("reading ONNX files needs onnx: pip install 'sparring[onnx]'") from error
    try:
        proto = onnx.load_from_string(content)
    except DecodeError as error:
        raise LoadError(f"{name} is not an ONNX file: {error}") from error
    if not proto.graph.node:
        raise LoadError(f"{name} has no operators: export the network again")
    if any(one.data_location == onnx.TensorProto.EXTERNAL for one in proto.graph.initializer):
        raise LoadError(f"{name} keeps its weights in other files: save it as one file")
    return proto


def _check(proto: Any, name: str) -> None:
    """Refuse a network of too many operators, and constants with more numbers than the file holds."""
    count = _count(proto, name)
    if count > NODES:
        raise LoadError(f"{name} has {count:,} operators, the limit is {NODES:,}: export a smaller network, or give the torch module")
    for tensor in tensors(proto):
        held = len(tensor.raw_data) + sum(len(getattr(tensor, f"{kind}_data")) for kind in ("float", "int32", "string", "int64", "double", "uint64"))
        if tensor.dims and (min(tensor.dims) < 0 or math.prod(tensor.dims) > 8 * held):  # the smallest types take an eighth of a number
            raise LoadError(f"{name}: the constant {tensor.name[:80]!r} is said to be {list(tensor.dims)}, but holds {held:,}: export it again")
    for graph in _graphs(proto):
        if sparse := next(iter(graph.sparse_initializer), None):
            raise LoadError(f"{name} has the sparse constant {sparse.values.name[:80]!r}: export it with dense weights")


def _count(proto: Any, name: str) -> int:
    """Operators of the graph where calls of functions are written out."""
    bodies = {(one.domain, one.name): one for one in proto.functions}
    known: dict[tuple[str, str], int] = {}
    for _ in range(len(bodies) + 1):  # those that call known ones, until nothing is left
        for key, body in bodies.items():
            calls = [(node.domain, node.op_type) for node in _inner(body.node)]
            if key not in known and all(call in known or call not in bodies for call in calls):
                known[key] = min(sum(known.get(call, 1) for call in calls), 2 * NODES)
    if lost := next((key for key in bodies if key not in known), None):
        raise LoadError(f"{name} has a function that calls itself, {lost[1][:80]!r}: export the network again")
    return sum(known.get((node.domain, node.op_type), 1) for node in _inner(proto.graph.node))


def _nodes(proto: Any) -> Iterator[Any]:
    """All operators, those of inner graphs and functions included."""
    yield from _inner(proto.graph.node)
    for function in proto.functions:
        yield from _inner(function.node)


def _inner(nodes: Any) -> Iterator[Any]:
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                waiting.extend(graph.node)


def _graphs(proto: Any) -> Iterator[Any]:
    yield proto.graph
    for node in _nodes(proto):
        for attribute in node.attribute:
            yield from (attribute.g, *attribute.graphs)


def tensors(proto: Any) -> Iterator[Any]:
    """Yield all constants of a network, those of attributes and inner graphs included."""
    for graph in _graphs(proto):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for node in _nodes(proto):
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
