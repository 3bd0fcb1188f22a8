"""Optimised slopes: sound whatever they are, no worse than CROWN, near the optimum of the triangles, the same alone as in a batch."""

import pytest
import torch
from certification.networks.small_networks import box, convolution, mlp, points_of, residual, triangle_minimum
from hypothesis import given, settings
from hypothesis import strategies as st

from sparring.certification.certificate import Verdict
from sparring.certification.networks.bounds.alpha import tightened
from sparring.certification.networks.bounds.ascent import certified, optimised, reading
from sparring.certification.networks.bounds.crown import lower, preactivation_bounds, relaxations
from sparring.certification.networks.bounds.inputs import InputSet
from sparring.certification.networks.decide import decide
from sparring.certification.networks.query import Query
from sparring.graph.network import Network, Node
from sparring.graph.operators import Relu, Tanh

MAKE = {"mlp": lambda seed: mlp(seed, (4, 6, 5, 3)), "convolution": convolution, "residual": residual}


def setting(name, seed, count=3, radius=0.4):
    network = MAKE[name](seed)
    x = torch.randn(count, *network.input_shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    inputs = box(x, radius)
    rows = torch.randn(count, network.outputs, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    return network, inputs, rows, preactivation_bounds(network, inputs)


def least_sampled(network, inputs, rows, count=2000):
    """[n]: the least of rows . output at sampled points."""
    x = points_of(inputs, count)
    y = network(x.flatten(0, 1)).reshape(len(inputs), count, -1)
    return torch.einsum("nco,no->nc", y, rows).amin(1)


def crown(network, inputs, rows, bounds):
    return lower(network, inputs, len(network.nodes) - 1, rows[:, None], relaxations(network, bounds)).squeeze(1)


@given(st.sampled_from(sorted(MAKE)), st.integers(0, 10_000), st.floats(0.01, 2.0))
@settings(max_examples=25, deadline=None)
def test_any_slopes_are_sound_and_the_best_are_no_worse_than_crown(name, seed, radius):
    network, inputs, rows, bounds = setting(name, seed, 2, radius)
    last = len(network.nodes) - 1
    g = torch.Generator().manual_seed(seed)
    relus = [place for place in network.nonlinearities if isinstance(network.nodes[place].operator, Relu)]
    slopes = {place: torch.rand(2, *network.shapes[place], generator=g) for place in relus}
    seen = least_sampled(network, inputs, rows)
    assert (certified(network, inputs, last, rows, bounds, slopes, {}) <= seen).all()
    found = optimised(network, inputs, last, rows, bounds, steps=8, stop=torch.inf)
    assert (found.lower <= seen).all()
    assert (found.lower >= crown(network, inputs, rows, bounds) - 1e-5 * (1 + found.lower.abs())).all()
    for place, slope in found.slopes.items():
        assert slope.shape[1:] == network.shapes[place]
        assert bool(((slope >= 0) & (slope <= 1)).all())


@given(st.sampled_from(sorted(MAKE)), st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_splits_with_any_multipliers_are_sound_on_their_halves(name, seed):
    network, inputs, rows, bounds = setting(name, seed, 1, 0.7)
    last = len(network.nodes) - 1
    g = torch.Generator().manual_seed(seed)
    signs, multipliers, slopes, cut = {}, {}, {}, dict(bounds)
    for place in network.nonlinearities:
        shape = (1, *network.shapes[place])
        signs[place] = torch.randint(-1, 2, shape, generator=g).to(torch.float64)
        multipliers[place] = torch.rand(shape, generator=g) * signs[place].abs()
        slopes[place] = torch.rand(shape, generator=g)
        before = network.nodes[place].inputs[0]
        value = cut[before]
        cut[before] = type(value)(
            torch.where(signs[place] < 0, value.low.clamp_min(0), value.low), torch.where(signs[place] > 0, value.high.clamp_max(0), value.high)
        )
    x = points_of(inputs, 4000)[0]
    values = network.values(x)
    inside = torch.ones(len(x), dtype=torch.bool)
    for place, sign in signs.items():
        inside &= (values[network.nodes[place].inputs[0]] * sign <= 0).flatten(1).all(1)
    seen = (values[-1].flatten(1) * rows).sum(1)[inside]
    signed = {place: value * signs[place] for place, value in multipliers.items()}
    fixed = certified(network, inputs, last, rows, cut, slopes, signed)
    found = optimised(network, inputs, last, rows, cut, steps=6, signs=signs, multipliers=multipliers, slopes=slopes, stop=torch.inf)
    assert (fixed <= seen).all()
    assert (found.lower <= seen).all()
    assert found.lower >= fixed - 1e-5 * (1 + fixed.abs())
    assert all(bool((value >= 0).all()) for value in found.multipliers.values())


@pytest.mark.parametrize("name", sorted(MAKE))
def test_the_written_out_gradient_is_that_of_the_bound(name):
    network, inputs, rows, bounds = setting(name, 5, 2, 0.6)
    last = len(network.nodes) - 1
    slopes = {place: torch.full((2, *network.shapes[place]), 0.4, dtype=torch.float64) for place in network.nonlinearities}
    signs = {place: torch.ones(2, *network.shapes[place], dtype=torch.float64) for place in network.nonlinearities}
    multipliers = {place: torch.full((2, *network.shapes[place]), 0.1, dtype=torch.float64) for place in network.nonlinearities}
    with torch.enable_grad():
        live = {place: slope.clone().requires_grad_() for place, slope in slopes.items()}
        pressed = {place: value.clone().requires_grad_() for place, value in multipliers.items()}
        value = certified(network, inputs, last, rows, bounds, live, pressed).sum()
        known = torch.autograd.grad(value, [*live.values(), *pressed.values()])
    seen = reading(network, inputs, last, rows, bounds, slopes=slopes, multipliers=multipliers, signs=signs)
    assert float(seen.value.sum()) == pytest.approx(value.item(), rel=1e-4)
    open_ = {place: (bounds[network.nodes[place].inputs[0]].low < 0) & (bounds[network.nodes[place].inputs[0]].high > 0) for place in network.nonlinearities}
    assert any(bool(one.any()) for one in open_.values())
    for turn, place in enumerate(network.nonlinearities):
        by_hand = seen.slopes[place].clamp_min(0) * seen.going_in[place]
        assert torch.allclose(by_hand[open_[place]].double(), known[turn][open_[place]], atol=1e-4)
        assert torch.allclose(seen.going_in[place].double(), known[len(slopes) + turn], atol=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_between_crown_and_the_optimum_of_the_triangles(seed):
    network, inputs, rows, bounds = setting("mlp", seed, 1, 0.5)
    optimum = triangle_minimum(network, inputs.low[0].numpy(), inputs.high[0].numpy(), rows[0].numpy(), bounds)
    plain = float(crown(network, inputs, rows, bounds))
    found = float(optimised(network, inputs, len(network.nodes) - 1, rows, bounds, steps=300, decay=0.99, stop=torch.inf).lower)
    assert plain - 1e-6 <= found <= optimum + 1e-6
    assert optimum - found <= 0.02 * (optimum - plain) + 1e-4


@pytest.mark.parametrize("name", sorted(MAKE))
def test_alone_as_in_a_batch(name):
    network, inputs, rows, bounds = setting(name, 3, 5, 0.5)
    last = len(network.nodes) - 1
    samples = torch.tensor([4, 0, 0, 2, 3, 1])
    asked = torch.cat([rows, rows[:1]])[: len(samples)]
    together = optimised(network, inputs, last, asked, bounds, samples=samples, steps=10)
    for row, sample in enumerate(samples.tolist()):
        one = torch.tensor([sample])
        alone = optimised(network, inputs.take(one), last, asked[row : row + 1], {place: bound.take(one) for place, bound in bounds.items()}, steps=10)
        assert float(alone.lower) == pytest.approx(float(together.lower[row]), abs=1e-5)


@pytest.mark.parametrize("name", sorted(MAKE))
def test_tightened_bounds_hold_and_are_tighter(name):
    network, inputs, _, bounds = setting(name, 11, 3, 0.8)
    better, how = tightened(network, inputs, bounds, steps=10)
    x = points_of(inputs, 3000)
    values = network.values(x.flatten(0, 1))
    won = 0.0
    for place, bound in better.items():
        seen = values[place].unflatten(0, x.shape[:2])
        assert (bound.low <= seen.amin(1) + 1e-12).all()
        assert (seen.amax(1) <= bound.high + 1e-12).all()
        assert (bound.low >= bounds[place].low).all()
        assert (bound.high <= bounds[place].high).all()
        won += float((bounds[place].high - bounds[place].low - bound.high + bound.low).sum())
    assert won > 0.01
    for one in how:  # what is written down gives the bounds again
        rows = torch.zeros(len(one.indices), torch.Size(network.shapes[one.node]).numel(), dtype=torch.float64)
        rows[torch.arange(len(rows)), one.indices] = one.signs
        known = {place: better[place].take(one.samples) for place in better}
        again = certified(network, inputs.take(one.samples), one.node, rows.reshape(-1, *network.shapes[one.node]), known, one.slopes, {})
        edge = torch.where(
            one.signs > 0, better[one.node].low.flatten(1)[one.samples, one.indices], -better[one.node].high.flatten(1)[one.samples, one.indices]
        )
        assert (again <= edge + 1e-9).all()


def test_balls_and_other_activations():
    network, _, rows, _ = setting("mlp", 2, 3)
    nodes = list(network.nodes)
    nodes[4] = Node(Tanh(), (3,))
    for asked in (network, Network(tuple(nodes))):
        center = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        radius = torch.full((3,), 0.6, dtype=torch.float64)
        for order in (1.0, 2.0):
            inputs = InputSet(center - 1, center + 0.5, center, radius, order)
            bounds = preactivation_bounds(asked, inputs)
            found = optimised(asked, inputs, len(asked.nodes) - 1, rows, bounds, steps=15, stop=torch.inf).lower
            way = torch.randn(3, 4000, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
            way = way / way.norm(p=order, dim=2, keepdim=True) * 0.6
            x = (center[:, None] + way).clamp(max=(center + 0.5)[:, None])
            least = torch.einsum("nco,no->nc", asked(x.flatten(0, 1)).reshape(3, 4000, -1), rows).amin(1)
            assert (found <= least).all()
            assert (found >= crown(asked, inputs, rows, bounds) - 1e-4).all()


def test_nothing_proved_from_numbers_that_are_not_finite():
    network, inputs, _, _ = setting("mlp", 1, 2)
    broken = InputSet(inputs.low, torch.where(torch.arange(4) == 2, torch.nan, inputs.high))
    answers = decide(Query.robustness(network, broken, torch.tensor([0, 1])), verifiers=["ibp", "crown", "alpha"])
    assert [answer.verdict for answer in answers] == [Verdict.UNKNOWN] * 2


def test_the_verifier_proves_what_crown_does_not():
    network, inputs, _, _ = setting("mlp", 4, 200, 0.22)
    label = network(inputs.middle).argmax(1)
    query = Query.robustness(network, inputs, label)
    plain = [answer.verdict for answer in decide(query, verifiers=["ibp", "crown"])]
    more = decide(query, verifiers=["ibp", "crown", "alpha"])
    x = points_of(inputs, 2000)
    same = (network(x.flatten(0, 1)).argmax(1).reshape(200, -1) == label[:, None]).all(1)
    for answer, before, safe in zip(more, plain, same.tolist(), strict=True):
        assert answer.verdict is Verdict.PROVED or before is not Verdict.PROVED
        assert safe or answer.verdict is not Verdict.PROVED
    assert sum(answer.verifier == "alpha" for answer in more) >= 3
