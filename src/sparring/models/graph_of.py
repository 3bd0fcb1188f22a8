"""The computation graph of a victim, for certification."""

from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from sparring.core.domain import Domain
from sparring.core.victim import Victim
from sparring.graph.builder import Unsupported
from sparring.graph.from_onnx import from_onnx
from sparring.graph.from_torch import from_torch
from sparring.graph.network import Network, Node
from sparring.graph.operators import Input, Linear, Operator, Reshape, Scale, Select, Shape, Sigmoid
from sparring.models.onnx import OnnxVictim
from sparring.models.outputs import Adapted
from sparring.models.torch import TorchVictim

_known: "WeakKeyDictionary[Victim, tuple[str, Network]]" = WeakKeyDictionary()


def network_of(victim: Victim) -> Network:
    """Return the graph of the victim in float64, from inputs to as many scores as classes.

    Read once for each victim, and again when its weights have changed. Softmax at the end is left out (see `notes`): compare
    classes, not probabilities. Raises Unsupported for other kinds of models and for networks with operators that cannot be
    bounded, LoadError where the network and the model do not agree.
    """
    stamp, known = victim.fingerprint, _known.get(victim)
    if known is not None and known[0] == stamp:
        return known[1]
    if isinstance(victim, TorchVictim):
        with victim.session():
            module = victim.program or victim.module
            if isinstance(module, Adapted) and module.probability:
                module = module.as_given()
            network = from_torch(module, shape_of(victim.domain))
    elif isinstance(victim, OnnxVictim):
        network = from_onnx(victim.content, shape=victim.inner(shape_of(victim.domain)), output=victim.output.name)
    else:
        raise Unsupported(f"{victim.name} is a {type(victim).__name__}: bounds need a network, that is a torch module, an exported program or an ONNX file")
    network = _fitted(network, victim)
    _known[victim] = (stamp, network)
    return network


def shape_of(domain: Domain) -> Shape:
    """Return the shape of one input of numbers."""
    shape = getattr(domain, "shape", None)
    if shape is None:
        raise Unsupported(f"the inputs are {domain.kind}: bounds need numerical inputs")
    return tuple(shape)


def _fitted(network: Network, victim: Victim) -> Network:
    """From the inputs of the domain (normalised, in its shape and order), and with the score 0 of class 0 where the model gives only that of class 1."""
    nodes, shape = list(network.nodes), shape_of(victim.domain)
    if getattr(victim, "probability", False):  # of which the victim takes the logit
        nodes = _before_sigmoid(nodes)
    order, normalisation = getattr(victim, "order", None), getattr(victim, "normalisation", None)
    first: list[Operator] = [] if normalisation is None else [Scale(*normalisation.factor_and_shift())]
    if order is not None:
        first.append(Select(order.reshape(network.input_shape)))
    elif network.input_shape != shape:
        first.append(Reshape(network.input_shape))
    if first:
        moved = [Node(node.operator, tuple(place + len(first) for place in node.inputs)) for node in nodes[1:]]
        nodes = [Node(Input(shape)), *(Node(operator, (place,)) for place, operator in enumerate(first)), *moved]
    if network.outputs == 1 and victim.classes == 2:
        column: Tensor = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
        nodes.append(Node(Linear(column), (len(nodes) - 1,)))
    return Network(tuple(nodes), network.notes)


def _before_sigmoid(nodes: list[Node]) -> list[Node]:
    """The nodes of a network that ends in a sigmoid, without it."""
    place = len(nodes) - 1
    while isinstance(nodes[place].operator, Reshape):
        (place,) = nodes[place].inputs
    if not isinstance(nodes[place].operator, Sigmoid) or nodes[place].inputs != (place - 1,):
        raise Unsupported("the probability that the network returns cannot be read as the logit: leave out the sigmoid at its end")
    return nodes[:place]
