"""Intervals: a product by its corners, and margins below the truth in spite of rounding."""

from fractions import Fraction

import pytest
import torch
from certification.networks.varied_networks import chain, drawn

from sparring.certification.networks.bounds.inputs import InputSet
from sparring.certification.networks.bounds.interval import Interval, intervals, margins, through
from sparring.graph.operators import Product


@pytest.mark.parametrize(
    ("one", "other", "product"),
    [((1, 2), (3, 4), (3, 8)), ((-1, 2), (3, 4), (-4, 8)), ((-1, 2), (-3, 4), (-6, 8)), ((-2, -1), (3, 4), (-8, -3)), ((-2, -1), (-4, 3), (-6, 8))],
)
def test_a_product_reaches_its_corners(one, other, product):
    """The least and the greatest product of two intervals, by hand."""
    factors = [Interval(*(torch.tensor([[float(edge)]]) for edge in edges)) for edges in (one, other)]
    found = through(Product(), factors)
    assert (float(found.low), float(found.high)) == product


def test_a_margin_is_at_most_the_exact_sum():
    """At a single point, where the sum in float64 is often above the one in rational arithmetic."""
    above = 0
    for seed in range(200):
        weight, x = drawn(seed, 1, 6), drawn(seed + 1, 1, 6)
        network, inputs = chain(6, (weight, None)), InputSet(x, x)
        exact = sum(Fraction(float(w)) * Fraction(float(v)) for w, v in zip(weight[0], x[0], strict=True))
        above += Fraction(float(network(x))) > exact
        assert Fraction(float(margins(network, intervals(network, inputs), torch.ones(1, 1, 1, dtype=torch.float64)))) <= exact
    assert above > 0
