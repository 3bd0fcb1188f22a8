"""Zonotopes: sound on samples, exact where all is affine, tighter than intervals where values are correlated, and those of a second implementation."""

import numpy as np
import pytest
import torch
from certification.networks.small_networks import box, convolution, layers_of, mlp, points_of, residual

from sparring.certification.certificate import Verdict
from sparring.certification.networks.bounds.inputs import InputSet
from sparring.certification.networks.bounds.interval import intervals, margins
from sparring.certification.networks.bounds.zonotope import from_box, zonotope_bounds
from sparring.certification.networks.decide import decide
from sparring.certification.networks.portfolio import portfolio
from sparring.certification.networks.query import Query
from sparring.graph.network import Network, Node
from sparring.graph.operators import Add, Concat, Input, Linear, Product, Relu, Scale, Select, Sigmoid, Tanh


def bending(seed, kind):
    """3 - 5 - activation - 4 - activation - 2, with what goes in beside it, reordered, at the end."""
    g = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    activation = {"sigmoid": Sigmoid, "tanh": Tanh, "relu": Relu}[kind]
    return Network(
        (
            Node(Input((3,))),
            Node(Linear(draw(5, 3), draw(5)), (0,)),
            Node(activation(), (1,)),
            Node(Linear(draw(4, 5), draw(4)), (2,)),
            Node(activation(), (3,)),
            Node(Select(torch.tensor([2, -1, 0])), (0,)),
            Node(Scale(draw(3), draw(3)), (5,)),
            Node(Concat(0), (4, 6)),
            Node(Linear(draw(2, 7), draw(2)), (7,)),
        )
    )


def multiplying(seed):
    """Two layers of the input, multiplied, then a ReLU that is the last node."""
    g = torch.Generator().manual_seed(seed)
    first, second = (Linear(torch.randn(4, 3, generator=g, dtype=torch.float64), torch.randn(4, generator=g, dtype=torch.float64)) for _ in range(2))
    return Network((Node(Input((3,))), Node(first, (0,)), Node(second, (0,)), Node(Product(), (1, 2)), Node(Relu(), (3,))))


def branches(seed):
    """Two layers of the input, each through ReLUs of its own, one taken from the other: errors of the two have nothing to do with each other."""
    g = torch.Generator().manual_seed(seed)
    first = Linear(torch.randn(4, 3, generator=g, dtype=torch.float64), torch.zeros(4, dtype=torch.float64))
    second = Linear(torch.randn(4, 3, generator=g, dtype=torch.float64), torch.zeros(4, dtype=torch.float64))
    minus = Scale(-torch.ones(4, dtype=torch.float64))
    nodes = (Input((3,)), ()), (first, (0,)), (Relu(), (1,)), (second, (0,)), (Relu(), (3,)), (minus, (4,)), (Add(), (2, 5))
    return Network(tuple(Node(*node) for node in nodes))


NETWORKS = {
    "branches": branches,
    "mlp": lambda seed: mlp(seed, [3, 8, 8, 3]),
    "convolution": convolution,
    "residual": residual,
    **{kind: (lambda seed, kind=kind: bending(seed, kind)) for kind in ("sigmoid", "tanh", "relu")},
    "product": multiplying,
}


def around(network, radius, count=4, seed=0):
    g = torch.Generator().manual_seed(seed)
    return box(torch.randn(count, *network.input_shape, generator=g, dtype=torch.float64), radius)


def some_rows(network, count, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, network.outputs, generator=g, dtype=torch.float64)


@pytest.mark.few(40)
@pytest.mark.parametrize("symbols", [0, 2, 6, 2000])
@pytest.mark.parametrize("radius", [0.0, 0.05, 0.5, 3.0])
@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_lies_outside(name, radius, symbols):
    for seed in range(3):
        network = NETWORKS[name](seed)
        inputs, rows = around(network, radius, seed=seed), some_rows(network, 4)
        bounds, lower = zonotope_bounds(network, inputs, rows, symbols=symbols)
        points = points_of(inputs, 200)
        for turn in range(points.shape[1]):
            values = network.values(points[:, turn])
            assert bool((torch.bmm(rows, values[-1].flatten(1)[:, :, None]).squeeze(2) >= lower).all())
            for place, (low, high) in bounds.items():
                assert bool(((values[place] >= low) & (values[place] <= high)).all())


def test_an_affine_network_is_bounded_exactly():
    g = torch.Generator().manual_seed(0)
    first, second = (torch.randn(*shape, generator=g, dtype=torch.float64) for shape in ((6, 3), (2, 6)))
    shortcut = torch.randn(2, 3, generator=g, dtype=torch.float64)
    network = Network((Node(Input((3,))), Node(Linear(first), (0,)), Node(Linear(second), (1,)), Node(Linear(shortcut), (0,)), Node(Add(), (2, 3))))
    inputs, rows = around(network, 0.7), some_rows(network, 4)
    slope = rows @ (second @ first + shortcut)
    exact = torch.bmm(slope, ((inputs.low + inputs.high) / 2)[:, :, None]).squeeze(2) - 0.7 * slope.abs().sum(2)
    lower = zonotope_bounds(network, inputs, rows).lower
    assert torch.allclose(lower, exact, atol=1e-8)
    assert bool((lower <= exact).all())


def test_what_cancels_is_seen_to_cancel():
    """x - x is 0 for a zonotope, and anything up to twice the width for intervals."""
    one, minus = Linear(torch.eye(2, dtype=torch.float64)), Linear(-torch.eye(2, dtype=torch.float64))
    network = Network((Node(Input((2,))), Node(one, (0,)), Node(minus, (0,)), Node(Add(), (1, 2))))
    inputs, rows = around(network, 1.0), torch.ones(4, 1, 2, dtype=torch.float64)
    assert torch.allclose(zonotope_bounds(network, inputs, rows).lower, torch.zeros(4, 1, dtype=torch.float64), atol=1e-8)
    assert bool((margins(network, intervals(network, inputs), rows) < -3.9).all())


@pytest.mark.parametrize("name", ["mlp", "convolution", "residual", "tanh"])
def test_with_small_radii_they_are_tighter_than_intervals(name):
    """On most rows, and on the whole; where a ReLU is open, a zonotope goes below 0 and an interval does not."""
    network = NETWORKS[name](0)
    inputs, rows = around(network, 0.05, 20), some_rows(network, 20)
    won = zonotope_bounds(network, inputs, rows).lower - margins(network, intervals(network, inputs), rows)
    assert float((won > 0).double().mean()) > 0.85
    assert float(won.mean()) > 0.05


def by_hand(network, low, high, row):
    """DeepZ on one box, in NumPy: a centre and a list of generators, a new one for each open ReLU."""
    center, generators = (low + high) / 2, np.diag((high - low) / 2)
    layers = layers_of(network)
    for turn, (weight, bias) in enumerate(layers):
        if turn == len(layers) - 1:
            weight, bias = row @ weight, row @ bias
        center, generators = weight @ center + bias, generators @ weight.T
        if turn == len(layers) - 1:
            return center - np.abs(generators).sum()
        reach = np.abs(generators).sum(0)
        fresh = []
        for place in range(len(center)):
            below, above = center[place] - reach[place], center[place] + reach[place]
            if above <= 0:
                center[place], generators[:, place] = 0.0, 0.0
            elif below < 0:
                share = above / (above - below)
                center[place] = share * center[place] - share * below / 2
                generators[:, place] *= share
                one = np.zeros(len(center))
                one[place] = -share * below / 2
                fresh.append(one)
        generators = np.concatenate([generators, fresh]) if fresh else generators
    raise AssertionError


@pytest.mark.parametrize("seed", range(5))
def test_they_are_those_of_a_second_implementation(seed):
    network = mlp(seed, [3, 8, 8, 3])
    inputs, rows = around(network, 0.3, seed=seed), some_rows(network, 4, seed)
    lower = zonotope_bounds(network, inputs, rows).lower
    for sample in range(4):
        for row in range(3):
            expected = by_hand(network, inputs.low[sample].numpy(), inputs.high[sample].numpy(), rows[sample, row].numpy())
            assert float(lower[sample, row]) == pytest.approx(expected, abs=1e-8)


def test_more_symbols_are_tighter_on_the_whole_and_no_more_are_used_than_asked():
    network = mlp(0, [6, 20, 20, 2])
    inputs, rows = around(network, 0.2, 20), some_rows(network, 20)
    found = [float(zonotope_bounds(network, inputs, rows, symbols=count).lower.mean()) for count in (0, 6, 12, 60)]
    assert found == sorted(found)
    assert found[0] < found[-1] - 0.1
    assert from_box(inputs, 2).symbols.shape[1] == 2


def test_known_bounds_help():
    network = mlp(1, [3, 10, 10, 2])
    inputs, rows = around(network, 0.6), some_rows(network, 4)
    plain = zonotope_bounds(network, inputs, rows)
    point = network.values((inputs.low + inputs.high) / 2)
    narrow = InputSet(inputs.low + 0.3, inputs.high - 0.3)
    known = zonotope_bounds(network, narrow, rows).bounds
    cut = zonotope_bounds(network, inputs, rows, known)
    assert float((cut.lower - plain.lower).mean()) > 0
    assert all(bool((cut.bounds[place].low >= bound.low - 1e-12).all()) for place, bound in known.items())
    assert all(bool(((point[place] >= bound.low) & (point[place] <= bound.high)).all()) for place, bound in cut.bounds.items())


def test_samples_do_not_matter_to_each_other(monkeypatch):
    network = mlp(2, [4, 12, 12, 3])
    inputs, rows = around(network, 0.3, 9), some_rows(network, 9)
    together = zonotope_bounds(network, inputs, rows).lower
    monkeypatch.setattr("sparring.certification.networks.bounds.zonotope.NUMBERS", 1)
    assert torch.allclose(zonotope_bounds(network, inputs, rows).lower, together, atol=1e-9)


def test_the_verifier_proves_what_intervals_do_not_and_is_asked_by_name_only():
    network = mlp(0, [3, 8, 8, 3])
    inputs = around(network, 0.1, 40)
    query = Query.robustness(network, inputs, network(inputs.middle).argmax(1))
    plain, more = decide(query, verifiers=["ibp"]), decide(query, verifiers=["ibp", "zonotope"])
    assert sum(one.verifier == "zonotope" for one in more) > 0
    assert all(one.verdict is Verdict.PROVED for one, before in zip(more, plain, strict=True) if before.verdict is Verdict.PROVED)
    assert "zonotope" not in [one.name for one, _ in portfolio()]


def test_numbers_that_are_none_prove_nothing():
    network = mlp(0, [3, 8, 3])
    inputs = around(network, 0.1)
    weight = network.nodes[1].operator.weight.clone()
    weight[0, 0] = float("nan")
    broken = Network((network.nodes[0], Node(Linear(weight), (0,)), *network.nodes[2:]))
    lower = zonotope_bounds(broken, inputs, some_rows(broken, 4)).lower
    assert not bool((lower > -torch.inf).any())
