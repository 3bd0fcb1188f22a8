"""ONNX files as torch functions for gradients, where some operator has no bound."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

import sparring.graph.onnx_moves
import sparring.graph.onnx_recurrent
import sparring.graph.onnx_resize  # noqa: F401  (all enter their operators)
from sparring.core.errors import LoadError
from sparring.graph.agreement import SPREADS, agree
from sparring.graph.builder import Unsupported
from sparring.graph.from_onnx import TOLERANCE, TYPES, WHOLE, Source, ask, folded, needed_nodes, sources
from sparring.graph.onnx_functions import FUNCTIONS, Application
from sparring.graph.onnx_session import MEMORY, Session, parse
from sparring.graph.operators import Shape


class Step(NamedTuple):
    """Hold one operator of the file."""

    operator: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    settings: dict[str, Any]
    opset: int
    where: str

    def run(self, values: dict[str, Tensor | None]) -> None:
        """Compute the outputs from the values so far."""
        given = [values[name] for name in self.inputs]
        try:
            found = FUNCTIONS[self.operator](Application(self.operator, given, self.settings, len(self.outputs), self.opset))
        except Unsupported as error:
            raise Unsupported(f"operator {self.operator} ({self.where}) has no gradient here: {error}") from None
        except (RuntimeError, TypeError, IndexError, ValueError, KeyError, ZeroDivisionError) as error:
            raise Unsupported(f"operator {self.operator} ({self.where}) cannot be computed: {str(error).splitlines()[0]}") from error
        named = zip(self.outputs, found if isinstance(found, list) else [found], strict=False)
        values.update({name: value for name, value in named if name})


class OnnxFunction:
    """Compute an output of an ONNX file in torch, so that gradients reach its input.

    Attributes:
        input_shape: Of one input, without the batch.
    """

    def __init__(self, proto: Any, source: Source, name: str, dtype: torch.dtype):
        self.source, self.input_shape = source, source.shape
        constants, steps = _read(proto, source, name, dtype)
        self._constants = {name: constants[name] for step in steps for name in step.inputs if name in constants}
        self._constants |= {source.output: constants[source.output]} if source.output in constants else {}
        self._steps = steps

    def answer(self, x: Tensor) -> Tensor:
        """Return the output [n, ...] for inputs [n, *input_shape].

        They are computed in batches of the size that the file fixes."""
        source = self.source
        size = (source.rows or max(1, len(x))) if source.batched else 1
        if len(x) <= size and not (source.rows and len(x) < size) and source.batched:
            return self._run(x)
        parts = []
        for part in x.split(size):
            full = torch.cat([part, part[:1].expand(size - len(part), *part.shape[1:])]) if len(part) < size else part
            answer = self._run(full if source.batched else full[0])
            parts.append(answer[: len(part)] if source.batched else answer.reshape(1, -1))
        return torch.cat(parts)

    def _run(self, x: Tensor) -> Tensor:
        values: dict[str, Tensor | None] = {**self._constants, self.source.input: x, "": None}
        held = 0
        for step in self._steps:
            step.run(values)
            held += sum(value.numel() * value.element_size() for name in step.outputs if (value := values.get(name)) is not None)
            if held > MEMORY * max(1, len(x)):
                raise Unsupported(f"an input takes more than {MEMORY:,} bytes up to {step.operator} ({step.where})")
        output = values[self.source.output]
        if output is None:
            raise Unsupported("the output is never computed")
        return output


def _read(proto: Any, source: Source, name: str, dtype: torch.dtype) -> tuple[dict[str, Tensor], list[Step]]:
    """The constants of a file, and the operators whose outputs depend on its input."""
    from onnx import TensorProto, helper, numpy_helper

    def tensor(value: Any) -> Tensor:
        array = torch.from_numpy(numpy_helper.to_array(value).copy())
        return array.to(dtype) if array.dtype in (torch.float16, torch.float32, torch.float64) else array

    opset = next((one.version for one in proto.opset_import if one.domain in ("", "ai.onnx")), 1)
    constants: dict[str, Tensor] = {one.name: tensor(one) for one in proto.graph.initializer}
    steps: list[Step] = []
    held = 0
    moving, total, needed = {source.input}, len(proto.graph.node), needed_nodes(proto, source.output)
    for place, node in enumerate(proto.graph.node):
        if place not in needed:
            continue
        where = f"node {node.name or node.output[0]}, {place + 1} of {total}"
        if node.domain not in ("", "ai.onnx") or node.op_type not in FUNCTIONS:
            raise Unsupported(f"operator {node.domain + '.' if node.domain else ''}{node.op_type} ({where}) is not supported")
        if missing := [each for each in node.input if each and each not in constants and each not in moving]:
            raise LoadError(f"{name}: {node.op_type} ({where}) takes {missing[0]}, which is neither a weight nor computed before")
        settings = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        settings = {key: tensor(value) if isinstance(value, TensorProto) else value for key, value in settings.items()}
        if node.op_type == "Cast" and dtype == torch.float64 and settings.get("to") == 1:
            settings["to"] = 11
        step = Step(node.op_type, list(node.input), list(node.output), settings, opset, where)
        if moving & set(node.input):
            steps.append(step)
            moving |= set(node.output)
        else:
            found = folded(proto, node, [constants[each] if each else None for each in node.input], where)
            held += sum(value.numel() * value.element_size() for value in found)
            if held > MEMORY:
                raise Unsupported(f"its constants take more than {MEMORY:,} bytes ({where}): export it with its constants folded")
            constants |= {key: value.to(dtype) if value.is_floating_point() else value for key, value in zip(node.output, found, strict=False)}
    return constants, steps


def differentiable(
    content: bytes, name: str, runtime: Session, *, shape: Shape | None = None, output: str | None = None, spread: tuple[float, float] = SPREADS[0]
) -> OnnxFunction:
    """Return an ONNX file as a function of torch that agrees with onnxruntime.

    Args:
        content: The bytes of the file.
        name: For messages.
        runtime: The same file in onnxruntime.
        shape: Of one input without the batch, where the file leaves it open.
        output: The name of the output, where the file has several.
        spread: Middle and half width of the range from which the inputs of the comparison are drawn.

    Raises:
        Unsupported: For operators that are unknown here.
        LoadError: Where the two do not agree.
    """
    proto = parse(content, name)
    refused: list[LoadError] = []
    for source in sources(proto, runtime, name, shape, output, whole=True):
        try:
            return _checked(proto, source, runtime, name, spread)
        except LoadError as error:
            refused.append(error)
    raise refused[0]


def _checked(proto: Any, source: Source, runtime: Session, name: str, spread: tuple[float, float]) -> OnnxFunction:
    kind = {**TYPES, **WHOLE}[source.kind]
    ask(runtime, source, torch.zeros(1, *source.shape, dtype=kind))  # within limits, before anything is computed here
    dtype = torch.float64 if kind == torch.float64 else torch.float32
    with torch.no_grad():
        found = OnnxFunction(proto, source, name, dtype)
    agree(
        lambda x: found.answer(x.to(dtype)).flatten(1),
        lambda x: ask(runtime, source, x),
        found.input_shape,
        tolerance=0.02 if kind == torch.float16 else TOLERANCE,
        name=name,
        dtype=kind,
        spreads=[spread],
    )
    return found
