"""Planted truth: networks whose worst case is known by construction, and answers that may not contradict it, whatever the method."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch
from certification.networks.small_networks import box, exact_minimum, mlp
from certification.networks.varied_networks import chain, drawn, layers_of, rescaled
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sparring.certification.certificate import Certificate, Verdict
from sparring.certification.certifier import Certifier
from sparring.certification.certify import certified_radius, certify
from sparring.certification.networks.bounds.crown import preactivation_bounds
from sparring.certification.networks.bounds.execution import rounding_errors
from sparring.certification.networks.bounds.inputs import InputSet
from sparring.certification.networks.bounds.interval import Interval
from sparring.certification.networks.bounds.relax import relaxation
from sparring.certification.networks.bounds.threat import input_set
from sparring.certification.networks.decide import decide
from sparring.certification.networks.lipschitz import constants
from sparring.certification.networks.milp_encoding import encode_milp
from sparring.certification.networks.portfolio import EFFORTS, at_effort
from sparring.certification.networks.query import Query
from sparring.certification.networks.state import VerificationState
from sparring.certification.smoothing.smoothed import smoothed
from sparring.core.threat import Threat
from sparring.domains.image import Image
from sparring.graph.network import Network, Node
from sparring.graph.operators import Add, Input, Linear, Relu, Select, Sigmoid, Tanh
from sparring.models.torch import TorchVictim
from sparring.threats.balls import L1, L2, Linf
from sparring.threats.goals import Untargeted

PORTFOLIOS = {
    **{effort: at_effort(effort) for effort in EFFORTS},
    "thorough": {**at_effort("thorough"), "input_split": {"boxes": 500}, "relu_split": {"domains": 100}},
    "splits of inputs": {"ibp": {}, "crown": {}, "input_split": {"boxes": 500}},
    "splits of signs": {"ibp": {}, "crown": {}, "relu_split": {"domains": 100}},
    "milp": {"ibp": {}, "crown": {}, "milp": {}},
}
portfolios = pytest.mark.parametrize("portfolio", sorted(PORTFOLIOS))


def tensor(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def positive(network, inputs):
    """The query whether the only output is above 0 everywhere."""
    count = len(inputs)
    return Query(
        network, inputs, torch.ones(count, 1, 1, dtype=torch.float64), torch.zeros(count, 1, dtype=torch.float64), torch.zeros(count, 1, dtype=torch.int64)
    )


def answers(network, inputs, portfolio):
    return decide(positive(network, inputs), verifiers=PORTFOLIOS[portfolio])


def pit(at, width, depth=1.0, height=1.0):
    """`height` everywhere but within `width` (L1) of a hidden point, where it falls to height - depth."""
    count = len(at)
    eye = torch.eye(count, dtype=torch.float64)
    return chain(
        count,
        (torch.cat([eye, -eye]), torch.cat([-at, at])),
        Relu(),
        (torch.full((1, 2 * count), -1 / width, dtype=torch.float64), torch.ones(1, dtype=torch.float64)),
        Relu(),
        (tensor([-depth]), tensor(height)),
    )


@pytest.mark.few(12)
@portfolios
@pytest.mark.parametrize(("count", "width"), [(1, 1e-3), (2, 1e-6), (2, 0.05), (5, 1e-2), (12, 1e-4)])
def test_a_needle_inside_is_never_proved_away(portfolio, count, width):
    at = drawn(count, count, scale=0.3).clamp(-0.9, 0.9)
    network = pit(at, width, depth=2.0)
    assert float(network(at[None])) == pytest.approx(-1.0)
    inputs = InputSet(-torch.ones(1, count, dtype=torch.float64), torch.ones(1, count, dtype=torch.float64))
    (answer,) = answers(network, inputs, portfolio)
    assert answer.verdict is not Verdict.PROVED
    small = box(at[None], width / 100)  # nothing else in it
    assert answers(network, small, portfolio)[0].verdict is not Verdict.PROVED
    if portfolio == "thorough":
        assert answers(network, small, portfolio)[0].verdict is Verdict.REFUTED


@pytest.mark.parametrize("portfolio", ["splits of inputs", "splits of signs", "milp"])
def test_a_needle_just_outside_is_none(portfolio):
    """In the first input it stands 1.01 widths beyond the edge."""
    network = pit(tensor(1.0101, 0.2), 0.01, depth=2.0)
    inputs = InputSet(tensor([-1.0, -1.0]), tensor([1.0, 1.0]))
    assert answers(network, inputs, portfolio)[0].verdict is Verdict.PROVED
    closer = pit(tensor(1.004, 0.2), 0.01, depth=2.0)  # 0.4 widths: a value of -0.2 at the edge
    assert float(closer(tensor([1.0, 0.2]))) == pytest.approx(-0.2)
    assert answers(closer, inputs, portfolio)[0].verdict is not Verdict.PROVED


@portfolios
@pytest.mark.parametrize("count", [2, 6])
def test_one_bad_corner(portfolio, count):
    """Above 0 but for the neighbourhood of one vertex of the box; at the other vertices as much as anywhere."""
    side = drawn(count, count).sign()
    depth = 0.01
    network = chain(
        count,
        (torch.diag(side), torch.full((count,), depth - 1.0, dtype=torch.float64)),
        Relu(),
        (torch.full((1, count), -1.0, dtype=torch.float64), tensor(count * depth * 0.999)),
    )
    inputs = InputSet(-torch.ones(1, count, dtype=torch.float64), torch.ones(1, count, dtype=torch.float64))
    assert float(network(side[None])) < 0
    (answer,) = answers(network, inputs, portfolio)
    assert answer.verdict is not Verdict.PROVED
    if portfolio != "bounds":
        assert answer.verdict is Verdict.REFUTED
    smaller = InputSet(inputs.low, torch.where(side > 0, 0.99, 1.0)[None].to(torch.float64))
    if bool((side > 0).any()):
        assert answers(network, smaller, portfolio)[0].verdict is not Verdict.REFUTED


def steps(values, sharp=1e-4):
    """[cells, cells] values on a grid of unit cells from 0, 0: constant but for ramps of width `sharp` at the lines,
    where it never falls below the least nearby (or 0)."""
    cells = len(values)
    edges = torch.arange(1, cells, dtype=torch.float64)
    first, shift = [], []
    for axis, edge in itertools.product((0, 1), edges):
        for beyond in (0.0, sharp):
            row = torch.zeros(2, dtype=torch.float64)
            row[axis] = 1 / sharp
            first.append(row)
            shift.append(-(edge + beyond - sharp / 2) / sharp)
    # over(axis, i) = relu(..) - relu(.. - 1): 0 below line i, 1 above; in cell c where over(c) - over(c + 1) = 1
    half = 2 * (cells - 1)
    second, corner = torch.zeros(cells * cells, 2 * half, dtype=torch.float64), torch.zeros(cells * cells, dtype=torch.float64)
    for place, cell in enumerate(itertools.product(range(cells), repeat=2)):
        corner[place] = -1.0
        for axis, one in enumerate(cell):
            if one == 0:
                corner[place] += 1.0
            else:
                second[place, axis * half + 2 * (one - 1)] += 1.0
                second[place, axis * half + 2 * (one - 1) + 1] -= 1.0
            if one < cells - 1:
                second[place, axis * half + 2 * one] -= 1.0
                second[place, axis * half + 2 * one + 1] += 1.0
    return chain(2, (torch.stack(first), torch.stack(shift)), Relu(), (second, corner), Relu(), (values.reshape(1, -1), tensor(0.5)))


@pytest.mark.parametrize("seed", range(3))
def test_a_lattice_of_steps(seed):
    """Cells of value 1 or -1 on a floor of 0.5: unsafe where a cell of -1 is entered, which is read off the grid."""
    values = torch.where(torch.rand(3, 3, generator=torch.Generator().manual_seed(seed)) < 0.3, -1.0, 1.0).double()
    network = steps(values)
    for x, y in itertools.product(range(3), repeat=2):
        assert float(network(tensor([x + 0.5, y + 0.5]))) == pytest.approx(0.5 + float(values[x, y]))
    g = torch.Generator().manual_seed(seed)
    ends = (torch.rand(8, 2, 2, generator=g, dtype=torch.float64) * 3).sort(dim=1).values
    ends = torch.where((ends - ends.round()).abs() < 0.01, ends + 0.02, ends)
    inputs = InputSet(ends[:, 0], ends[:, 1])
    decided = 0
    for portfolio in ("quick", "milp", "splits of inputs"):
        for low, high, answer in zip(inputs.low, inputs.high, answers(network, inputs, portfolio), strict=True):
            touched = values[int(low[0]) : int(high[0]) + 1, int(low[1]) : int(high[1]) + 1]
            assert answer.verdict is not (Verdict.PROVED if bool((touched < 0).any()) else Verdict.REFUTED)
            decided += answer.verdict is not Verdict.UNKNOWN
    assert decided >= 20


def exact(network, x):
    """The only output at one point in rational arithmetic."""
    values = [Fraction(float(one)) for one in x]
    for node in network.nodes[1:]:
        if isinstance(node.operator, Relu):
            values = [max(one, Fraction(0)) for one in values]
        else:
            bias = [Fraction(0)] * len(node.operator.weight) if node.operator.bias is None else [Fraction(float(one)) for one in node.operator.bias]
            values = [sum((Fraction(float(w)) * v for w, v in zip(row, values, strict=True)), b) for row, b in zip(node.operator.weight, bias, strict=True)]
    return values[0]


def lowered(network, x):
    """The same network with a last bias for which the output at x is 0 or just below, in rational arithmetic."""
    last = network.nodes[-1].operator
    bias = float(last.bias) - float(exact(network, x))
    while True:
        made = Network((*network.nodes[:-1], Node(Linear(last.weight, tensor(bias)), network.nodes[-1].inputs)))
        if exact(made, x) <= 0:
            return made
        bias = float(np.nextafter(bias, -np.inf))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.sampled_from([(3, 1), (4, 5, 1), (3, 4, 4, 1)]), st.sampled_from([0.0, 1e-12, 0.1]))
def test_ties_are_never_proved(seed, sizes, radius):
    """The output is 0 or less by a rounding at one point of the box, in rational arithmetic."""
    network = mlp(seed, sizes)
    x = drawn(seed + 1, 1, sizes[0])
    inputs = box(x, radius)
    weight = network.nodes[1].operator.weight
    at = torch.where(weight.sum(0) > 0, inputs.low[0], inputs.high[0])  # the least of one linear layer, some corner for others
    network = lowered(network, at)
    for portfolio in ("bounds", "quick"):
        assert answers(network, inputs, portfolio)[0].verdict is not Verdict.PROVED


def test_ties_of_one_layer_are_never_proved_by_intervals():
    """Points at which a sum is 0 or less in rational arithmetic, and often above 0 in float64."""
    above = 0
    for seed in range(200):
        network, x = mlp(seed, (6, 1)), drawn(seed + 1, 1, 6)
        weight, bias = layers_of(lowered(network, x[0]))[0]
        alone = chain(7, (torch.cat([weight, bias[None]], 1), None))  # the bias as the weight of an input that is 1
        x = torch.cat([x, torch.ones(1, 1, dtype=torch.float64)], 1)
        above += float(alone(x)) > 0
        assert exact(alone, x[0]) <= 0
        assert decide(positive(alone, InputSet(x, x)), verifiers=["ibp"])[0].verdict is not Verdict.PROVED
    assert above > 0


@portfolios
def test_what_touches_zero_is_not_safe(portfolio):
    """|x - 0.1| + |y| as ReLUs, 0 at one point only."""
    first = tensor([1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0])
    network = chain(2, (first, tensor(-0.1, 0.1, 0.0, 0.0)), Relu(), (tensor([1.0, 1.0, 1.0, 1.0]), None))
    inputs = InputSet(tensor([-1.0, -1.0]), tensor([1.0, 1.0]))
    assert answers(network, inputs, portfolio)[0].verdict is not Verdict.PROVED


@portfolios
def test_constant_networks(portfolio):
    """Weights of 0, neurons that never fire, and a sum of equal parts with opposite signs: the answer is that of the constant."""
    dead = chain(2, (tensor([1.0, 1.0], [1.0, -1.0]), tensor(-9.0, -9.0)), Relu())
    nothing = chain(2, (torch.zeros(2, 2, dtype=torch.float64), None))
    for value, verdicts in ((1e-3, {Verdict.PROVED}), (0.0, {Verdict.REFUTED, Verdict.UNKNOWN}), (-1e-3, {Verdict.REFUTED, Verdict.UNKNOWN})):
        for begin in (dead, nothing):
            network = Network((*begin.nodes, Node(Linear(tensor([1.0, -2.0]), tensor(value)), (len(begin.nodes) - 1,))))
            inputs = InputSet(tensor([-1.0, -1.0]), tensor([1.0, 1.0]))
            assert answers(network, inputs, portfolio)[0].verdict in verdicts


@portfolios
def test_inputs_given_twice(portfolio):
    """relu(x) - relu(x copied) is 0 wherever x is: intervals do not see it, exact methods do."""
    nodes = (
        Node(Input((1,))),
        Node(Select(torch.tensor([0, 0])), (0,)),
        Node(Relu(), (1,)),
    )
    inputs = InputSet(tensor([-1.0]), tensor([1.0]))
    for value in (0.0, 0.25):
        network = Network((*nodes, Node(Linear(tensor([1.0, -1.0]), tensor(value)), (2,))))
        (answer,) = answers(network, inputs, portfolio)
        assert answer.verdict is not (Verdict.REFUTED if value else Verdict.PROVED)
        if value and "splits" in portfolio:
            assert answer.verdict is Verdict.PROVED


@portfolios
@pytest.mark.parametrize("seed", range(4))
def test_a_set_of_one_point_has_the_sign_of_the_network(portfolio, seed):
    network = mlp(seed, (3, 6, 5, 1))
    x = drawn(seed + 5, 6, 3)
    for value, answer in zip(network(x).squeeze(1).tolist(), answers(network, InputSet(x, x), portfolio), strict=True):
        assert answer.verdict is (Verdict.PROVED if value > 0 else answer.verdict)
        assert value > 0 or answer.verdict is not Verdict.PROVED


@pytest.mark.parametrize("activation", [Sigmoid(), Tanh()])
@pytest.mark.parametrize("steep", [1.0, 1e3, 1e6])
def test_saturated_activations(activation, steep):
    """steep (x - 0.3) through a activation, above its middle: the sign changes at 0.3, however steep."""
    middle = 0.5 if isinstance(activation, Sigmoid) else 0.0
    network = chain(1, (tensor([steep]), tensor(-0.3 * steep)), activation, (tensor([1.0]), tensor(-middle)))
    for low, high, safe in ((0.31, 0.9, True), (0.3, 0.9, False), (0.2999, 5.0, False), (-5.0, 0.2, False)):
        for portfolio in ("bounds", "quick", "thorough"):
            (answer,) = answers(network, InputSet(tensor([low]), tensor([high])), portfolio)
            assert answer.verdict is not (Verdict.REFUTED if safe else Verdict.PROVED)
            assert not safe or answer.verdict is Verdict.PROVED


@pytest.mark.parametrize("activation", [Sigmoid(), Tanh()])
def test_what_saturation_hides_is_not_proved(activation):
    """Below its limit by less than float64 can hold, so not above it."""
    network = chain(1, (tensor([1.0]), None), activation, (tensor([1.0]), tensor(-1.0)))
    for portfolio in ("bounds", "quick", "thorough"):
        assert answers(network, InputSet(tensor([50.0]), tensor([900.0])), portfolio)[0].verdict is not Verdict.PROVED


@settings(max_examples=6, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.sampled_from([1e8, 1e-8]))
def test_huge_and_tiny_weights(seed, share):
    """One layer times a number, the next one divided by it: the same truth, by enumeration on the plain network."""
    plain = mlp(seed, (2, 4, 3, 1))
    layers = layers_of(rescaled(plain, seed))
    layers[0] = (layers[0][0] * share, layers[0][1] * share)
    layers[1] = (layers[1][0] / share, layers[1][1])
    least = exact_minimum(plain, -np.ones(2), np.ones(2), np.ones(1))
    inputs = InputSet(tensor([-1.0, -1.0]), tensor([1.0, 1.0]))
    for gap in (1e-3, -1e-3):
        last = (layers[-1][0], layers[-1][1] - least + gap)
        network = chain(2, layers[0], Relu(), layers[1], Relu(), last)
        for portfolio in ("quick", "milp"):
            (answer,) = answers(network, inputs, portfolio)
            assert answer.verdict is not (Verdict.REFUTED if gap > 0 else Verdict.PROVED)


# the user's own models


def victim_of(*layers, shape=(1, 1, 2)):
    return TorchVictim(nn.Sequential(nn.Flatten(), *layers).double(), Image(shape), search="plain")


def filled(weight, bias):
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight.data, layer.bias.data = weight.clone(), bias.clone()
    return layer


@pytest.mark.parametrize(("space", "dual"), [(Linf, 1), (L2, 2), (L1, np.inf)])
def test_the_distance_to_the_nearest_of_some_planes(space, dual):
    """A linear classifier: the least over rivals of margin / dual norm of the difference of their rows."""
    weight = drawn(3, 4, 6)
    bias = -0.5 * weight.sum(1)  # all tie at the middle of the image, and near it the planes are near
    victim = victim_of(filled(weight, bias), shape=(1, 2, 3))
    x = 0.5 + drawn(5, 5, 1, 2, 3, scale=0.05)
    scores = x.flatten(1) @ weight.T + bias
    y = scores.argmax(1)
    gaps = scores.gather(1, y[:, None]) - scores
    sizes = torch.linalg.vector_norm(weight[y][:, None] - weight[None], ord=dual, dim=2)
    radius = torch.where(sizes > 0, gaps / sizes.clamp_min(1e-300), torch.inf).amin(1)
    assert (radius < 0.3).all()  # within the bounds of the image
    found = certified_radius(victim, x, y, Threat(space(0.3), Untargeted()), ["network"], steps=12)
    reached = torch.tensor([one.radius for one in found], dtype=torch.float64)
    assert (reached <= radius + 1e-12).all()
    assert (reached >= radius - 1e-3).all()
    beyond = certify(victim, x, y, Threat(space(radius * 1.001), Untargeted()), ["network"])
    assert not beyond.proved.any()


def test_monotone_networks_reach_the_corner():
    """Weights of at least 0: the worst point of a Linf ball is its lowest corner, where the radius is found by bisection."""
    first, second, last = drawn(1, 8, 4).abs(), drawn(2, 5, 8).abs(), drawn(3, 1, 5).abs()
    low = [drawn(4, 8, scale=0.3), drawn(5, 5, scale=0.3)]

    def rise(x):
        return ((x @ first.T + low[0]).relu() @ second.T + low[1]).relu() @ last.T

    x = 0.6 + 0.1 * torch.rand(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    threshold = float(rise(x - 0.1).max())
    out = (torch.cat([torch.zeros(1, 5, dtype=torch.float64), last]), tensor(threshold, 0.0))
    victim = victim_of(filled(first, low[0]), nn.ReLU(), filled(second, low[1]), nn.ReLU(), filled(*out), shape=(1, 2, 2))
    near, far = torch.zeros(4, 1, dtype=torch.float64), torch.full((4, 1), 0.5, dtype=torch.float64)
    for _ in range(60):
        middle = (near + far) / 2
        above = rise(x - middle) > threshold
        near, far = torch.where(above, middle, near), torch.where(above, far, middle)
    found = certified_radius(victim, x.reshape(4, 1, 2, 2), torch.ones(4, dtype=torch.int64), Threat(Linf(0.5), Untargeted()), ["network"], steps=10)
    reached = torch.tensor([one.radius for one in found], dtype=torch.float64)
    assert (reached <= far.squeeze(1) + 1e-12).all()
    assert (reached >= near.squeeze(1) - 2e-3).all()


class Deaf(nn.Module):
    def forward(self, x):
        return torch.tensor([[1.0, 0.0]], dtype=x.dtype).expand(len(x), 2)


def test_a_model_that_ignores_its_input_is_decided_or_open_with_a_reason():
    victim = TorchVictim(Deaf(), Image((1, 1, 2)), search="plain")
    x = torch.full((2, 1, 1, 2), 0.5)
    for one, wrong in zip(certify(victim, x, torch.tensor([0, 1]), Threat(Linf(0.5), Untargeted()), ["network"]), (False, True), strict=True):
        assert one.verdict is not (Verdict.PROVED if wrong else Verdict.REFUTED)
        assert one.verdict is not Verdict.UNKNOWN or "input" in one.reason


# single parts


@pytest.mark.parametrize("activation", [Relu(), Sigmoid(), Tanh()])
def test_lines_of_activations_hold(activation):
    """On intervals of all kinds: on either side of 0, across it, a point, long ones."""
    edges = torch.tensor([-300.0, -8.0, -2.0, -0.3, 0.0, 1e-9, 0.7, 3.0, 40.0], dtype=torch.float64)
    pairs = torch.combinations(edges, 2, with_replacement=True)
    low, high = pairs[:, :1], pairs[:, 1:]
    lines = relaxation(activation, [Interval(low, high)])
    x = low + (high - low) * torch.linspace(0, 1, 1001, dtype=torch.float64)
    value = activation(x)
    for slope, shift, sign in ((lines.lower_slope, lines.lower_shift, 1), (lines.upper_slope, lines.upper_shift, -1)):
        line = slope[:, 0] * x + (0.0 if shift is None else shift[:, 0])
        assert (sign * (value - line) >= -1e-9).all()
    if not isinstance(activation, Relu):  # on short ones they are near
        short = relaxation(activation, [Interval(edges[:, None], edges[:, None] + 1e-3)])
        gap = (short.upper_slope - short.lower_slope).squeeze() * edges + (short.upper_shift - short.lower_shift).squeeze()
        assert (gap < 1e-5).all()
        across = relaxation(activation, [Interval(tensor([-2.0]), tensor([3.0]))])  # the tangent from one end touches there
        for slope, shift, end in ((across.upper_slope, across.upper_shift, -2.0), (across.lower_slope, across.lower_shift, 3.0)):
            assert float(slope) * end + float(shift) == pytest.approx(float(activation(tensor(end))), abs=1e-9)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.sampled_from([Linf, L2, L1]), st.integers(0, 10_000), st.sampled_from([0.0, 1e-6, 0.03, 0.3, 2.0]), st.sampled_from([torch.float32, torch.float64]))
def test_input_sets_hold_whatever_counts_as_inside(space, seed, radius, kind):
    """Points moved outward number by number as long as the region still lets them pass lie in the set."""
    domain, x = Image((1, 2, 2)), torch.rand(3, 1, 2, 2, generator=torch.Generator().manual_seed(seed)).to(kind)
    ball = space(radius)
    region, inputs = ball.around(x, domain), input_set(ball, x, domain)
    g = torch.Generator().manual_seed(seed)
    way = (torch.rand(3, 1, 2, 2, generator=g, dtype=torch.float64) * 2 - 1).to(kind)
    way = way.sign() if space is Linf else way
    near, far = torch.zeros(3, 1, 1, 1, dtype=kind), torch.full((3, 1, 1, 1), 4.0, dtype=kind)
    for _ in range(70):
        middle = (near + far) / 2
        passes = region.inside((x + way * middle).clamp(0, 1)).reshape(3, 1, 1, 1)
        near, far = torch.where(passes, middle, near), torch.where(passes, far, middle)
    edge = (x + way * near).clamp(0, 1)
    assert inputs.contains(edge.double())[region.inside(edge)].all()
    assert inputs.contains(x.double()).all()


def test_rounding_covers_a_large_bias():
    """x / 3 + 10000 rounds by as much as 10000 does."""
    network = chain(1, (tensor([float(np.float32(1 / 3))]), tensor(10000.0)))
    x = torch.linspace(0, 1, 5001, dtype=torch.float64)[:, None].float().double()
    off = (network.to(torch.float32)(x.float()).double() - network(x)).abs().max()
    allowed = rounding_errors(network, InputSet(tensor([0.0]), tensor([1.0])))[1]
    assert 1e-4 < float(off) <= float(allowed)
    assert float(allowed) < 1e-2


def test_disjuncts_by_hand():
    """Unsafe where y0 <= 0 and y1 <= 0, or where y2 <= 0."""
    network = chain(3, (torch.eye(3, dtype=torch.float64), None))
    x = tensor([1.0, -1.0, 1.0], [-1.0, -1.0, 1.0], [1.0, 1.0, -1.0], [-1.0, -2.0, -1.0], [float("nan"), -1.0, 1.0], [1.0, 1.0, float("nan")])
    rows = torch.eye(3, dtype=torch.float64).expand(6, 3, 3)
    query = Query(network, InputSet(x, x), rows, torch.zeros(6, 3, dtype=torch.float64), torch.tensor([0, 0, 1]).expand(6, 3))
    values = query.at(x.nan_to_num())
    assert query.margin(torch.where(x.isnan(), x, values)).tolist() == [1.0, -1.0, -1.0, -1.0, -1.0, -float("inf")]
    assert query.settled(values)[:4].tolist() == [[True, True, True], [False, False, True], [True, True, False], [False, False, False]]
    robust = Query.robustness(network, InputSet(x[:1], x[:1]), torch.tensor([1]))
    assert robust.at(x[:1]).tolist() == [[-2.0, -2.0]]
    assert robust.settled(tensor([0.5, -0.5])).tolist() == [[True, False]]
    assert robust.margin(tensor([0.5, float("nan")])).tolist() == [-float("inf")]
    target = Query.reaching(network, InputSet(x[:1], x[:1]), torch.tensor([1]))
    for y, reached in (([0.0, 1.0, 2.0], False), ([0.0, 3.0, 2.0], True), ([2.0, 2.0, 1.0], True)):
        assert (float(target.margin(target.at(tensor(y)))) <= 0) is reached


def test_nothing_is_proved_by_zero_or_by_numbers_that_are_none():
    network = chain(1, (tensor([1.0]), None))
    query = positive(network, InputSet(torch.zeros(5, 1, dtype=torch.float64), torch.ones(5, 1, dtype=torch.float64)))
    state = VerificationState(query)
    state.improve(tensor([0.0], [float("nan")], [float("inf")], [-float("inf")], [1e-3]))
    assert [one is not None for one in state.answers] == [False, False, False, False, True]
    assert state.answers[4].verdict is Verdict.PROVED


def test_a_counterexample_is_asked_of_the_model():
    network = chain(1, (tensor([1.0]), None))
    query = positive(network, InputSet(tensor([-1.0], [-1.0], [0.5]), torch.ones(3, 1, dtype=torch.float64)))
    points = tensor([-0.5], [-0.5], [-0.5])  # the third lies outside its set
    state = VerificationState(query, lambda x, places: places == 1)
    state.refute(points)
    assert [one is not None for one in state.answers] == [False, True, False]
    state = VerificationState(query, lambda x, places: torch.ones(len(x), dtype=torch.bool))
    state.refute(points)
    assert [one is not None for one in state.answers] == [True, True, False]


def test_no_time_proves_nothing():
    """A MILP whose solver is stopped at once says that it does not know."""
    network = mlp(3, (8, 60, 60, 1))
    inputs = InputSet(-torch.ones(1, 8, dtype=torch.float64), torch.ones(1, 8, dtype=torch.float64))
    bounds = preactivation_bounds(network, inputs)
    written = encode_milp(network, inputs.low[0], inputs.high[0], bounds)
    costs, constant = written.objective(network, len(network.nodes) - 1, np.ones(1))
    least = float(network(torch.rand(1, 2000, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)[0] * 2 - 1).min())
    empty, _ = written.empty(costs[None], np.array([least - 0.2 - constant]), 1e-3)
    assert empty is None


def test_constants_of_sums_and_planes():
    """x + 2 x is three times as steep as x; a Lipschitz constant of it may not be less."""
    nodes = (
        Node(Input((2,))),
        Node(Linear(torch.eye(2, dtype=torch.float64)), (0,)),
        Node(Linear(2 * torch.eye(2, dtype=torch.float64)), (0,)),
        Node(Add(), (1, 2)),
        Node(Linear(tensor([1.0, 0.0], [0.0, 1.0])), (3,)),
    )
    _, pairs = constants(Network(nodes))
    assert float(pairs[0, 1]) >= 3 * 2**0.5


def test_the_better_of_two_answers():
    """What a later method leaves open does not undo what is known."""
    victim = victim_of(filled(tensor([1.0, 0.0], [0.0, 1.0]), tensor(0.0, 0.0)))

    def saying(*given):
        return Certifier("saying", lambda victim, x, y, threat, rng, *, seconds=None: list(given)[: len(x)], lambda victim, threat: "", "nobody", 1, False)

    x, y, threat = torch.tensor([[[[0.9, 0.1]]]]), torch.tensor([0]), Threat(Linf(0.1), Untargeted())
    open_ = [Certificate(Verdict.UNKNOWN, radius=radius, reason="far") for radius in (0.05, 0.02)]
    (found,) = certify(victim, x, y, threat, [saying(open_[0]), saying(open_[1])])
    assert found.radius == 0.05
    (found,) = certify(victim, x, y, threat, [saying(open_[1]), saying(open_[0])])
    assert found.radius == 0.05
    (found,) = certify(victim, x, y, threat, [saying(open_[0]), saying(Certificate(Verdict.PROVED, radius=0.1))])
    assert found.proved


def test_wrong_labels_are_never_proved():
    """Each class claimed in turn, at every effort: only the class that is predicted can be proved."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    with torch.no_grad():
        for place, parameter in enumerate(net.parameters()):
            parameter.copy_(drawn(place, *parameter.shape))
    victim, x = TorchVictim(net, Image((1, 2, 2)), search="plain"), torch.rand(6, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    own = net(x).argmax(1)
    for y in range(3):
        for radius in (0.0, 1e-3):
            found = certify(victim, x, torch.full((6,), y), Threat(Linf(radius), Untargeted()), ["network"])
            assert not (found.proved & (own != y)).any()
            assert radius or found.proved[own == y].all()


def test_bounds_of_other_classes_share_what_alpha_is_left():
    """All of n copies say class 0: each of k other classes is below 1 - (alpha / 2 / k)^(1 / n), by Clopper and Pearson in closed form."""
    victim = smoothed(victim_of(filled(torch.zeros(3, 2, dtype=torch.float64), tensor(1.0, 0.0, 0.0))), 0.1)
    (found,) = certify(
        victim, torch.full((1, 1, 1, 2), 0.5), torch.tensor([0]), Threat(L2(0.01), Untargeted()), ["smoothing"], n0=10, n=200, alpha=0.01, joint=True
    )
    assert found.proved
    assert found.proof.hits == 200
    assert found.proof.high >= 1 - (0.01 / 2 / 2) ** (1 / 200)
    assert found.proof.low <= (0.01 / 2) ** (1 / 200)


@pytest.mark.parametrize(("big", "bias", "x"), [(1e6, 0.3, 0.7), (1e9, 0.1, 0.3), (1e6, 0.7, 0.3), (1e12, 0.1, 0.3)])
@pytest.mark.parametrize("verifiers", [["ibp"], ["ibp", "crown"], ["ibp", "crown", "alpha"], ["ibp", "relu_split"], ["ibp", "milp"], None])
def test_terms_that_cancel_inside_a_network_prove_nothing(big, bias, x, verifiers):
    """The output is exactly 0, and float64 says a little more: B x + b - B x - b with large B."""
    one = torch.tensor([[big], [big]], dtype=torch.float64), torch.tensor([bias, 0.0], dtype=torch.float64)
    network = Network(
        (
            Node(Input((1,))),
            Node(Linear(*one), (0,)),
            Node(Relu(), (1,)),
            Node(Linear(torch.tensor([[1.0, -1.0]], dtype=torch.float64)), (2,)),
            Node(Relu(), (3,)),
            Node(Linear(torch.tensor([[1.0]], dtype=torch.float64), torch.tensor([-bias], dtype=torch.float64)), (4,)),
        )
    )
    point = torch.tensor([[x]], dtype=torch.float64)
    row = torch.ones(1, 1, 1, dtype=torch.float64)
    query = Query(network, InputSet(point, point), row, torch.zeros(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.int64))
    (answer,) = decide(query, verifiers=verifiers)
    assert answer.verdict is not Verdict.PROVED
