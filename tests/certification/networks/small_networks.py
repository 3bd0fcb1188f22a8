"""Small random networks, and truths about them that do not come from the code under test: enumeration, linear programs, sampling."""

import itertools

import numpy as np
import torch
from scipy.optimize import linprog

from sparring.certification.networks.bounds.inputs import InputSet
from sparring.graph.network import Network, Node
from sparring.graph.operators import Add, Conv, Input, Linear, Relu, Reshape


def mlp(seed, sizes):
    """ReLUs between layers of these sizes."""
    g = torch.Generator().manual_seed(seed)
    nodes = [Node(Input((sizes[0],)))]
    for turn, (before, after) in enumerate(itertools.pairwise(sizes)):
        weight = torch.randn(after, before, generator=g, dtype=torch.float64) * (1.5 / before) ** 0.5
        nodes.append(Node(Linear(weight, torch.randn(after, generator=g, dtype=torch.float64) * 0.3), (len(nodes) - 1,)))
        if turn < len(sizes) - 2:
            nodes.append(Node(Relu(), (len(nodes) - 1,)))
    return Network(tuple(nodes))


def convolution(seed):
    """[1, 5, 5] - conv 2 - relu - conv 3 - relu - 3."""
    g = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64) * 0.5

    return Network(
        (
            Node(Input((1, 5, 5))),
            Node(Conv(draw(2, 1, 3, 3), draw(2), (2, 2), (1, 1)), (0,)),
            Node(Relu(), (1,)),
            Node(Conv(draw(3, 2, 2, 2), draw(3)), (2,)),
            Node(Relu(), (3,)),
            Node(Reshape((12,)), (4,)),
            Node(Linear(draw(3, 12), draw(3)), (5,)),
        )
    )


def residual(seed):
    """3 - 4, relu, 4 plus what went in, relu - 2."""
    g = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64) * 0.7

    return Network(
        (
            Node(Input((3,))),
            Node(Linear(draw(4, 3), draw(4)), (0,)),
            Node(Relu(), (1,)),
            Node(Linear(draw(4, 4), draw(4)), (2,)),
            Node(Add(), (1, 3)),
            Node(Relu(), (4,)),
            Node(Linear(draw(2, 4), draw(2)), (5,)),
        )
    )


def needle(depth, width=0.002, at=(0.613, 0.279)):
    """2 - 2: class 1 wins only within `width` of one point: a bump of ReLUs as high as 2 depth above a floor of -depth."""
    point = torch.tensor(at, dtype=torch.float64)
    # |x_i - p_i| as relu(x_i - p_i) + relu(p_i - x_i), then the bump relu(1 - sum / width)
    first = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], dtype=torch.float64)
    shift = torch.stack([-point[0], point[0], -point[1], point[1]])
    second = torch.full((1, 4), -1 / width, dtype=torch.float64)
    third = torch.tensor([[0.0], [2.0 * depth]], dtype=torch.float64)
    return Network(
        (
            Node(Input((2,))),
            Node(Linear(first, shift), (0,)),
            Node(Relu(), (1,)),
            Node(Linear(second, torch.ones(1, dtype=torch.float64)), (2,)),
            Node(Relu(), (3,)),
            Node(Linear(third, torch.tensor([0.0, -depth], dtype=torch.float64)), (4,)),
        )
    )


def box(x, radius):
    return InputSet(x - radius, x + radius)


def points_of(inputs, count, seed=0):
    """[n, count, *in]: random points, half of them corners."""
    g = torch.Generator().manual_seed(seed)
    share = torch.rand(len(inputs), count, *inputs.low.shape[1:], generator=g, dtype=torch.float64)
    share[:, ::2] = share[:, ::2].round()
    return inputs.low[:, None] + (inputs.high - inputs.low)[:, None] * share


def layers_of(network):
    """Weights and biases of an `mlp` as numpy."""
    linear = [node.operator for node in network.nodes if isinstance(node.operator, Linear)]
    return [(one.weight.numpy(), np.zeros(len(one.weight)) if one.bias is None else one.bias.numpy()) for one in linear]


def exact_minimum(network, low, high, row):
    """The least of row . network(x) over one box, for an `mlp` of few ReLUs: a linear program for each pattern of signs."""
    layers = layers_of(network)
    sizes = [len(bias) for _, bias in layers[:-1]]
    best = np.inf
    for pattern in itertools.product((0, 1), repeat=sum(sizes)):
        a, c = np.eye(len(low)), np.zeros(len(low))
        normals, limits = [], []
        used = 0
        for weight, bias in layers[:-1]:
            a, c = weight @ a, weight @ c + bias
            on = np.array(pattern[used : used + len(bias)])
            used += len(bias)
            sign = np.where(on, -1.0, 1.0)
            normals.append(sign[:, None] * a)
            limits.append(-sign * c)
            a, c = on[:, None] * a, on * c
        weight, bias = layers[-1]
        goal, constant = row @ weight @ a, row @ (weight @ c + bias)
        found = linprog(goal, np.concatenate(normals), np.concatenate(limits), bounds=np.stack([low, high], 1), method="highs")
        if found.status == 0:
            best = min(best, found.fun + constant)
    return best


def triangle_minimum(network, low, high, row, bounds):
    """The least of row . output where every ReLU may be anything in its triangle over `bounds` (by node): a linear program."""
    layers = layers_of(network)
    count = len(low) + 2 * sum(len(bias) for _, bias in layers[:-1])
    equal, right, less, less_right = [], [], [], []
    limits = list(zip(low, high, strict=True))
    before, place = np.arange(len(low)), 1
    for weight, bias in layers[:-1]:
        into = np.arange(len(limits), len(limits) + len(bias))
        out = into + len(bias)
        below, above = (edge[0].numpy() for edge in bounds[place])
        for index in range(len(bias)):
            line = np.zeros(count)
            line[before], line[into[index]] = weight[index], -1
            equal.append(line)
            right.append(-bias[index])
            low_, high_ = below[index], above[index]
            steep = high_ / (high_ - low_)
            for slope, shift, sign in ((0.0, 0.0, -1), (1.0, 0.0, -1), (steep, -low_ * steep, 1)):  # y >= 0, y >= z, y <= chord
                line = np.zeros(count)
                if low_ >= 0:
                    slope, shift = 1.0, 0.0
                elif high_ <= 0:
                    slope, shift = 0.0, 0.0
                line[out[index]], line[into[index]] = sign, -sign * slope
                less.append(line)
                less_right.append(sign * shift)
        limits += list(zip(below, above, strict=True)) + [(None, None)] * len(bias)
        before, place = out, place + 2
    weight, bias = layers[-1]
    goal = np.zeros(count)
    goal[before] = row @ weight
    free = [(None, None)] * count
    free[: len(low)] = limits[: len(low)]
    found = linprog(goal, np.array(less), np.array(less_right), np.array(equal), np.array(right), bounds=free, method="highs")
    assert found.status == 0
    return found.fun + row @ bias
