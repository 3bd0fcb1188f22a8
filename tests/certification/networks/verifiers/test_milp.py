"""MILP: exact where everything can be enumerated, never "proved" by a tolerance or by running out of time."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from sparring.certification.certificate import Verdict
from sparring.certification.networks.bounds.crown import preactivation_bounds
from sparring.certification.networks.bounds.inputs import InputSet
from sparring.certification.networks.decide import decide
from sparring.certification.networks.milp_encoding import affine_map, encode_milp
from sparring.certification.networks.query import Query
from sparring.graph.network import Network, Node
from sparring.graph.operators import Add, Concat, Conv, Input, Linear, Relu, Reshape, Scale


def normal(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mlp(seed, inputs=2, hidden=4, outputs=3):
    sizes = [inputs, hidden, hidden, outputs]
    nodes = [Node(Input((inputs,)))]
    for place, (wide, narrow) in enumerate(itertools.pairwise(sizes)):
        nodes.append(Node(Linear(normal(narrow, wide, seed=seed + place), normal(narrow, seed=seed + 10 + place) * 0.3), (len(nodes) - 1,)))
        if place < 2:
            nodes.append(Node(Relu(), (len(nodes) - 1,)))
    return Network(tuple(nodes))


def residual(seed):
    """A convolution, a branch around a ReLU, a concatenation: everything that maps have to follow."""
    return Network(
        (
            Node(Input((1, 4, 4))),
            Node(Conv(normal(2, 1, 3, 3, seed=seed) * 0.5, normal(2, seed=seed + 1), (1, 1), (1, 1)), (0,)),
            Node(Relu(), (1,)),
            Node(Conv(normal(2, 2, 3, 3, seed=seed + 2) * 0.3, None, (1, 1), (1, 1)), (2,)),
            Node(Scale(torch.tensor(-0.5, dtype=torch.float64), torch.tensor(0.1, dtype=torch.float64)), (1,)),
            Node(Add(), (3, 4)),
            Node(Relu(), (5,)),
            Node(Concat(0), (6, 2)),
            Node(Reshape((64,)), (7,)),
            Node(Linear(normal(3, 64, seed=seed + 3) * 0.3, normal(3, seed=seed + 4)), (8,)),
        )
    )


def worst(network, low, high, row):
    """The least of row . output on a box, over all activation patterns of a network of two hidden layers, by linear programs."""
    w = [node.operator.weight.numpy() for node in network.nodes if isinstance(node.operator, Linear)]
    b = [node.operator.bias.numpy() for node in network.nodes if isinstance(node.operator, Linear)]
    least = np.inf
    for pattern in itertools.product((0, 1), repeat=len(b[0]) + len(b[1])):
        first, second = np.array(pattern[: len(b[0])]), np.array(pattern[len(b[0]) :])
        one = first[:, None] * w[0], first * b[0]
        two = w[1] @ one[0], w[1] @ one[1] + b[1]
        out = w[2] @ (second[:, None] * two[0]), w[2] @ (second * two[1]) + b[2]
        signs = np.where(np.concatenate([first, second]) == 1, -1, 1)
        above, limit = signs[:, None] * np.concatenate([w[0], two[0]]), -signs * np.concatenate([b[0], two[1]])
        found = linprog(row @ out[0], above, limit, bounds=np.stack([low, high], 1), method="highs")
        if found.status == 0:
            least = min(least, found.fun + row @ out[1])
    return least


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.1, 0.4, 1.0]))
def test_decisions_are_those_of_enumeration(seed, radius):
    network = mlp(seed)
    x = normal(1, 2, seed=seed + 50)
    y = network(x).argmax(1)
    query = Query.robustness(network, InputSet(x - radius, x + radius), y)
    true = min(worst(network, (x - radius)[0].numpy(), (x + radius)[0].numpy(), row) for row in query.constraints[0].numpy())
    (answer,) = decide(query, verifiers=["ibp", "crown", "milp"])
    if abs(true) > 1e-4:
        assert answer.verdict is (Verdict.PROVED if true > 0 else Verdict.REFUTED)
    elif true < -1e-7:
        assert answer.verdict is not Verdict.PROVED


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([mlp, residual]))
def test_maps_compute_the_network(seed, make):
    """Values of ReLUs put into the maps give what goes into the next nodes, and the MILP holds at every point of the box."""
    network = make(seed)
    x = normal(3, *network.input_shape, seed=seed) * 0.5
    values = network.values(x)
    last = len(network.nodes) - 1
    for start in (*(network.nodes[activation].inputs[0] for activation in network.nonlinearities), last):
        found = affine_map(network, start)
        total = found.constant + sum(values[place].flatten(1).numpy() @ matrix.T.toarray() for place, matrix in found.matrices.items())
        assert np.allclose(total, values[start].flatten(1).numpy(), atol=1e-10)
    box = InputSet(x - 0.3, x + 0.3)
    bounds = preactivation_bounds(network, box)
    for sample in range(3):
        own = {place: bound.take(torch.tensor([sample])) for place, bound in bounds.items()}
        exact = encode_milp(network, box.low[sample], box.high[sample], own)
        inside = network.values(box.low[sample : sample + 1] + 0.6 * torch.rand(1, *network.input_shape, dtype=torch.float64))
        v = np.full(len(exact.low), np.nan)
        for place, columns in exact.columns.items():
            v[columns[columns >= 0]] = (inside[place].flatten().numpy() / exact.scales[place])[columns >= 0]
        for activation in network.nonlinearities:
            z = inside[network.nodes[activation].inputs[0]].flatten().numpy()
            open_ = (own[network.nodes[activation].inputs[0]].low.flatten() < 0) & (own[network.nodes[activation].inputs[0]].high.flatten() > 0)
            switches = exact.columns[activation].max() + 1 + np.arange(int(open_.sum()))
            v[switches] = (z[open_.numpy()] > 0).astype(float)
        assert np.isfinite(v).all()
        assert (v >= exact.low - 1e-9).all()
        assert (v <= exact.high + 1e-9).all()
        rows = exact.rows @ v
        assert (rows >= exact.row_low - 1e-9).all()
        assert (rows <= exact.row_high + 1e-9).all()


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3))])
def test_the_relaxation_is_between_crown_and_the_truth(seed):
    network = mlp(seed, hidden=5)
    x = normal(1, 2, seed=seed + 7)
    box = InputSet(x - 0.5, x + 0.5)
    from sparring.certification.networks.bounds.crown import lower, relaxations

    bounds = preactivation_bounds(network, box)
    exact = encode_milp(network, box.low[0], box.high[0], bounds)
    for row in np.eye(3):
        costs, constant = exact.objective(network, len(network.nodes) - 1, row)
        bound = exact.least(costs)[0] + constant
        crown = float(lower(network, box, len(network.nodes) - 1, torch.from_numpy(row)[None, None], relaxations(network, bounds)))
        assert crown <= bound + 1e-7
        assert bound <= worst(network, box.low[0].numpy(), box.high[0].numpy(), row) + 1e-9


def test_a_bound_does_not_depend_on_good_multipliers(monkeypatch):
    """Whatever multipliers the solver returns, the bound computed from them holds."""
    import sparring.certification.networks.milp_encoding as module

    network = mlp(3)
    x = normal(1, 2, seed=1)
    box = InputSet(x - 0.5, x + 0.5)
    exact = encode_milp(network, box.low[0], box.high[0], preactivation_bounds(network, box))
    row = np.array([1.0, -1.0, 0.0])
    costs, constant = exact.objective(network, len(network.nodes) - 1, row)
    true = worst(network, box.low[0].numpy(), box.high[0].numpy(), row)
    solve, rng = module.linprog, np.random.default_rng(0)

    def lying(*arguments, **options):
        found = solve(*arguments, **options)
        for part in (found.ineqlin, found.eqlin):
            part.marginals = part.marginals + rng.normal(size=len(part.marginals))
        return found

    monkeypatch.setattr(module, "linprog", lying)
    for _ in range(50):
        assert exact.least(costs)[0] + constant <= true + 1e-9


def test_no_time_is_unknown_and_says_so():
    network = mlp(5, inputs=6, hidden=30)
    x = normal(1, 6, seed=2)
    query = Query.robustness(network, InputSet(x - 0.3, x + 0.3), network(x).argmax(1))
    (answer,) = decide(query, verifiers={"ibp": {}, "milp": {"seconds": 1e-3}})
    assert answer.verdict is Verdict.UNKNOWN
    assert answer.reason.startswith("time")


def test_too_many_open_signs_are_left_alone():
    network = mlp(5, inputs=6, hidden=30)
    x = normal(1, 6, seed=2)
    query = Query.robustness(network, InputSet(x - 3, x + 3), network(x).argmax(1))
    (answer,) = decide(query, verifiers={"ibp": {}, "milp": {"most": 3}})
    assert answer.reason.startswith("size")
