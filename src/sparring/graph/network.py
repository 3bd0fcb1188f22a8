"""A network as a small graph: operators in the order in which they can be computed."""

import dataclasses
import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sparring.graph.operators import Input, Operator, Relu, Shape


class Node(NamedTuple):
    """Represent an operator and the earlier nodes whose values it uses."""

    operator: Operator
    inputs: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Network:
    """Hold nodes in order: first the `Input`, last the output, [n, outputs] for classifiers.

    Importers make it: `from_torch(module, shape)` and `from_onnx(path)`. Weights are float64 by default, so that what was
    float32 is exact. Calling it computes its output on [n, *input]; gradients flow.

        >>> from sparring.graph.operators import Linear
        >>> one = Network((Node(Input((2,))), Node(Linear(torch.eye(2)), (0,)), Node(Relu(), (1,))))
        >>> one(torch.tensor([[-1.0, 2.0]])), one.shapes
        (tensor([[0., 2.]]), ((2,), (2,), (2,)))
    """

    nodes: tuple[Node, ...]
    notes: tuple[str, ...] = ()
    """What the importer omitted, in words."""

    def __post_init__(self) -> None:
        kinds = [isinstance(node.operator, Input) for node in self.nodes]
        if not kinds or not kinds[0] or any(kinds[1:]) or any(index >= here for here, node in enumerate(self.nodes) for index in node.inputs):
            raise ValueError("a network needs its input as first node and nowhere else, and every node must use earlier nodes only")

    def __call__(self, x: Tensor) -> Tensor:
        return self.values(x)[-1]

    def values(self, x: Tensor) -> list[Tensor]:
        """Return the output of every node for x [n, *input]."""
        found = [x]
        for node in self.nodes[1:]:
            found.append(node.operator(*(found[index] for index in node.inputs)))
        return found

    @cached_property
    def shapes(self) -> tuple[Shape, ...]:
        """Return the shapes of the outputs of all nodes, without the batch."""
        found: list[Shape] = []
        for node in self.nodes:
            found.append(node.operator.shape(*(found[index] for index in node.inputs)))
        return tuple(found)

    @property
    def input_shape(self) -> Shape:
        """Return the shape of one input."""
        return self.shapes[0]

    @property
    def outputs(self) -> int:
        """Return the number of outputs."""
        return int(torch.Size(self.shapes[-1]).numel())

    @cached_property
    def nonlinearities(self) -> tuple[int, ...]:
        """Return the nodes that are not affine in their inputs."""
        from sparring.graph.operators import Activation, Product

        return tuple(index for index, node in enumerate(self.nodes) if isinstance(node.operator, Activation | Product))

    @cached_property
    def finite(self) -> bool:
        """Return whether all weights are finite numbers."""
        return all(bool(torch.isfinite(value).all()) for node in self.nodes for value in vars(node.operator).values() if isinstance(value, Tensor))

    @property
    def relus_only(self) -> bool:
        """Return whether every activation is a ReLU."""
        return all(isinstance(self.nodes[node].operator, Relu) for node in self.nonlinearities)

    def to(self, target: torch.device | str | torch.dtype) -> "Network":
        """Return the same network on another device or in another floating type."""
        nodes = []
        for operator, inputs in self.nodes:
            tensors = {name: value for name, value in vars(operator).items() if isinstance(value, Tensor)}
            moved = {name: value.to(target) for name, value in tensors.items() if value.is_floating_point() or not isinstance(target, torch.dtype)}
            nodes.append(Node(dataclasses.replace(operator, **moved), inputs))  # type: ignore[type-var]
        return Network(tuple(nodes), self.notes)

    def describe(self) -> list[dict[str, Any]]:
        """Return one dict per node: "operator", "inputs" and the fields of the operator.

        Tensors are left as they are.
        """
        return [{"operator": type(node.operator).__name__, "inputs": list(node.inputs), **vars(node.operator)} for node in self.nodes]

    @cached_property
    def fingerprint(self) -> str:
        """Return the sha256 of the description, tensors as little-endian bytes of their type."""
        total = hashlib.sha256()
        for entry in self.describe():
            for name, value in entry.items():
                if isinstance(value, Tensor):
                    total.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
                    total.update(value.detach().cpu().contiguous().numpy().tobytes())
                else:
                    total.update(f"{name} {value}".encode())
        return total.hexdigest()
