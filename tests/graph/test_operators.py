"""Affine operators against the matrix that their action on single numbers spells out."""

import math

import hypothesis.strategies as st
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings

from sparring.graph.network import Network, Node
from sparring.graph.operators import Add, Concat, Conv, ConvTranspose, Input, Linear, Product, Reshape, Scale, Select

FEW = settings(max_examples=60, deadline=None)


def drawn(seed, *shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def matrix(function, shape):
    """[out, in], column by column, of an affine function without its constant."""
    count = math.prod(shape)
    zero = function(torch.zeros(1, *shape, dtype=torch.float64)).flatten()
    columns = [function(column.reshape(1, *shape)).flatten() - zero for column in torch.eye(count, dtype=torch.float64)]
    return torch.stack(columns, 1), zero


def check(operator, shape, truth):
    """truth: the same function by torch alone."""
    dense, constant = matrix(truth, shape)
    out = operator.shape(shape)
    x, g = drawn(1, 3, *shape), drawn(2, 3, *out)
    close = {"rtol": 1e-12, "atol": 1e-12}
    assert tuple(truth(x).shape[1:]) == out
    torch.testing.assert_close(operator(x), truth(x), **close)
    torch.testing.assert_close(operator.linear(x).flatten(1), x.flatten(1) @ dense.mT, **close)
    torch.testing.assert_close(operator.absolute(x).flatten(1), x.flatten(1) @ dense.abs().mT, **close)
    torch.testing.assert_close(operator.adjoint(g, shape).flatten(1), g.flatten(1) @ dense, **close)
    assert operator.adjoint(g, shape).shape == (3, *shape)
    given_constant = torch.zeros(()) if operator.constant is None else operator.constant
    torch.testing.assert_close(given_constant.double().expand(out).flatten(), constant, **close)
    assert operator.terms >= int((dense != 0).sum(1).max()) + bool((constant != 0).any())


@FEW
@given(st.lists(st.integers(1, 4), min_size=0, max_size=2), st.integers(1, 5), st.integers(1, 5), st.booleans())
def test_linear(lead, inner, outer, biased):
    operator = Linear(drawn(3, outer, inner), drawn(4, outer) if biased else None)
    check(operator, (*lead, inner), lambda x: x @ operator.weight.mT + (0 if operator.bias is None else operator.bias))


@st.composite
def convolutions(draw):
    axes = draw(st.integers(1, 2))
    several = lambda low, high: tuple(draw(st.integers(low, high)) for _ in range(axes))  # noqa: E731
    return draw(st.integers(1, 2)), several(1, 3), several(1, 3), several(0, 2), several(1, 2), several(3, 7), draw(st.booleans()), several(0, 1)


@FEW
@given(convolutions())
def test_convolution(case):
    groups, kernel, stride, padding, dilation, sides, biased, _ = case
    assume(all(side + 2 * p >= d * (k - 1) + 1 for side, p, d, k in zip(sides, padding, dilation, kernel, strict=True)))
    operator = Conv(drawn(3, 2 * groups, 2, *kernel), drawn(4, 2 * groups) if biased else None, stride, padding, dilation, groups)
    convolve = F.conv1d if len(kernel) == 1 else F.conv2d
    check(operator, (2 * groups, *sides), lambda x: convolve(x, operator.weight, operator.bias, stride, padding, dilation, groups))


@FEW
@given(convolutions())
def test_transposed_convolution(case):
    groups, kernel, stride, padding, dilation, sides, biased, extra = case
    extra = tuple(min(e, max(s, d) - 1) for e, s, d in zip(extra, stride, dilation, strict=True))
    assume(all((side - 1) * s - 2 * p + d * (k - 1) + e >= 0 for side, s, p, d, k, e in zip(sides, stride, padding, dilation, kernel, extra, strict=True)))
    operator = ConvTranspose(drawn(3, 2 * groups, 2, *kernel), drawn(4, 2 * groups) if biased else None, stride, padding, dilation, groups, extra)
    transpose = F.conv_transpose1d if len(kernel) == 1 else F.conv_transpose2d
    shape = (2 * groups, *sides)
    assume(all(dim < 40 for dim in operator.shape(shape)))
    check(operator, shape, lambda x: transpose(x, operator.weight, operator.bias, stride, padding, extra, groups, dilation))


@pytest.mark.parametrize(("factor", "shift"), [((), ()), ((3, 1, 1), (3, 1, 1)), ((4, 5), None), ((3, 4, 5), (5,)), ((1, 4, 1), (3, 4, 5))])
def test_scale(factor, shift):
    operator = Scale(drawn(3, *factor), None if shift is None else drawn(4, *shift))
    check(operator, (3, 4, 5), lambda x: x * operator.factor + (0 if operator.shift is None else operator.shift))


def test_reshape():
    check(Reshape((2, 6)), (3, 4), lambda x: x.reshape(-1, 2, 6))


@FEW
@given(st.lists(st.integers(-1, 11), min_size=1, max_size=12))
def test_select(places):
    index = torch.tensor(places)

    def truth(x):
        flat = torch.cat([x.flatten(1), x.new_zeros(len(x), 1)], 1)
        return flat[:, index]  # -1 is the zero at the end

    check(Select(index), (3, 4), truth)


def test_several_values():
    a, b = drawn(1, 2, 3, 4), drawn(2, 2, 3, 4)
    assert torch.equal(Add()(a, b, a), a + b + a)
    assert torch.equal(Product()(a, b), a * b)
    assert torch.equal(Concat(1)(a, b), torch.cat([a, b], 2))
    assert Add().shape((3, 4), (3, 4)) == Product().shape((3, 4), (3, 4)) == (3, 4)
    assert Concat(1).shape((3, 4), (3, 5)) == (3, 9)


def test_a_network_elsewhere_keeps_its_notes_and_function():
    one = Network((Node(Input((2,))), Node(Linear(torch.eye(2)), (0,)), Node(Select(torch.tensor([1, -1])), (1,))), ("a note",))
    double = one.to(torch.float64)
    assert double.notes == ("a note",)
    assert double(torch.tensor([[3.0, 5.0]], dtype=torch.float64)).tolist() == [[5.0, 0.0]]
    assert one.fingerprint != double.fingerprint
