"""ONNX files as networks, read from their protobuf."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sparring.core.errors import LoadError
from sparring.core.files import read_file, unpacked
from sparring.graph.agreement import SPREADS, check_agreement
from sparring.graph.builder import Builder, Built, Edge, Unsupported, Value
from sparring.graph.external_data import with_external_data
from sparring.graph.network import Network
from sparring.graph.onnx_operators import READERS, Call
from sparring.graph.onnx_session import MEMORY, Session, parse
from sparring.graph.operators import Shape

TOLERANCE = 1e-4
"""How far the network may be from onnxruntime in float32, as a share of the largest answer."""


TYPES = {"tensor(float)": torch.float32, "tensor(double)": torch.float64, "tensor(float16)": torch.float16}
WHOLE = {"tensor(uint8)": torch.uint8}


class Source(NamedTuple):
    """Describe the input of the file.

    shape: of one input without the batch; batched: is there a batch axis; rows: its size where fixed.
    """

    input: str
    output: str
    shape: Shape
    batched: bool
    rows: int | None
    kind: str


def from_onnx(model: str | Path | bytes, *, shape: Shape | None = None, dtype: torch.dtype = torch.float64, output: str | None = None) -> Network:
    """Read an ONNX file as a network that agrees with onnxruntime.

    The file is .onnx, .onnx.gz or its bytes.

    The first axis of the input is the batch if it is 1, symbolic, or also the first axis of the output; else the file takes one
    input at a time. shape: of one input without the batch, where the file leaves it open. output: see `import_onnx`. Raises Unsupported where an operator
    cannot be bounded or there is more than one input or output; LoadError where the file cannot be read or the two do not agree.
    """
    return import_onnx(model, shape=shape, dtype=dtype, output=output).network


def import_onnx(
    model: str | Path | bytes, *, shape: Shape | None = None, dtype: torch.dtype = torch.float64, runtime: Session | None = None, thorough: bool = True,
    maps: bool = False, output: str | None = None,
) -> Built:  # fmt: skip
    """Read an ONNX file as `from_onnx` does, and return also what was omitted at the end.

    runtime: a session of the same file, if there is one.
    thorough: compare on all ranges of inputs, not on the first only.
    maps: the output may have more axes than [n, k]; it is flattened to one row per input.
    output: the name of the output to read, where the file has several; the others are left out.
    """
    name = "the ONNX network" if isinstance(model, bytes) else Path(model).name
    content = read_content(model)
    runtime = runtime or Session(content, name)
    proto = parse(content, name)
    refused: list[LoadError] = []
    for source in sources(proto, runtime, name, shape, output):
        try:
            return _import(proto, source, runtime, name, dtype, SPREADS if thorough else SPREADS[:1], maps)
        except LoadError as error:
            refused.append(error)
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            refused.append(Unsupported(f"{name} cannot be read as a network ({type(error).__name__}: {str(error)[:200]}): export it again"))
    raise refused[0]


def _import(proto: Any, source: Source, runtime: Session, name: str, dtype: torch.dtype, spreads: Sequence[tuple[float, float]], maps: bool) -> Built:
    ask(runtime, source, torch.zeros(1, *source.shape, dtype=TYPES[source.kind]))  # within limits, before anything is computed here
    with torch.no_grad():
        built = _build(proto, source, name, dtype, maps)
    kind = TYPES[source.kind]
    tolerance = 0.02 if kind == torch.float16 else TOLERANCE
    check_agreement(built, lambda x: ask(runtime, source, x), tolerance=tolerance, name=name, dtype=kind, spreads=spreads)
    return built


def read_content(model: str | Path | bytes) -> bytes:
    """Return the bytes of the file, unpacked, with the weights that it keeps in files beside it."""
    where = "the file" if isinstance(model, bytes) else str(model)
    content = unpacked(model if isinstance(model, bytes) else read_file(Path(model)), where)
    if not content:
        raise LoadError(f"{where} is empty: give an ONNX file")
    return content if isinstance(model, bytes) else with_external_data(content, Path(model))


def sources(proto: Any, runtime: Session, name: str, shape: Shape | None, output: str | None = None, *, whole: bool = False) -> list[Source]:
    """Return the possible meanings of the first axis of the input, the likeliest first.

    whole: whether the input may hold whole numbers.
    """
    constants = {one.name for one in proto.graph.initializer}
    inputs = [one.name for one in proto.graph.input if one.name not in constants]
    outputs = [one.name for one in proto.graph.output] if output is None else [output]
    for what, names in (("inputs", inputs), ("outputs", outputs)):
        if len(names) != 1:
            raise Unsupported(f"{name} has {len(names)} {what} ({', '.join(names)}): one is supported")
    taken = next(one for one in runtime.get_inputs() if one.name == inputs[0])
    if taken.type not in {**TYPES, **(WHOLE if whole else {})}:
        raise Unsupported(f"{name} takes {taken.type}: floating point tensors are supported")
    sides = [side if isinstance(side, int) and side > 0 else None for side in taken.shape]
    first_out = next((one.shape or [None])[0] for one in runtime.get_outputs() if one.name == outputs[0])
    ways = [True] if len(sides) > 1 and sides[0] in (None, 1) else [True, False] if len(sides) > 1 and sides[0] == first_out else [False]
    ways = [batched for batched in ways if shape is None or len(shape) == len(sides) - batched] or ways[:1]
    return [
        Source(inputs[0], outputs[0], _inner(taken.shape, sides[batched:], shape, name), batched, sides[0] if batched else None, taken.type) for batched in ways
    ]


def _inner(said: Any, sides: list[int | None], shape: Shape | None, name: str) -> Shape:
    """The shape of one input, from the file and from the caller."""
    if shape is not None:
        if len(shape) != len(sides) or any(side not in (None, given) for side, given in zip(sides, shape, strict=True)):
            raise LoadError(f"{name} takes inputs {said}, not {list(shape)}")
        return tuple(shape)
    found = tuple(side for side in sides if side is not None)
    if len(found) < len(sides) or not sides:
        raise LoadError(f"{name} takes inputs {said}: give the shape of one input without the batch")
    return found


def _build(proto: Any, source: Source, name: str, dtype: torch.dtype, maps: bool) -> Built:
    from onnx import helper, numpy_helper

    builder = Builder(source.shape, batched=source.batched, rows=source.rows or 1, dtype=dtype)
    opset = next((one.version for one in proto.opset_import if one.domain in ("", "ai.onnx")), 1)
    values: dict[str, Value | None] = {one.name: _tensor(numpy_helper.to_array(one)) for one in proto.graph.initializer}
    values |= {source.input: builder.input, "": None}
    total, needed, held = len(proto.graph.node), needed_nodes(proto, source.output), 0
    for place, node in enumerate(proto.graph.node, 1):
        if place - 1 not in needed:
            continue
        where = f"node {node.name or node.output[0]}, {place} of {total}"
        if missing := [each for each in node.input if each not in values]:
            raise LoadError(f"{name}: {node.op_type} ({where}) takes {missing[0]}, which is neither a weight nor computed before")
        inputs = [values[each] for each in node.input]
        settings = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        if node.domain not in ("", "ai.onnx"):
            raise Unsupported(f"operator {node.domain}.{node.op_type} ({where}) has no bound: only ONNX's own operators are supported")
        if node.op_type == "Shape" and isinstance(inputs[0], Edge):
            found: Any = torch.tensor(inputs[0].shape)[slice(settings.get("start", 0), settings.get("end"))]
        elif not any(isinstance(each, Edge) for each in inputs):
            found = folded(proto, node, inputs, where)
            held += sum(value.numel() * value.element_size() for value in found)
            if held > MEMORY:
                raise Unsupported(f"its constants take more than {MEMORY:,} bytes ({where}): export it with its constants folded")
        elif node.op_type not in READERS:
            raise Unsupported(f"operator {node.op_type} ({where}) has no bound: supported are {', '.join(sorted(READERS))}")
        else:
            call = Call(builder, node.op_type, inputs, settings, sum(1 for each in node.output if each), opset)
            found = _read(call, where)
        for each, value in zip(node.output, found if isinstance(found, list) else [found], strict=False):
            values[each] = value
    output = values[source.output]
    if output is None:
        raise LoadError(f"{name} never computes its output {source.output}")
    return builder.finish(output, maps)


def needed_nodes(proto: Any, output: str) -> set[int]:
    """Return the places of the nodes from which an output is computed."""
    wanted, needed = {output}, set()
    for place in reversed(range(len(proto.graph.node))):
        node = proto.graph.node[place]
        if wanted & set(node.output):
            needed.add(place)
            wanted.update(node.input)
    return needed


def _read(call: Call, where: str) -> Any:
    try:
        return READERS[call.operator](call)
    except Unsupported as error:
        raise Unsupported(f"operator {call.operator} ({where}) has no bound: {error}") from None
    except (RuntimeError, TypeError, IndexError, ValueError, KeyError) as error:
        raise Unsupported(f"operator {call.operator} ({where}) cannot be read: {str(error).splitlines()[0]}") from error


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(array))


def folded(proto: Any, node: Any, inputs: list[Any], where: str) -> list[Tensor]:
    """Return the outputs of a node of constants, by onnxruntime within its limits."""
    from onnx import helper, numpy_helper

    feeds = {key: value.numpy() for key, value in zip(node.input, inputs, strict=True) if key}
    known = [numpy_helper.from_array(feeds.pop(key), key) for key in node.input[1:2] if key in feeds and key != node.input[0]]  # a divisor must be known
    taken = [helper.make_tensor_value_info(key, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape) for key, value in feeds.items()]
    given = [helper.make_empty_tensor_value_info(each) for each in node.output if each]
    try:
        model = helper.make_model(helper.make_graph([node], "constant", taken, given, known), opset_imports=proto.opset_import, ir_version=proto.ir_version)
        return [_tensor(np.asarray(value)) for value in Session(model.SerializeToString(), "it").run(None, feeds)]
    except LoadError as error:
        raise Unsupported(f"constant operator {node.op_type} ({where}) cannot be computed: {error}") from error


def ask(runtime: Session, source: Source, x: Tensor) -> Tensor:
    """Return onnxruntime's answers [n, ...], in pieces of the batch size that the file fixes."""
    return torch.cat(list(_answers(runtime, source, x.numpy())))


def _answers(runtime: Session, source: Source, x: np.ndarray) -> Iterator[Tensor]:
    size = (source.rows or len(x)) if source.batched else 1
    for start_at in range(0, len(x), size):
        part = x[start_at : start_at + size]
        full = np.concatenate([part, np.repeat(part[:1], size - len(part), axis=0)]) if len(part) < size else part
        answer = np.asarray(runtime.run([source.output], {source.input: full if source.batched else full[0]})[0])
        if not source.batched or size == 1:
            yield torch.from_numpy(answer.reshape(1, -1).copy())
        else:
            yield torch.from_numpy(answer[: len(part)].copy())
