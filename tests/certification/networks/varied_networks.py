"""Small random networks of every kind that certificates are issued for, and other forms of the same function."""

import torch
from certification.networks.small_networks import convolution, mlp, residual

from sparring.graph.builder import Builder
from sparring.graph.network import Network, Node
from sparring.graph.operators import Conv, Input, Linear, Product, Relu, Reshape, Sigmoid, Tanh
from sparring.graph.pools import max_pool


def drawn(seed, *shape, scale=0.7):
    """Draws that depend on the seed and the shape alone."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale


def pooled(seed):
    """[1, 4, 4] - conv 2 - max pool 2 - 2: the pool as ReLUs of differences."""
    builder = Builder((1, 4, 4))
    wire = builder.conv(builder.input, drawn(seed, 2, 1, 2, 2), drawn(seed + 1, 2), padding=((0, 1), (0, 1)))
    wire = max_pool(builder, wire, (2, 2), stride=(2, 2), padding=[(0, 0), (0, 0)])
    return builder.finish(builder.linear(builder.view(wire, (1, 8)), drawn(seed + 2, 2, 8), drawn(seed + 3, 2))).network


def leaky(seed):
    """3 - 4 leaky - 3 clipped - 2."""
    builder = Builder((3,))
    wire = builder.leaky_relu(builder.linear(builder.input, drawn(seed, 4, 3), drawn(seed + 1, 4)), 0.1)
    wire = builder.clip(builder.linear(wire, drawn(seed + 2, 3, 4), drawn(seed + 3, 3)), -0.5, 0.5)
    return builder.finish(builder.linear(wire, drawn(seed + 4, 2, 3), drawn(seed + 5, 2))).network


def stacked(seed):
    """[1, 5, 5] - conv 2 - relu - conv 2 - conv 1 - relu - 2: padding around a map whose bias is large."""
    padded = {"stride": (1, 1), "padding": (1, 1)}
    return Network(
        (
            Node(Input((1, 5, 5))),
            Node(Conv(drawn(seed, 2, 1, 2, 2), drawn(seed + 1, 2)), (0,)),
            Node(Relu(), (1,)),
            Node(Conv(drawn(seed + 2, 2, 2, 2, 2), drawn(seed + 3, 2, scale=3.0), **padded), (2,)),
            Node(Conv(drawn(seed + 4, 1, 2, 2, 2, scale=0.3), drawn(seed + 5, 1), **padded), (3,)),
            Node(Relu(), (4,)),
            Node(Reshape((36,)), (5,)),
            Node(Linear(drawn(seed + 6, 2, 36), drawn(seed + 7, 2)), (6,)),
        )
    )


def curved(seed):
    """3 - 4 tanh - 3 sigmoid - 2."""
    return chain(
        3, (drawn(seed, 4, 3), drawn(seed + 1, 4)), Tanh(), (drawn(seed + 2, 3, 4), drawn(seed + 3, 3)), Sigmoid(), (drawn(seed + 4, 2, 3, scale=2.0), None)
    )


def multiplied(seed):
    """Two ReLU layers of 4 multiplied, entry by entry, - 2."""
    return Network(
        (
            Node(Input((3,))),
            Node(Linear(drawn(seed, 4, 3), drawn(seed + 1, 4)), (0,)),
            Node(Relu(), (1,)),
            Node(Linear(drawn(seed + 2, 4, 3), drawn(seed + 3, 4)), (0,)),
            Node(Tanh(), (3,)),
            Node(Product(), (2, 4)),
            Node(Linear(drawn(seed + 4, 2, 4), drawn(seed + 5, 2)), (5,)),
        )
    )


def chain(inputs, *layers):
    """Layers after one another: (weight, bias) or an operator."""
    nodes = [Node(Input((inputs,)))]
    for layer in layers:
        nodes.append(Node(Linear(*layer) if isinstance(layer, tuple) else layer, (len(nodes) - 1,)))
    return Network(tuple(nodes))


RELUS = {"mlp": lambda seed: mlp(seed, (3, 4, 4, 2)), "convolution": convolution, "residual": residual, "pooled": pooled, "leaky": leaky, "stacked": stacked}
ALL = {**RELUS, "curved": curved, "multiplied": multiplied}


def layers_of(network):
    """(weight, bias) of each linear layer of a chain of ReLUs."""
    return [(node.operator.weight, node.operator.bias) for node in network.nodes if isinstance(node.operator, Linear)]


def chain_of(inputs, layers):
    """ReLUs between layers."""
    parts = [part for layer in layers[:-1] for part in (layer, Relu())]
    return chain(inputs, *parts, layers[-1])


def permuted(network, seed):
    """The same function with the neurons of each hidden layer in another order."""
    layers, g = layers_of(network), torch.Generator().manual_seed(seed)
    for place in range(len(layers) - 1):
        order = torch.randperm(len(layers[place][1]), generator=g)
        layers[place] = (layers[place][0][order], layers[place][1][order])
        layers[place + 1] = (layers[place + 1][0][:, order], layers[place + 1][1])
    return chain_of(network.input_shape[0], layers)


def rescaled(network, seed):
    """The same function with each ReLU made larger or smaller, and what it feeds the other way round."""
    layers, g = layers_of(network), torch.Generator().manual_seed(seed)
    for place in range(len(layers) - 1):
        share = 10 ** (4 * torch.rand(len(layers[place][1]), generator=g, dtype=torch.float64) - 2)
        layers[place] = (layers[place][0] * share[:, None], layers[place][1] * share)
        layers[place + 1] = (layers[place + 1][0] / share, layers[place + 1][1])
    return chain_of(network.input_shape[0], layers)


def with_identities(network):
    """The same function with a layer that does nothing after every node but the last, and every ReLU twice."""
    parts = []
    for node, shape in zip(network.nodes[1:], network.shapes[1:], strict=True):
        parts += [(node.operator.weight, node.operator.bias)] if isinstance(node.operator, Linear) else [node.operator, node.operator]
        parts.append((torch.eye(shape[0], dtype=torch.float64), None))
    return chain(network.input_shape[0], *parts[:-1])


def in_two(network, seed):
    """The same function with every linear layer as two, without a activation between them."""
    parts = []
    for place, (weight, bias) in enumerate(layers_of(network)):
        turn = torch.linalg.qr(drawn(seed + place, len(weight), len(weight))).Q
        parts += [(turn.T @ weight, turn.T @ bias), (turn, None), Relu()]
    return chain(network.input_shape[0], *parts[:-1])
