"""The order of bounds: each method between the one before it and the truth; less where more is allowed; the same for the same function."""

import itertools

import pytest
import torch
from certification.small_networks import box, exact_minimum, mlp, points_of
from certification.varied_networks import ALL, drawn, in_two, permuted, rescaled, with_identities
from hypothesis import given, settings
from hypothesis import strategies as st

from sparring.certification.bounds.ascent import optimised
from sparring.certification.bounds.crown import bounds_of_bends, lower, relaxations
from sparring.certification.bounds.execution import bands
from sparring.certification.bounds.inputs import InputSet
from sparring.certification.bounds.interval import Interval, intervals, margins
from sparring.certification.bounds.relax import product_planes
from sparring.certification.certificate import Verdict
from sparring.certification.decide import decide
from sparring.certification.programme import programme
from sparring.certification.question import Question
from sparring.models.network.operators import Affine, Input

EDGE = 1e-9
QUICK = {"ibp": {}, "crown": {}, "alpha": {"steps": 10, "inner_steps": 3}}
examples = settings(max_examples=20, deadline=None, derandomize=True)
seeds = st.integers(0, 10_000)


def setting(name, seed, radius, count=2):
    """A network, boxes around points, and rows: the class with the best score there minus each other."""
    network = ALL[name](seed)
    x = drawn(seed + 9, count, *network.input_shape)
    question = Question.robustness(network, box(x, radius), network(x).argmax(1))
    return network, question.inputs, question


def crown(network, inputs, rows, bounds):
    return lower(network, inputs, len(network.nodes) - 1, rows.reshape(*rows.shape[:2], *network.shapes[-1]), relaxations(network, bounds))


def sampled(question, count=500):
    """[n, r]: the least of each row over points, half of them corners."""
    x = points_of(question.inputs, count)
    many = question.take(torch.arange(len(question)).repeat_interleave(count))
    return many.at(x.flatten(0, 1)).reshape(len(question), count, -1).amin(1)


@examples
@given(st.sampled_from(sorted(ALL)), seeds, st.floats(0.01, 1.5))
def test_each_method_lies_between_the_one_before_and_the_truth(name, seed, radius):
    network, inputs, question = setting(name, seed, radius)
    values = intervals(network, inputs)
    bounds = bounds_of_bends(network, inputs)
    for place, bound in bounds.items():
        assert (bound.low >= values[place].low - EDGE).all()
        assert (bound.high <= values[place].high + EDGE).all()
    tight = intervals(network, inputs, bounds)
    ladder = [margins(network, values, question.rows), margins(network, tight, question.rows)]
    first = torch.maximum(ladder[-1], crown(network, inputs, question.rows, bounds))
    sample, row = torch.ones_like(question.offset, dtype=torch.bool).nonzero(as_tuple=True)
    rows = question.rows[sample, row].reshape(-1, *network.shapes[-1])
    alpha = optimised(network, inputs, len(network.nodes) - 1, rows, bounds, samples=sample, steps=10, stop=torch.inf).lower.reshape(first.shape)
    ladder += [first, torch.maximum(first, alpha)]
    assert (alpha >= crown(network, inputs, question.rows, bounds) - 1e-5 * (1 + alpha.abs())).all()
    if network.relus_only:
        ladder.append(torch.maximum(ladder[-1] - 1e-6 * (1 + ladder[-1].abs()), linear_programmes(network, question, bounds)))
        assert (ladder[-1] >= alpha - 1e-5 * (1 + alpha.abs())).all()
    ladder.append(sampled(question))
    for below, above in itertools.pairwise(ladder):
        assert (below <= above + EDGE * (1 + above.abs())).all()


def linear_programmes(network, question, bounds):
    """[n, r]: the rows over the triangle relaxation, as the product bounds them."""
    found = torch.zeros_like(question.offset)
    for sample in range(len(question)):
        one = torch.tensor([sample])
        inputs = question.inputs.take(one)
        relaxed = programme(network, inputs.low[0], inputs.high[0], {place: bound.take(one) for place, bound in bounds.items()})
        for row in range(found.shape[1]):
            costs, constant = relaxed.objective(network, len(network.nodes) - 1, question.rows[sample, row].numpy())
            found[sample, row] = relaxed.least(costs)[0] + constant
    return found


@pytest.mark.parametrize("name", ["convolution", "pooled", "stacked"])
@pytest.mark.parametrize("seed", range(3))
def test_rows_alone_and_rows_of_all_neurons_give_the_same_bounds(name, seed):
    """Neurons whose sign is open, bounded on the way, and as rows of a whole layer."""
    network, inputs, _ = setting(name, seed, 0.4)
    bounds, values = bounds_of_bends(network, inputs), intervals(network, inputs)
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
def test_linear_programmes_lie_below_the_exact_least(seed, radius):
    network = mlp(seed, (3, 3, 3, 2))
    question = Question.robustness(network, box(drawn(seed, 1, 3), radius), torch.tensor([seed % 2]))
    relaxed = float(linear_programmes(network, question, bounds_of_bends(network, question.inputs)))
    exact = exact_minimum(network, question.inputs.low[0].numpy(), question.inputs.high[0].numpy(), question.rows[0, 0].numpy())
    assert relaxed <= exact + 1e-9
    assert exact <= float(sampled(question)) + 1e-6


@examples
@given(st.sampled_from(sorted(ALL)), seeds, st.floats(0.01, 1.0), st.floats(1.0, 3.0))
def test_more_room_never_proves_more(name, seed, radius, share):
    """Of intervals the margins fall; what any method refutes stays refuted or open in a larger set, and the small set keeps what the large one proves."""
    network, inputs, question = setting(name, seed, radius)
    middle = (inputs.low + inputs.high) / 2
    wider = Question(network, box(middle, radius * share), question.rows, question.offset, question.clause)
    small, large = (margins(network, intervals(network, one.inputs), one.rows) for one in (question, wider))
    assert (large <= small + EDGE * (1 + small.abs())).all()
    settings_ = {"attack": {"steps": 10}, **QUICK}
    for less, more in zip(decide(question, rungs=settings_), decide(wider, rungs=settings_), strict=True):
        assert not (less.verdict is Verdict.REFUTED and more.verdict is Verdict.PROVED)
        assert not (less.verdict is Verdict.PROVED and more.verdict is Verdict.REFUTED and bool(inputs_hold(question, more.witness)))


def inputs_hold(question, witness):
    return question.inputs.contains(witness.expand(len(question), *witness.shape)).any()


@examples
@given(st.sampled_from(sorted(ALL)), seeds, st.floats(0.05, 1.5))
def test_halves_cover_the_whole_and_are_bounded_no_worse(name, seed, radius):
    network, inputs, question = setting(name, seed, radius)
    axis = torch.tensor([seed % inputs.low[0].numel(), 0])
    halves = inputs.split(axis)
    bounds = bounds_of_bends(network, inputs)
    known = {
        place: Interval(bound.low.repeat(2, *[1] * (bound.low.ndim - 1)), bound.high.repeat(2, *[1] * (bound.high.ndim - 1))) for place, bound in bounds.items()
    }
    parts = bounds_of_bends(network, halves, known)
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
    rows = question.rows.repeat(2, 1, 1)
    whole, split = margins(network, intervals(network, inputs), question.rows), margins(network, intervals(network, halves), rows)
    assert (split.reshape(2, 2, -1).amin(0) >= whole - EDGE * (1 + whole.abs())).all()


@settings(max_examples=10, deadline=None, derandomize=True)
@given(seeds, st.floats(0.05, 0.8))
def test_other_forms_of_one_function_get_the_same_answers(seed, radius):
    network = mlp(seed, (3, 5, 4, 3))
    x = drawn(seed + 1, 4, 3)
    inputs, label = box(x, radius), network(x).argmax(1)

    def values(one):
        question = Question.robustness(one, inputs, label)
        bounds = bounds_of_bends(one, inputs)
        return margins(one, intervals(one, inputs), question.rows), crown(one, inputs, question.rows, bounds)

    def verdicts(one):
        return [answer.verdict for answer in decide(Question.robustness(one, inputs, label), rungs=["ibp", "crown", "relu_split"], seconds=5)]

    expected, exact = values(network), verdicts(network)
    assert Verdict.UNKNOWN not in exact
    for other in (permuted(network, seed), rescaled(network, seed), with_identities(network)):
        for mine, its in zip(expected, values(other), strict=True):
            torch.testing.assert_close(its, mine, rtol=1e-8, atol=1e-8)
        assert verdicts(other) == exact
    assert verdicts(in_two(network, seed)) == exact  # its intervals are wider: only what is exact stays


@pytest.mark.parametrize("name", sorted(ALL))
def test_alone_as_in_a_batch(name):
    network, _, question = setting(name, 7, 0.3, 7)
    chosen = {**QUICK, **({"relu_split": {"domains": 20}} if network.relus_only else {})}
    together = decide(question, rungs=chosen)
    for sample, answer in enumerate(together):
        (alone,) = decide(question.take(torch.tensor([sample])), rungs=chosen)
        assert (alone.verdict, alone.rung) == (answer.verdict, answer.rung)
        if answer.rung in ("ibp", "crown"):  # others go on for a while after they have proved a row, as long as others are not done
            assert alone.margin == pytest.approx(answer.margin, rel=1e-5, abs=1e-6)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(ALL)), seeds, st.floats(0.0, 0.5))
def test_float32_stays_within_its_bands(name, seed, radius):
    """Each sum in float32, its terms in a random order and in blocks of random size, is no further from the exact one than the band says."""
    network = ALL[name](seed).to(torch.float32).to(torch.float64)
    inputs = box(drawn(seed + 9, 1, *network.input_shape), radius)
    g = torch.Generator().manual_seed(seed)
    found = []
    x = points_of(inputs, 20, seed)[0].to(torch.float32)
    inputs = InputSet(torch.minimum(inputs.low, x.double().amin(0)), torch.maximum(inputs.high, x.double().amax(0)))
    allowed = bands(network, inputs)
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
    least = lower(network, inputs, len(network.nodes) - 1, rows, relaxations(network, bounds_of_bends(network, inputs, None, allowed)), None, allowed)
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
