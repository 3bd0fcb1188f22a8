"""Torch modules and exported programs as networks, read through torch.export."""

import contextlib
import copy
import functools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._ops import HigherOrderOperator, OpOverload
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.fx.node import map_arg

from sparring.core.errors import LoadError
from sparring.core.evaluating import evaluating, random_states_kept
from sparring.graph.agreement import check_agreement
from sparring.graph.builder import Builder, Built, Edge, Unsupported
from sparring.graph.network import Network
from sparring.graph.operators import Shape
from sparring.graph.torch_operators import operator_name, read_operator

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 0.1, torch.float16: 0.02}
"""How far the network may be from the module, as a share of the largest answer, where the module computes in this type."""


def from_torch(module: nn.Module | ExportedProgram, shape: Shape, *, dtype: torch.dtype = torch.float64) -> Network:
    """Return the module in evaluation mode as a network that agrees with it.

    shape: of one input, without the batch. dtype: of the weights; float64 holds float32 ones exactly. The network is compared
    with the module on random inputs (1e-4 of the largest answer in float32, 1e-9 for a copy of the module in float64).
    The module, its mode and the random state are as before. Raises Unsupported where an operator cannot be bounded or the output
    is not [n, k]; LoadError where the module cannot take the shape, cannot be traced, or the network does not agree.

        >>> network = from_torch(nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3)), (2,))
        >>> [type(node.operator).__name__ for node in network.nodes]
        ['Input', 'Linear', 'Relu', 'Linear']
    """
    return import_torch(module, shape, dtype=dtype).network


def import_torch(module: nn.Module | ExportedProgram, shape: Shape, *, dtype: torch.dtype = torch.float64) -> Built:
    """Read a module as `from_torch` does, and return also what was omitted at the end."""
    traced = trace(module, shape)
    built = traced.build(dtype=dtype)
    name = type(module).__name__
    runner = module.module() if isinstance(module, ExportedProgram) else module
    allowed = max(TOLERANCE.get(kind, 0.1) for kind in (dtype, traced.kind))
    with evaluating(runner), random_states_kept():
        check_agreement(built, functools.partial(_ask, runner, traced), tolerance=allowed, name=name, dtype=traced.kind)
        if dtype == torch.float64 != traced.kind and (double := _doubled(module, traced)) is not None:
            check_agreement(built, double, tolerance=TOLERANCE[torch.float64], name=name, dtype=torch.float64)
    return built


@dataclass(frozen=True, eq=False)
class Traced:
    """Hold the operations of a module, from which networks with its present parameters are made.

    The module is traced once.
    """

    program: ExportedProgram
    module: nn.Module | ExportedProgram
    shape: Shape
    kind: torch.dtype
    device: torch.device
    rows: int | None
    """The batch size that the program fixes, or None if it takes any."""

    def network(self, *, live: bool = False, dtype: torch.dtype | None = None) -> Network:
        """Return the network with the present parameters of the module.

        live: the tensors inside are the module's own, so that gradients reach its parameters; dtype: by default that of the
        module if live, else float64. The network is not compared with the module: `from_torch` does that.
        """
        return self.build(live=live, dtype=dtype).network

    def build(self, *, live: bool = False, dtype: torch.dtype | None = None) -> Built:
        """Return the network as `network` does, and also what was omitted at its end."""
        builder = Builder(self.shape, rows=self.rows or 1, dtype=dtype or (self.kind if live else torch.float64), device=self.device)
        with contextlib.nullcontext() if live else torch.no_grad():
            given = self._walk(builder, self.program.graph_module, dict(self._inputs(builder, live)))
            values = [value for value, spec in zip(given, self.program.graph_signature.output_specs, strict=True) if spec.kind == OutputKind.USER_OUTPUT]
            if len(values) != 1 or not isinstance(values[0], Edge | Tensor):
                raise Unsupported(f"{type(self.module).__name__} returns {len(values)} values: one tensor of scores [n, k] is supported")
            return builder.finish(values[0])

    def _walk(self, builder: Builder, graph: fx.GraphModule, found: dict[fx.Node, Any]) -> Any:
        """What a graph gives, the values of its placeholders being `found`."""
        total, place, needed = sum(node.op == "call_function" for node in graph.graph.nodes), 0, _needed(graph)
        for node in graph.graph.nodes:
            if node not in needed:
                place += node.op == "call_function"
            elif node.op == "get_attr":
                found[node] = attrgetter(str(node.target))(graph)
            elif node.op == "call_function":
                place += 1
                arguments: Any = map_arg(node.args, found.__getitem__)
                settings: Any = map_arg(node.kwargs, found.__getitem__)
                if operator_name(node) == "wrap_with_set_grad_enabled":  # torch.no_grad() around a part of it
                    inner, taken = arguments[1], arguments[2:]
                    starts = [each for each in inner.graph.nodes if each.op == "placeholder"]
                    found[node] = self._walk(builder, inner, dict(zip(starts, taken, strict=True)))
                else:
                    found[node] = read_operator(builder, node, arguments, settings, f"{place} of {total}")
        (out,) = (node for node in graph.graph.nodes if node.op == "output")
        return map_arg(out.args[0], found.__getitem__)

    def _inputs(self, builder: Builder, live: bool) -> Iterator[tuple[fx.Node, Any]]:
        nodes = [node for node in self.program.graph.nodes if node.op == "placeholder"]
        for node, spec in zip(nodes, self.program.graph_signature.input_specs, strict=True):
            if spec.kind == InputKind.USER_INPUT:
                yield node, builder.input
                continue
            value = self._tensor(str(spec.target))
            value = value if live or not isinstance(value, Tensor) else value.detach()
            yield node, builder.real(value) if isinstance(value, Tensor) and value.is_floating_point() else value

    def _tensor(self, name: str) -> Any:
        if isinstance(self.module, nn.Module):
            with contextlib.suppress(AttributeError):
                value = self.module.get_parameter(name) if "." in name or name in self.module._parameters else getattr(self.module, name)
                if isinstance(value, Tensor):
                    return value
            with contextlib.suppress(AttributeError):
                return self.module.get_buffer(name)
        return self.program.state_dict[name] if name in self.program.state_dict else self.program.constants[name]


def _needed(graph: fx.GraphModule) -> set[fx.Node]:
    """Return the nodes from which the output is computed."""
    found: set[fx.Node] = set()
    for node in reversed(graph.graph.nodes):
        if node.op == "output" or node in found:
            found.update(node.all_input_nodes)
    return found


def trace(module: nn.Module | ExportedProgram, shape: Shape) -> Traced:
    """Trace a module in evaluation mode with one input of this shape (without the batch)."""
    state = module.state_dict if isinstance(module, ExportedProgram) else module.state_dict()
    first = next((value for value in state.values() if isinstance(value, Tensor) and value.is_floating_point()), None)
    device, kind = (torch.device("cpu"), torch.float32) if first is None else (first.device, first.dtype)
    name = type(module).__name__
    if isinstance(module, ExportedProgram):
        program = module
    else:
        with evaluating(module), _quietly():
            example = torch.zeros(1, *shape, dtype=kind, device=device)
            try:
                program = torch.export.export(module, (example,), strict=False)
            except Exception as error:  # whatever the module raises, and what torch.export cannot follow
                raise LoadError(f"{name} cannot be traced with an input of shape {tuple(example.shape)}: {_first_line(error)}") from error
    users = [spec for spec in program.graph_signature.input_specs if spec.kind == InputKind.USER_INPUT]
    if len(users) != 1:
        raise Unsupported(f"{name} takes {len(users)} inputs: one is supported")
    targets: list[Any] = [node.target for node in program.graph.nodes]
    if any(isinstance(one, HigherOrderOperator) or (isinstance(one, OpOverload) and one._schema.is_mutable) for one in targets):
        with _quietly():
            program = program.run_decompositions({})  # the same without operators that write in place; most of the time of reading goes here
    rows = _fixed_rows(program, shape, name) if isinstance(module, ExportedProgram) else None
    return Traced(program, module, tuple(shape), kind, device, rows)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """torch.export warns about its own insides; a module may draw while it is traced."""
    with warnings.catch_warnings(), random_states_kept():
        warnings.simplefilter("ignore")
        yield


def _fixed_rows(program: ExportedProgram, shape: Shape, name: str) -> int | None:
    """The batch size of an exported program, None if it may vary."""
    names = set(program.graph_signature.user_inputs)
    (taken,) = (node.meta["val"] for node in program.graph.nodes if node.op == "placeholder" and node.name in names)
    if taken.ndim != len(shape) + 1 or any(isinstance(side, int) and side != mine for side, mine in zip(taken.shape[1:], shape, strict=True)):
        raise LoadError(f"{name} was exported for inputs {list(taken.shape)}, not [n, {', '.join(map(str, shape))}]")
    return taken.shape[0] if isinstance(taken.shape[0], int) else None


def _ask(module: nn.Module, traced: Traced, x: Tensor) -> Tensor:
    """The answers of a module, in batches of the size that the program fixes."""
    rows = traced.rows or len(x)
    parts = []
    for part in x.to(traced.device).split(rows):
        full = torch.cat([part, part[:1].expand(rows - len(part), *part.shape[1:])]).clone()  # a module may write into its input
        with torch.no_grad():
            try:
                answer = module(full)
            except Exception as error:  # whatever the module raises
                raise LoadError(f"{type(module).__name__} cannot take an input {tuple(x.shape)}: {_first_line(error)}") from error
        if traced.rows is None:
            return answer
        parts.append(answer[: len(part)])
    return torch.cat(parts)


def _doubled(module: nn.Module | ExportedProgram, traced: Traced) -> Callable[[Tensor], Tensor] | None:
    """Return a copy that computes in float64, or None."""
    if isinstance(module, ExportedProgram):
        return None
    try:
        with _quietly():
            double = copy.deepcopy(module).eval().double()
        ask = functools.partial(_ask, double, traced)
        example = ask(torch.zeros(1, *traced.shape, dtype=torch.float64))
    except (LoadError, RuntimeError, TypeError, ValueError, NotImplementedError, AttributeError):  # no copy, or one that mixes types
        return None
    return ask if example.dtype == torch.float64 else None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or repr(error)
