"""Branch and bound over signs: exact on networks small enough to enumerate, never wrong on planted needles, and what it writes down is a proof."""

import itertools

import numpy as np
import pytest
import torch
from certification.networks.small_networks import box, convolution, exact_minimum, mlp, needle, points_of, residual
from certification.work_clock import spent
from hypothesis import given, settings
from hypothesis import strategies as st

from sparring.certification.certificate import Verdict
from sparring.certification.networks.bounds.ascent import certified
from sparring.certification.networks.bounds.crown import lower, preactivation_bounds, relaxations
from sparring.certification.networks.bounds.inputs import InputSet
from sparring.certification.networks.bounds.interval import Interval
from sparring.certification.networks.decide import decide
from sparring.certification.networks.exact.domains import Domains, Layout, Pool
from sparring.certification.networks.falsify import descend, starting_points
from sparring.certification.networks.query import Query

ONLY = ["ibp", "crown", "relu_split"]


def asked(network, inputs, rows, offset, disjunct=None):
    """One query a sample; rows [n, r, outputs], offset [n, r]."""
    each = torch.arange(rows.shape[1]).expand(rows.shape[:2]) if disjunct is None else disjunct
    return Query(network, inputs, rows, offset, each)


@given(st.integers(0, 10_000), st.sampled_from([0.3, 1.0, 2.5]))
@settings(max_examples=8, deadline=None)
def test_exact_against_all_patterns_of_signs(seed, radius):
    network = mlp(seed, (3, 3, 3, 2))
    g = torch.Generator().manual_seed(seed)
    inputs = box(torch.randn(1, 3, generator=g, dtype=torch.float64), radius)
    row = torch.randn(2, generator=g, dtype=torch.float64)
    least = exact_minimum(network, inputs.low[0].numpy(), inputs.high[0].numpy(), row.numpy())
    twice = InputSet(inputs.low.repeat(2, 1), inputs.high.repeat(2, 1))
    offset = torch.tensor([[1e-3 - least], [-1e-3 - least]], dtype=torch.float64)
    ways = {"again": 1} if seed % 2 else {"filtered": 2}
    above, below = decide(asked(network, twice, row.expand(2, 1, 2), offset), verifiers={"ibp": {}, "crown": {}, "relu_split": ways})
    assert above.verdict is Verdict.PROVED
    assert not above.margin > 1e-3 + 1e-9 or above.verifier != "relu_split"  # NaN where it was proved in parts
    assert below.verdict is Verdict.REFUTED
    assert below.counterexample is not None
    assert float((network(below.counterexample[None]) @ row) + offset[1]) <= 0


@pytest.mark.parametrize("make", [convolution, residual])
@pytest.mark.parametrize("seed", range(4))
def test_other_shapes_agree_with_points(make, seed):
    network = make(seed)
    x = torch.randn(4, *network.input_shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    inputs = box(x, 0.5)
    label = network(x).argmax(1)
    answers = decide(Query.robustness(network, inputs, label), verifiers=ONLY)
    seen = network(points_of(inputs, 3000).flatten(0, 1)).argmax(1).reshape(4, -1)
    for sample, answer in enumerate(answers):
        assert answer.verdict is not Verdict.UNKNOWN
        if bool((seen[sample] != label[sample]).any()):
            assert answer.verdict is Verdict.REFUTED


@pytest.mark.parametrize("shift", [0.0, 0.0005])
def test_a_planted_needle_is_found_and_never_proved_away(shift):
    network = needle(1.0)
    low, high = torch.zeros(1, 2, dtype=torch.float64), torch.ones(1, 2, dtype=torch.float64)
    low[0, 0] = 0.613 + shift  # the set begins inside of the needle
    (answer,) = decide(Query.robustness(network, InputSet(low, high), torch.tensor([0])), verifiers=ONLY)
    assert answer.verdict is Verdict.REFUTED
    low[0, 0] = 0.613 + 0.0011  # and just outside of where class 1 wins, half the width away
    (answer,) = decide(Query.robustness(network, InputSet(low, high), torch.tensor([0])), verifiers=ONLY)
    assert answer.verdict is Verdict.PROVED


@pytest.mark.parametrize("domains", [1, 5])
def test_a_needle_is_open_not_proved_when_domains_run_out(domains):
    network = mlp(3, (6, 12, 12, 2))
    inputs = box(torch.zeros(1, 6, dtype=torch.float64), 2.0)
    seen = network(points_of(inputs, 20_000)[0])
    least = float((seen[:, 0] - seen[:, 1]).min())
    rows, offset = torch.tensor([[[1.0, -1.0]]], dtype=torch.float64), torch.tensor([[0.5 - least]], dtype=torch.float64)
    (answer,) = decide(asked(network, inputs, rows, offset), verifiers={"ibp": {}, "crown": {}, "relu_split": {"domains": domains}})
    assert answer.verdict is Verdict.UNKNOWN
    assert answer.reason.startswith("domains: ")


@given(st.integers(0, 10_000))
@settings(max_examples=6, deadline=None)
def test_disjuncts_of_several_rows(seed):
    """Unsafe where two rows hold together: no point of a proved set is, and refuted ones show theirs."""
    network = mlp(seed, (2, 5, 4, 3))
    g = torch.Generator().manual_seed(seed)
    inputs = box(torch.randn(3, 2, generator=g, dtype=torch.float64), 0.8)
    query = Query.reaching(network, inputs, torch.tensor([0, 1, 2]))
    answers = decide(query, verifiers=ONLY)
    x = points_of(inputs, 3000)
    for sample, answer in enumerate(answers):
        assert answer.verdict is not Verdict.UNKNOWN, answer.reason
        reached = network(x[sample]).argmax(1) == sample
        if answer.verdict is Verdict.PROVED:
            assert not bool(reached.any())
        else:
            assert answer.counterexample is not None
            assert int(network(answer.counterexample[None]).argmax()) == sample


def test_together_as_alone():
    network = mlp(8, (5, 10, 10, 3))
    inputs = box(torch.randn(6, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64), 0.6)
    query = Query.robustness(network, inputs, network(inputs.middle).argmax(1))
    together = decide(query, verifiers=ONLY)
    alone = [decide(query.take(torch.tensor([row])), verifiers=ONLY)[0] for row in range(6)]
    assert [one.verdict for one in together] == [one.verdict for one in alone]
    assert any(one.verifier == "relu_split" for one in together)


def test_the_limit_of_time_is_kept(monkeypatch):
    network = mlp(1, (40, 80, 80, 80, 2))
    inputs = box(torch.zeros(1, 40, dtype=torch.float64), 0.5)
    rows = torch.tensor([[[1.0, -1.0]]], dtype=torch.float64)
    plain = lower(network, inputs, 7, rows, relaxations(network, preactivation_bounds(network, inputs)))
    query = asked(network, inputs, rows, torch.zeros(1, 1, dtype=torch.float64))
    near = descend(query, starting_points(query, torch.arange(1), 8, 0), 50)[0]
    least = float((network(near) @ rows[0, 0]).min())
    offset = -(0.7 * least + 0.3 * plain)  # far below any point that was found, above what bounds of the whole give
    query = asked(network, inputs, rows, offset)
    (answer,), took = spent(monkeypatch, lambda: decide(query, verifiers=ONLY, seconds=2.0))
    assert 1.5 < took < 2.4
    assert answer.verdict is Verdict.UNKNOWN
    assert answer.reason.startswith("time: ")


def test_halves_cover_the_parent_and_pools_lose_nothing():
    count, width = 5, 4
    g = torch.Generator().manual_seed(0)
    low, high = -torch.rand(count, width, generator=g, dtype=torch.float64), torch.rand(count, width, generator=g, dtype=torch.float64)
    zeros = torch.zeros(count, width)
    parents = Domains(
        torch.arange(count) % 2, torch.randn(count, generator=g, dtype=torch.float64), torch.zeros(count, dtype=torch.int64),
        torch.ones(count, 1, dtype=torch.float64), low, high, zeros.to(torch.int8), zeros, zeros,
    )  # fmt: skip
    column = torch.tensor([0, 1, 2, 3, 0])
    halves = parents.split(column)
    for row, number in enumerate(column.tolist()):
        upper, under = row, row + count
        assert halves.low[upper, number] == 0
        assert halves.high[under, number] == 0
        assert (halves.high[upper, number], halves.low[under, number]) == (high[row, number], low[row, number])
        assert (int(halves.sign[upper, number]), int(halves.sign[under, number])) == (-1, 1)
        others = torch.arange(width) != number
        for half in (upper, under):
            assert torch.equal(halves.low[half, others], low[row, others])
            assert torch.equal(halves.high[half, others], high[row, others])
    pool = Pool(halves)
    pool.put(halves)
    first = pool.take(pool.worst(4, torch.zeros(2)))
    assert sorted(first.owner.tolist()) == [0, 0, 1, 1]
    pool.put(parents)
    rest = pool.take(pool.slots())
    assert sorted(torch.cat([first.lower, rest.lower]).tolist()) == sorted(torch.cat([halves.lower, parents.lower]).tolist())


@pytest.mark.parametrize("seed", [0, 3, 4])
def test_what_is_written_down_proves_it(seed):
    """Of networks for which splits prove samples that bounds do not."""
    network = mlp(seed, (3, 7, 6, 3))
    inputs = box(torch.randn(8, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), 0.7)
    label = network(inputs.middle).argmax(1)
    query = Query.robustness(network, inputs, label)
    answers = decide(query, verifiers=["attack", "alpha", "relu_split"], proofs=True)
    proved = [sample for sample, answer in enumerate(answers) if answer.verdict is Verdict.PROVED]
    assert any(answers[sample].verifier == "relu_split" for sample in proved)
    for sample in proved:
        proof = answers[sample].proof
        assert {leaf.disjunct for leaf in proof.leaves} == {0, 1}
        for disjunct in (0, 1):
            leaves = [leaf for leaf in proof.leaves if leaf.disjunct == disjunct]
            assert covers([frozenset((split.activation, split.index, split.sign) for split in leaf.splits) for leaf in leaves])
            for leaf in leaves:
                assert replayed(query, sample, proof, leaf) > 0


def covers(leaves):
    """Are these sets of splits the leaves of a binary tree?"""
    if leaves == [frozenset()]:
        return True
    for activation, index, sign in sorted(leaves[0]) if leaves else []:
        halves = [[leaf for leaf in leaves if (activation, index, way) in leaf] for way in (sign, -sign)]
        if all(halves) and len(halves[0]) + len(halves[1]) == len(leaves):
            return all(covers([leaf - {(activation, index, way)} for leaf in half]) for half, way in zip(halves, (sign, -sign), strict=True))
    return False


def test_covers_itself():
    a, b = (2, 0, 1), (4, 1, 1)
    assert covers([frozenset({a}), frozenset({(2, 0, -1), b}), frozenset({(2, 0, -1), (4, 1, -1)})])
    assert not covers([frozenset({a}), frozenset({(2, 0, -1), b})])
    assert not covers([])
    assert not any(covers([frozenset(pair)]) for pair in itertools.combinations([a, b], 1))


def replayed(query, sample, proof, leaf):
    """The bound of a leaf, from what the proof says and nothing else."""
    network, one = query.network, torch.tensor([sample])
    inputs = query.inputs.take(one)
    bounds = preactivation_bounds(network, inputs)
    for step in proof.tightenings[: leaf.tightened]:
        count = len(step.index)
        rows = torch.zeros(count, *network.shapes[step.node], dtype=torch.float64)
        rows.view(count, -1)[torch.arange(count), torch.from_numpy(step.index)] = torch.from_numpy(step.sign).double()
        many = {place: bound.take(torch.zeros(count, dtype=torch.int64)) for place, bound in bounds.items()}
        slopes = {place: torch.from_numpy(slope) for place, slope in step.slopes.items()}
        found = certified(network, inputs.take(torch.zeros(count, dtype=torch.int64)), step.node, rows, many, slopes, {})
        low, high = bounds[step.node].low.clone().flatten(), bounds[step.node].high.clone().flatten()
        for index, sign, value in zip(step.index, step.sign, found.tolist(), strict=True):
            if sign > 0:
                low[index] = max(float(low[index]), value)
            else:
                high[index] = min(float(high[index]), -value)
        bounds[step.node] = Interval(low.reshape(1, -1), high.reshape(1, -1))
    signed = {place: torch.zeros(1, *network.shapes[place], dtype=torch.float64) for place in network.nonlinearities}
    for split in leaf.splits:
        node = network.nodes[split.activation].inputs[0]
        low, high = bounds[node].low.clone(), bounds[node].high.clone()
        (low if split.sign < 0 else high)[0, split.index] = 0.0
        bounds[node] = Interval(low, high)
        if split.activation in leaf.multipliers:
            pressure = float(leaf.multipliers[split.activation].reshape(-1)[split.index])
            assert pressure >= 0
            signed[split.activation][0, split.index] = split.sign * pressure
    assert np.all(leaf.weights >= 0)
    assert np.all(leaf.weights[query.disjunct[sample].numpy() != leaf.disjunct] == 0)
    weights = torch.from_numpy(leaf.weights)
    row = (weights @ query.constraints[sample])[None]
    slopes = {place: torch.from_numpy(slope)[None] for place, slope in leaf.slopes.items()}
    return float(certified(network, inputs, len(network.nodes) - 1, row, bounds, slopes, signed)) + float(weights @ query.offset[sample])


def test_places_of_numbers():
    network = convolution(0)
    layout = Layout.of(network)
    shapes = {place: network.shapes[place] for place in layout.begin}
    values = {place: torch.arange(torch.Size(shape).numel(), dtype=torch.float64).reshape(1, *shape) + 100 * place for place, shape in shapes.items()}
    flat = layout.flat(values)
    assert flat.shape == (1, layout.total)
    for number in range(layout.total):
        activation, index = layout.locate(number)
        assert float(values[activation].flatten()[index]) == float(flat[0, number])
    assert all(torch.equal(part, values[place]) for place, part in layout.parts(flat).items())
