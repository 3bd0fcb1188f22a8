"""The order of bounds: each method between the one before it and the truth; less where more is allowed; the same for the same function."""

import itertools

import pytest
import torch
from certification.networks.small_networks import box, exact_minimum, mlp, points_of
from certification.networks.varied_networks import ALL, drawn, in_two, permuted, rescaled, with_identities
from hypothesis import given, settings
from hypothesis import strategies as st

from sparring.certification.certificate import Verdict
from sparring.certification.networks.bounds.ascent import optimised
from sparring.certification.networks.bounds.crown import lower, preactivation_bounds, relaxations
from sparring.certification.networks.bounds.execution import rounding_errors
from sparring.certification.networks.bounds.inputs import InputSet
from sparring.certification.networks.bounds.interval import Interval, intervals, margins
from sparring.certification.networks.bounds.relax import product_planes
from sparring.certification.networks.decide import decide
from sparring.certification.networks.milp_encoding import encode_milp
from sparring.certification.networks.query import Query
from sparring.graph.operators import Affine, Input

EDGE = 1e-9
QUICK = {"ibp": {}, "crown": {}, "alpha": {"steps": 10, "inner_steps": 3}}
examples = settings(max_examples=20, deadline=None, derandomize=True)
seeds = st.integers(0, 10_000)


def setting(name, seed, radius, count=2):
    """A network, boxes around points, and rows: the class with the best score there minus each other."""
    network = ALL[name](seed)
    x = drawn(seed + 9, count, *network.input_shape)
    query = Query.robustness(network, box(x, radius), network(x).argmax(1))
    return network, query.inputs, query


def crown(network, inputs, rows, bounds):
    return lower(network, inputs, len(network.nodes) - 1, rows.reshape(*rows.shape[:2], *network.shapes[-1]), relaxations(network, bounds))


def sampled(query, count=500):
    """[n, r]: the least of each row over points, half of them corners."""
    x = points_of(query.inputs, count)
    many = query.take(torch.arange(len(query)).repeat_interleave(count))
    return many.at(x.flatten(0, 1)).reshape(len(query), count, -1).amin(1)


@examples
@given(st.sampled_from(sorted(ALL)), seeds, st.floats(0.01, 1.5))
def test_each_method_lies_between_the_one_before_and_the_truth(name, seed, radius):
    network, inputs, query = setting(name, seed, radius)
    values = intervals(network, inputs)
    bounds = preactivation_bounds(network, inputs)
    for place, bound in bounds.items():
        assert (bound.low >= values[place].low - EDGE).all()
        assert (bound.high <= values[place].high + EDGE).all()
    tight = intervals(network, inputs, bounds)
    ascending = [margins(network, values, query.constraints), margins(network, tight, query.constraints)]
    first = torch.maximum(ascending[-1], crown(network, inputs, query.constraints, bounds))
    sample, row = torch.ones_like(query.offset, dtype=torch.bool).nonzero(as_tuple=True)
    rows = query.constraints[sample, row].reshape(-1, *network.shapes[-1])
    alpha = optimised(network, inputs, len(network.nodes) - 1, rows, bounds, samples=sample, steps=10, stop=torch.inf).lower.reshape(first.shape)
    ascending += [first, torch.maximum(first, alpha)]
    assert (alpha >= crown(network, inputs, query.constraints, bounds) - 1e-5 * (1 + alpha.abs())).all()
    if network.relus_only:
        ascending.append(torch.maximum(ascending[-1] - 1e-6 * (1 + ascending[-1].abs()), linear_programs(network, query, bounds)))
        assert (ascending[-1] >= alpha - 1e-5 * (1 + alpha.abs())).all()
    ascending.append(sampled(query))
    for below, above in itertools.pairwise(ascending):
        assert (below <= above + EDGE * (1 + above.abs())).all()


def linear_programs(network, query, bounds):
    """[n, r]: the rows over the triangle relaxation, as the product bounds them."""
    found = torch.zeros_like(query.offset)
    for sample in range(len(query)):
        one = torch.tensor([sample])
        inputs = query.inputs.take(one)
        relaxed = encode_milp(network, inputs.low[0], inputs.high[0], {place: bound.take(one) for place, bound in bounds.items()})
        for row in range(found.shape[1]):
            costs, constant = relaxed.objective(network, len(network.nodes) - 1, query.constraints[sample, row].numpy())
            found[sample, row] = relaxed.least(costs)[0] + constant
    return found


@pytest.mark.parametrize("name", ["convolution", "pooled", "stacked"])
@pytest.mark.parametrize("seed", range(3))
def test_rows_alone_and_rows_of_all_neurons_give_the_same_bounds(name, seed):
    """Neurons whose sign is open, bounded on the way, and as rows of a whole layer."""
    network, inputs, _ = setting(name, seed, 0.4)
    bounds, values = preactivation_bounds(network, inputs), intervals(network, inputs)
    lines = relaxations(network, bounds)
    for place, bound in bounds.items():
        size = bound.low[0].numel()
        rows = torch.eye(size, dtype=torch.float64).reshape(1, size, *bound.low.shape[1:])
        low, high = (sign * lower(network, inputs, place, sign * rows, lines).reshape(bound.low.shape) for sign in (1, -1))
        tight = intervals(network, inputs, {before: one for before, one in bounds.items() if before < place})[place]
        open_ = (tight.low < 0) & (tight.high > 0)
        torch.testing.assert_close(bound.low[open_], torch.maximum(low, tight.low)[open_], rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(bound.high[open_], torch.minimum(high, tight.high)[open_], rtol=1e-9, atol=1e-9)
        assert (values[place].low <= bound.low + EDGE).all()


@settings(max_examples=8, deadline=None, derandomize=True)
@given(seeds, st.floats(0.1, 1.5))
def test_linear_programs_lie_below_the_exact_least(seed, radius):
    network = mlp(seed, (3, 3, 3, 2))
    query = Query.robustness(network, box(drawn(seed, 1, 3), radius), torch.tensor([seed % 2]))
    relaxed = float(linear_programs(network, query, preactivation_bounds(network, query.inputs)))
    exact = exact_minimum(network, query.inputs.low[0].numpy(), query.inputs.high[0].numpy(), query.constraints[0, 0].numpy())
    assert relaxed <= exact + 1e-9
    assert exact <= float(sampled(query)) + 1e-6


@examples
@given(st.sampled_from(sorted(ALL)), seeds, st.floats(0.01, 1.0), st.floats(1.0, 3.0))
def test_more_room_never_proves_more(name, seed, radius, share):
    """Of intervals the margins fall; what any method refutes stays refuted or open in a larger set, and the small set keeps what the large one proves."""
    network, inputs, query = setting(name, seed, radius)
    middle = (inputs.low + inputs.high) / 2
    wider = Query(network, box(middle, radius * share), query.constraints, query.offset, query.disjunct)
    small, large = (margins(network, intervals(network, one.inputs), one.constraints) for one in (query, wider))
    assert (large <= small + EDGE * (1 + small.abs())).all()
    settings_ = {"attack": {"steps": 10}, **QUICK}
    for less, more in zip(decide(query, verifiers=settings_), decide(wider, verifiers=settings_), strict=True):
        assert not (less.verdict is Verdict.REFUTED and more.verdict is Verdict.PROVED)
        assert not (less.verdict is Verdict.PROVED and more.verdict is Verdict.REFUTED and bool(inputs_hold(query, more.counterexample)))


def inputs_hold(query, counterexample):
    return query.inputs.contains(counterexample.expand(len(query), *counterexample.shape)).any()


@examples
@given(st.sampled_from(sorted(ALL)), seeds, st.floats(0.05, 1.5))
def test_halves_cover_the_whole_and_are_bounded_no_worse(name, seed, radius):
    network, inputs, query = setting(name, seed, radius)
    axis = torch.tensor([seed % inputs.low[0].numel(), 0])
    halves = inputs.split(axis)
    bounds = preactivation_bounds(network, inputs)
    known = {
        place: Interval(bound.low.repeat(2, *[1] * (bound.low.ndim - 1)), bound.high.repeat(2, *[1] * (bound.high.ndim - 1))) for place, bound in bounds.items()
    }
    parts = preactivation_bounds(network, halves, known)
    for place, bound in bounds.items():
        assert (parts[place].low >= known[place].low).all()
        assert (parts[place].high <= known[place].high).all()
        x = points_of(inputs, 200).clamp(inputs.low[:, None], inputs.high[:, None])
        seen = network.values(x.flatten(0, 1))[place].unflatten(0, (2, 200))
        inside = torch.zeros(2, 200, dtype=torch.bool)
        for half in (0, 1):
            own = slice(2 * half, 2 * half + 2)
            there = ((x >= halves.low[own, None]) & (x <= halves.high[own, None])).flatten(2).all(2)
            fits = ((seen >= parts[place].low[own, None] - EDGE) & (seen <= parts[place].high[own, None] + EDGE)).flatten(2).all(2)
            assert (fits | ~there).all()
            inside |= there
        assert inside.all()
        assert bound.low.shape == seen.shape[:1] + seen.shape[2:]
    rows = query.constraints.repeat(2, 1, 1)
    whole, split = margins(network, intervals(network, inputs), query.constraints), margins(network, intervals(network, halves), rows)
    assert (split.reshape(2, 2, -1).amin(0) >= whole - EDGE * (1 + whole.abs())).all()


@settings(max_examples=10, deadline=None, derandomize=True)
@given(seeds, st.floats(0.05, 0.8))
def test_other_forms_of_one_function_get_the_same_answers(seed, radius):
    network = mlp(seed, (3, 5, 4, 3))
    x = drawn(seed + 1, 4, 3)
    inputs, label = box(x, radius), network(x).argmax(1)

    def values(one):
        query = Query.robustness(one, inputs, label)
        bounds = preactivation_bounds(one, inputs)
        return margins(one, intervals(one, inputs), query.constraints), crown(one, inputs, query.constraints, bounds)

    def verdicts(one):
        return [answer.verdict for answer in decide(Query.robustness(one, inputs, label), verifiers=["ibp", "crown", "relu_split"])]

    expected, exact = values(network), verdicts(network)
    assert Verdict.UNKNOWN not in exact
    for other in (permuted(network, seed), rescaled(network, seed), with_identities(network)):
        for mine, its in zip(expected, values(other), strict=True):
            torch.testing.assert_close(its, mine, rtol=1e-8, atol=1e-8)
        assert verdicts(other) == exact
    assert verdicts(in_two(network, seed)) == exact  # its intervals are wider: only what is exact stays


@pytest.mark.parametrize("name", sorted(ALL))
def test_alone_as_in_a_batch(name):
    network, _, query = setting(name, 7, 0.3, 7)
    chosen = {**QUICK, **({"relu_split": {"domains": 20}} if network.relus_only else {})}
    together = decide(query, verifiers=chosen)
    for sample, answer in enumerate(together):
        (alone,) = decide(query.take(torch.tensor([sample])), verifiers=chosen)
        assert (alone.verdict, alone.verifier) == (answer.verdict, answer.verifier)
        if answer.verifier in ("ibp", "crown"):  # others go on for a while after they have proved a row, as long as others are not done
            assert alone.margin == pytest.approx(answer.margin, rel=1e-5, abs=1e-6)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(ALL)), seeds, st.floats(0.0, 0.5))
def test_float32_stays_within_its_rounding(name, seed, radius):
    """Each sum in float32, its terms in a random order and in blocks of random size, is no further from the exact one than the error says."""
    network = ALL[name](seed).to(torch.float32).to(torch.float64)
    inputs = box(drawn(seed + 9, 1, *network.input_shape), radius)
    g = torch.Generator().manual_seed(seed)
    found = []
    x = points_of(inputs, 20, seed)[0].to(torch.float32)
    inputs = InputSet(torch.minimum(inputs.low, x.double().amin(0)), torch.maximum(inputs.high, x.double().amax(0)))
    allowed = rounding_errors(network, inputs)
    reached = intervals(network, inputs, None, allowed)
    for place, node in enumerate(network.nodes):
        if isinstance(node.operator, Input):
            found.append(x)
            continue
        taken = [found[before] for before in node.inputs]
        single = executed(node.operator, taken, g)
        exact = node.operator(*(one.double() for one in taken))
        if place in allowed:
            assert ((single.double() - exact).abs() <= allowed[place]).all()
        else:
            assert torch.equal(single.double(), exact)
        assert (single.double() >= reached[place].low).all()
        assert (single.double() <= reached[place].high).all()
        found.append(single)
    rows = torch.eye(network.outputs, dtype=torch.float64)[None]
    least = lower(network, inputs, len(network.nodes) - 1, rows, relaxations(network, preactivation_bounds(network, inputs, None, allowed)), None, allowed)
    assert (found[-1].double() >= least).all()


def executed(operator, taken, g):
    """What an operator gives in float32, its sums in an order of chance."""
    if isinstance(operator, Affine):
        (x,) = taken
        shape = operator(x[:1].double()).shape[1:]
        columns = torch.eye(x[0].numel(), dtype=torch.float64).reshape(-1, *x.shape[1:])
        matrix = operator.linear(columns).flatten(1).T.to(torch.float32)  # [out, in]
        order = torch.randperm(matrix.shape[1], generator=g)
        size = int(torch.randint(1, matrix.shape[1] + 1, (1,), generator=g))
        terms = x.flatten(1)[:, None, order] * matrix[None, :, order]
        blocks = [one_by_one(block) for block in terms.split(size, 2)]
        constant = operator.constant
        if constant is not None:
            blocks.insert(int(torch.randint(0, 2, (1,), generator=g)) * len(blocks), constant.expand(shape).flatten().to(torch.float32).expand(len(x), -1))
        return one_by_one(torch.stack(blocks, 2)).reshape(-1, *shape)
    return operator(*taken)


def one_by_one(terms):
    """The sum of the last axis in float32, from first to last."""
    total = terms[..., 0]
    for place in range(1, terms.shape[2]):
        total = total + terms[..., place]
    return total


@examples
@given(seeds)
def test_planes_of_a_product_hold_and_depend_on_no_rounding(seed):
    low, size = drawn(seed, 2, 6, scale=2.0), drawn(seed + 1, 2, 6).abs()
    one, other = (Interval(low[place][None], (low + size)[place][None]) for place in (0, 1))
    planes = product_planes(one, other)
    share = torch.rand(400, 2, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    share[::2] = share[::2].round()
    x, y = (low + size * share).unbind(1)
    below, above = (
        slope * x + other_slope * y + shift
        for slope, other_slope, shift in ((part.squeeze(1) for part in planes[:3]), (part.squeeze(1) for part in planes[3:]))
    )
    assert (below <= x * y + EDGE).all()
    assert (above >= x * y - EDGE).all()
    moved = product_planes(Interval(one.low * (1 + 1e-15), one.high), Interval(other.low, other.high * (1 + 1e-15)))
    for mine, its in zip(planes, moved, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-12, atol=1e-12)
