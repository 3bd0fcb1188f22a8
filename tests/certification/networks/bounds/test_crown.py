"""CROWN: equal to a textbook version with written-out matrices, sound where sampled, the same alone, in a batch and in little memory."""

import numpy as np
import pytest
import torch
from certification.networks.small_networks import box, convolution, mlp, points_of, residual
from hypothesis import given, settings
from hypothesis import strategies as st

from sparring.certification.networks.bounds import crown, windows
from sparring.certification.networks.bounds.crown import lower, preactivation_bounds, relaxations
from sparring.certification.networks.bounds.inputs import InputSet
from sparring.graph.network import Network, Node
from sparring.graph.operators import Add, Affine, Concat, Conv, ConvTranspose, Input, Linear, Product, Relu, Reshape, Scale, Select, Sigmoid, Tanh

EDGE = 1e-9
"""More than float64 rounds here, less than any bound may be wrong by."""


class Maker:
    """Nodes in a row, with random numbers from one seed."""

    def __init__(self, seed, shape):
        self.g, self.nodes = torch.Generator().manual_seed(seed), [Node(Input(shape))]

    def draw(self, *shape, scale=0.6):
        return torch.randn(*shape, generator=self.g, dtype=torch.float64) * scale

    def pick(self, *options):
        return options[int(torch.randint(len(options), (1,), generator=self.g))]

    def add(self, operator, *inputs):
        self.nodes.append(Node(operator, inputs or (len(self.nodes) - 1,)))
        return len(self.nodes) - 1

    @property
    def shape(self):
        return Network(tuple(self.nodes)).shapes[-1]

    def conv(self, out, kernel, stride, padding, groups=1, dilation=1, at=None):
        channels = self.shape[0]
        weight = self.draw(out, channels // groups, kernel, kernel)
        node = Conv(weight, self.pick(self.draw(out), None), (stride, stride), (padding, padding), (dilation, dilation), groups)
        return self.add(node, len(self.nodes) - 1 if at is None else at)

    def flat(self, *sizes):
        self.add(Reshape((int(np.prod(self.shape)),)))
        for turn, size in enumerate(sizes):
            if turn:
                self.add(Relu())
            self.add(Linear(self.draw(size, self.shape[0], scale=0.4), self.draw(size)))
        return Network(tuple(self.nodes))


def convolutions(seed):
    make = Maker(seed, (2, 7, 7))
    make.conv(make.pick(2, 4), make.pick(2, 3), make.pick(1, 2), make.pick(0, 1))
    make.add(Relu())
    make.conv(3, 2, make.pick(1, 2), make.pick(0, 1))
    if make.pick(True, False):
        make.add(Scale(make.draw(3, 1, 1), make.draw(3, 1, 1)))
    make.add(Relu())
    return make.flat(5, 3)


def pools(seed):
    """Average pooling as a convolution by channel, dilation, scales by place, a convolution on what another padded."""
    make = Maker(seed, (2, 8, 8))
    make.add(Scale(make.draw(1, 8, 8), make.draw(2, 1, 1)))
    make.conv(2, 3, 1, 1, groups=2)
    make.add(Relu())
    make.add(Conv(torch.full((2, 1, 2, 2), 0.25, dtype=torch.float64), None, (2, 2), (0, 0), (1, 1), 2))
    make.conv(4, 2, 1, 1, dilation=2)
    make.add(Scale(make.draw(*make.shape), make.draw(*make.shape)))
    make.conv(2, 3, 1, 1)
    make.add(Relu())
    return make.flat(3)


def shortcuts(seed):
    """Two residual blocks, one with a strided convolution beside, and a concatenation."""
    make = Maker(seed, (1, 8, 8))
    make.conv(2, 3, 1, 1)
    first = make.add(Relu())
    make.conv(2, 3, 1, 1)
    make.add(Relu())
    make.conv(2, 3, 1, 1)
    make.add(Add(), len(make.nodes) - 1, first)
    second = make.add(Relu())
    make.conv(3, 3, 2, 1)
    beside = len(make.nodes) - 1
    make.nodes.append(Node(Conv(make.draw(3, 2, 1, 1), make.draw(3), (2, 2)), (second,)))
    make.add(Add(), beside, beside + 1)
    third = make.add(Relu())
    make.conv(1, 3, 1, 1)
    make.add(Concat(0), third, len(make.nodes) - 1)
    make.conv(2, 2, 1, 0)
    make.add(Relu())
    return make.flat(3)


def mixed(seed):
    """Windows that end early: a selection, a transposed convolution, a map enlarged again."""
    make = Maker(seed, (1, 6, 6))
    make.conv(2, 3, 1, 1)
    make.add(Relu())
    make.add(Select(torch.arange(-4, 68).reshape(2, 6, 6)))
    make.conv(2, 2, 2, 0)
    make.add(Relu())
    make.add(ConvTranspose(make.draw(2, 2, 2, 2), make.draw(2), (2, 2)))
    make.conv(2, 3, 1, 1)
    make.add(Relu())
    return make.flat(3)


def line(seed):
    """One axis."""
    make = Maker(seed, (2, 12))
    make.add(Conv(make.draw(3, 2, 3), make.draw(3), (2,), (1,), (1,)))
    make.add(Relu())
    make.add(Conv(make.draw(2, 3, 2), None, (1,), (0,), (1,)))
    make.add(Relu())
    return make.flat(2)


def curved(seed, product=False):
    """Sigmoids, hyperbolic tangents and, on request, a product of maps."""
    make = Maker(seed, (1, 6, 6))
    make.conv(2, 3, 1, 1)
    one = make.add(Sigmoid())
    make.conv(2, 3, 1, 1)
    other = make.add(Tanh())
    if product:
        make.add(Product(), one, other)
    make.conv(2, 3, 2, 1)
    make.add(Relu())
    make.conv(2, 2, 1, 0)
    make.add(Sigmoid())
    return make.flat(4, 2)


RELUS = {
    "convolutions": convolutions, "pools": pools, "shortcuts": shortcuts, "mixed": mixed, "line": line,
    "mlp": lambda seed: mlp(seed, (5, 9, 8, 7, 3)), "convolution": convolution, "residual": residual,
}  # fmt: skip
SMOOTH = {**RELUS, "curved": curved}
ALL = {**SMOOTH, "product": lambda seed: curved(seed, True)}


def sets(network, seed, order=np.inf, count=3, radius=0.3):
    g = torch.Generator().manual_seed(seed + 7)
    x = torch.rand(count, *network.input_shape, generator=g, dtype=torch.float64)
    if order == np.inf:
        return box(x, radius)
    return InputSet((x - 0.6).clamp(0, 1), (x + 0.6).clamp(0, 1), x, torch.full((count,), 2 * radius, dtype=torch.float64), order)


def inside(inputs, count):
    """[n, count, *in]: points of the sets, corners and steps along few axes among them."""
    if inputs.is_box:
        return points_of(inputs, count)
    g = torch.Generator().manual_seed(5)
    shape = (len(inputs), count, *inputs.low.shape[1:])
    step = torch.randn(shape, generator=g, dtype=torch.float64) * (torch.rand(shape, generator=g) < 0.3)
    size = torch.linalg.vector_norm(step.flatten(2), ord=inputs.order, dim=2).clamp_min(1e-9)
    step = step * (inputs.radius[:, None] / size).reshape(*shape[:2], *[1] * (len(shape) - 2))
    return torch.minimum(torch.maximum(inputs.center[:, None] + step, inputs.low[:, None]), inputs.high[:, None])


def written_out(operator, shapes):
    """Matrix and constant of an affine operator, column by column."""
    (shape,) = shapes
    size = int(np.prod(shape))
    zero = operator(torch.zeros(1, *shape, dtype=torch.float64)).flatten()
    columns = operator(torch.eye(size, dtype=torch.float64).reshape(size, *shape)).flatten(1) - zero
    return columns.numpy().T, zero.numpy()


def textbook(network, low, high):
    """Zhang et al. 2018 on one box in numpy: (low, high) of every node that feeds a ReLU, neurons of open sign propagated back, the rest by intervals;
    and the pre-activation relaxations' lower bounds of the outputs."""
    nodes, shapes = network.nodes, network.shapes
    matrices = {p: written_out(n.operator, [shapes[q] for q in n.inputs]) for p, n in enumerate(nodes) if isinstance(n.operator, Affine)}
    places_of = {}
    for p, n in enumerate(nodes):
        if isinstance(n.operator, Concat):
            numbered = np.split(
                np.arange(np.prod(shapes[p])).reshape(shapes[p]), np.cumsum([shapes[q][n.operator.axis] for q in n.inputs])[:-1], n.operator.axis
            )
            places_of[p] = [part.flatten() for part in numbered]
    values = {0: (low.flatten(), high.flatten())}

    def back(start, rows):
        waiting, total = {start: rows}, np.zeros(len(rows))
        for p in range(start, 0, -1):
            g = waiting.pop(p, None)
            if g is None:
                continue
            n = nodes[p]
            if isinstance(n.operator, Affine):
                matrix, shift = matrices[p]
                total, given = total + g @ shift, [g @ matrix]
            elif isinstance(n.operator, Add):
                given = [g] * len(n.inputs)
            elif isinstance(n.operator, Concat):
                given = [g[:, where] for where in places_of[p]]
            else:
                under, over = values[n.inputs[0]]
                crossing = (under < 0) & (over > 0)
                slope_up = np.where(crossing, over / np.where(crossing, over - under, 1), under >= 0)
                slope_down = np.where(crossing, over >= -under, under >= 0)
                total = total + np.minimum(g, 0) @ np.where(crossing, -slope_up * under, 0)
                given = [np.maximum(g, 0) * slope_down + np.minimum(g, 0) * slope_up]
            for q, part in zip(n.inputs, given, strict=True):
                waiting[q] = waiting.get(q, 0) + part
        g = waiting[0]
        return total + np.maximum(g, 0) @ values[0][0] + np.minimum(g, 0) @ values[0][1]

    found, bent = {}, False
    for p in range(1, len(nodes)):
        n = nodes[p]
        of = [values[q] for q in n.inputs]
        if isinstance(n.operator, Affine):
            matrix, shift = matrices[p]
            under, over = (
                np.maximum(matrix, 0) @ of[0][0] + np.minimum(matrix, 0) @ of[0][1] + shift,
                np.maximum(matrix, 0) @ of[0][1] + np.minimum(matrix, 0) @ of[0][0] + shift,
            )
        elif isinstance(n.operator, Add):
            under, over = sum(one[0] for one in of), sum(one[1] for one in of)
        elif isinstance(n.operator, Concat):
            under, over = np.zeros(np.prod(shapes[p])), np.zeros(np.prod(shapes[p]))
            for where, one in zip(places_of[p], of, strict=True):
                under[where], over[where] = one
        else:
            under, over, bent = np.maximum(of[0][0], 0), np.maximum(of[0][1], 0), True
        if any(isinstance(m.operator, Relu) and p in m.inputs for m in nodes):
            crossing = np.flatnonzero((under < 0) & (over > 0))
            if bent and len(crossing):
                rows = np.eye(len(under))[crossing]
                under[crossing], over[crossing] = np.maximum(under[crossing], back(p, rows)), np.minimum(over[crossing], -back(p, -rows))
            found[p] = (under, over)
        values[p] = (under, over)
    return found, back(len(nodes) - 1, np.eye(len(values[len(nodes) - 1][0])))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", sorted(RELUS))
def test_as_in_the_textbook(name, seed):
    network = RELUS[name](seed)
    inputs = sets(network, seed)
    bounds = preactivation_bounds(network, inputs)
    outputs = torch.eye(network.outputs, dtype=torch.float64).reshape(1, network.outputs, *network.shapes[-1])
    least = lower(network, inputs, len(network.nodes) - 1, outputs, relaxations(network, bounds))
    for sample in range(len(inputs)):
        expected, final = textbook(network, inputs.low[sample].numpy(), inputs.high[sample].numpy())
        assert expected.keys() == bounds.keys()
        for place, (low, high) in expected.items():
            np.testing.assert_allclose(bounds[place].low[sample].flatten().numpy(), low, rtol=1e-9, atol=EDGE)
            np.testing.assert_allclose(bounds[place].high[sample].flatten().numpy(), high, rtol=1e-9, atol=EDGE)
        np.testing.assert_allclose(least[sample].numpy(), final, rtol=1e-9, atol=EDGE)


def test_windows_are_used_and_end():
    network = convolutions(1)
    convs = [place for place, node in enumerate(network.nodes) if isinstance(node.operator, Conv)]
    route = windows.plan(network, convs[1])
    assert route is not None
    assert route.stop == 0
    assert route.width < crown.widest(network, convs[1])
    last = max(place for place, node in enumerate(network.nodes) if isinstance(node.operator, Conv))
    assert windows.plan(mixed(0), 2) is not None  # one convolution, then the input
    assert windows.plan(network, last + 3) is None  # a vector
    assert windows.plan(mixed(0), 4) is None  # a selection stands before the first activation


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(sorted(ALL)), st.integers(0, 10_000), st.sampled_from([np.inf, 2, 1]), st.floats(0.02, 0.8))
def test_sound(name, seed, order, radius):
    network = ALL[name](seed)
    inputs = sets(network, seed, order, 2, radius)
    bounds = preactivation_bounds(network, inputs)
    values = network.values(inside(inputs, 300).flatten(0, 1))
    for place, (low, high) in bounds.items():
        seen = values[place].unflatten(0, (2, 300))
        assert (seen.amin(1) >= low - EDGE).all()
        assert (seen.amax(1) <= high + EDGE).all()
    rows = torch.randn(2, 3, *network.shapes[-1], dtype=torch.float64)
    least = lower(network, inputs, len(network.nodes) - 1, rows, relaxations(network, bounds))
    seen = torch.einsum("nro,nco->nrc", rows.flatten(2), values[-1].flatten(1).unflatten(0, (2, 300)))
    assert (seen.amin(2) >= least - EDGE).all()


@pytest.mark.parametrize("order", [np.inf, 2, 1])
@pytest.mark.parametrize("name", sorted(SMOOTH))
def test_alone_in_a_batch_in_another_order_and_in_little_memory(name, order, monkeypatch):
    network = ALL[name](3)
    inputs = sets(network, 3, order, 5)
    rows = torch.randn(5, 3, *network.shapes[-1], dtype=torch.float64)

    def both(own, of):
        bounds = preactivation_bounds(network, own)
        return bounds, lower(network, own, len(network.nodes) - 1, of, relaxations(network, bounds))

    bounds, least = both(inputs, rows)
    turned = torch.tensor([4, 2, 0, 1, 3])
    other, other_least = both(inputs.take(turned), rows[turned])
    alone, alone_least = both(inputs.take(torch.tensor([2])), rows[2:3])
    monkeypatch.setattr(crown, "MEMORY", 300)
    monkeypatch.setattr(crown, "CACHE", 300)
    small, small_least = both(inputs, rows)
    for place, value in bounds.items():
        for edge in (0, 1):
            torch.testing.assert_close(other[place][edge], value[edge][turned], rtol=1e-9, atol=1e-9)
            torch.testing.assert_close(alone[place][edge], value[edge][2:3], rtol=1e-9, atol=1e-9)
            torch.testing.assert_close(small[place][edge], value[edge], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(other_least, least[turned], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(alone_least, least[2:3], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(small_least, least, rtol=1e-9, atol=1e-9)


class Largest(torch.overrides.TorchFunctionMode):
    """The most numbers that any tensor had."""

    numbers = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        given = func(*args, **(kwargs or {}))
        for one in given if isinstance(given, tuple | list) else (given,):
            if isinstance(one, torch.Tensor) and one.is_floating_point():
                self.numbers = max(self.numbers, one.untyped_storage().nbytes() // 8)
        return given


@pytest.mark.parametrize("name", ["convolutions", "shortcuts", "mlp"])
def test_no_array_above_the_memory(name, monkeypatch):
    network = ALL[name](1)
    inputs = sets(network, 1, count=4, radius=0.5)
    with Largest() as free:
        preactivation_bounds(network, inputs)
    padded = 4 * max(int(shape[0] * np.prod([side + 4 for side in shape[1:]])) for shape in network.shapes)  # a value of all samples, with room around
    memory = max(padded, free.numbers // 4)
    monkeypatch.setattr(crown, "MEMORY", memory)
    monkeypatch.setattr(windows, "TABLE", memory)
    with Largest() as bound:
        preactivation_bounds(network, inputs)
    assert bound.numbers <= memory < free.numbers


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(sorted(ALL)), st.integers(0, 1000))
def test_a_point_has_the_value_of_the_network(name, seed):
    network = ALL[name](seed)
    inputs = sets(network, seed, radius=0.0)
    values = network.values(inputs.low)
    for place, (low, high) in preactivation_bounds(network, inputs).items():
        torch.testing.assert_close(low, values[place], rtol=0, atol=1e-8)
        torch.testing.assert_close(high, values[place], rtol=0, atol=1e-8)


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(["convolutions", "mlp", "residual"]), st.integers(0, 1000))
def test_bounds_of_a_part_of_the_inputs_lie_within_those_of_all(name, seed):
    """On a part of the inputs the bounds of the first activations lie within, and all bounds lie within the intervals."""
    network = ALL[name](seed)
    small, large = sets(network, seed, radius=0.1), sets(network, seed, radius=0.3)
    first = min(preactivation_bounds(network, small))
    inner, outer = preactivation_bounds(network, small)[first], preactivation_bounds(network, large)[first]
    assert (inner.low >= outer.low - EDGE).all()
    assert (inner.high <= outer.high + EDGE).all()


@pytest.mark.parametrize("name", ["convolutions", "shortcuts", "mixed", "mlp"])
def test_bounds_are_widened_by_the_rounding_of_every_node(name):
    """Every node off by at most its error: values with such errors added stay within."""
    network = ALL[name](2)
    inputs = sets(network, 2, count=2)
    g = torch.Generator().manual_seed(0)
    rounding = {
        place: torch.rand(*([2] if place % 2 else []), *network.shapes[place], generator=g, dtype=torch.float64) * 0.05
        for place in range(1, len(network.nodes))
    }
    bounds = preactivation_bounds(network, inputs, None, rounding)
    exact = preactivation_bounds(network, inputs)
    x = points_of(inputs, 300).flatten(0, 1)
    for _ in range(3):
        found = [x]
        for place, node in enumerate(network.nodes[1:], 1):
            value = node.operator(*(found[one] for one in node.inputs)).unflatten(0, (2, 300))
            error = rounding[place] if place % 2 else rounding[place][None]
            value = value + error[:, None] * torch.empty(value.shape, dtype=torch.float64).uniform_(-1, 1).sign()
            found.append(value.flatten(0, 1))
        for place, (low, high) in bounds.items():
            assert (found[place].unflatten(0, (2, 300)).amin(1) >= low - EDGE).all()
            assert (found[place].unflatten(0, (2, 300)).amax(1) <= high + EDGE).all()
    last = max(bounds)
    assert (bounds[last].high - bounds[last].low).sum() > (exact[last].high - exact[last].low).sum()


def test_gradients_reach_the_weights():
    network = convolutions(0)
    weight = network.nodes[1].operator.weight.requires_grad_()
    inputs = sets(network, 0)
    bounds = preactivation_bounds(network, inputs)
    assert torch.autograd.grad(bounds[max(bounds)].low.sum(), weight)[0].abs().sum() > 0
