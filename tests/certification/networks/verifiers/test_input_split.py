"""Splitting inputs against truths known otherwise: activation regions enumerated by linear programs, planted bumps, closed forms."""

import itertools

import numpy as np
import pytest
import torch
from certification.work_clock import spent
from scipy.optimize import linprog
from torch import Tensor

from sparring.certification.certificate import Verdict
from sparring.certification.networks.bounds.inputs import InputSet
from sparring.certification.networks.decide import decide
from sparring.certification.networks.exact.box_forms import Boxes, Crown
from sparring.certification.networks.exact.zonotopes import Zonotopes, stack_of
from sparring.certification.networks.query import Query
from sparring.certification.networks.state import QueryAnswer
from sparring.certification.networks.verifiers.input_split import clipped, disjunct_rows, halves
from sparring.graph.network import Network, Node
from sparring.graph.operators import Add, Conv, Input, Linear, Relu, Reshape, Scale, Tanh


def mlp(sizes: list[int], seed: int, scale: float = 1.0) -> Network:
    rng = torch.Generator().manual_seed(seed)
    nodes = [Node(Input((sizes[0],)))]
    for turn, (before, after) in enumerate(itertools.pairwise(sizes)):
        weight = torch.randn(after, before, generator=rng, dtype=torch.float64) * scale / before**0.5
        nodes.append(Node(Linear(weight, torch.randn(after, generator=rng, dtype=torch.float64) * 0.3), (len(nodes) - 1,)))
        if turn < len(sizes) - 2:
            nodes.append(Node(Relu(), (len(nodes) - 1,)))
    return Network(tuple(nodes))


def asked(network: Network, low: list[float], high: list[float], disjuncts: list[tuple[list[list[float]], list[float]]]) -> Query:
    """One query; disjuncts: (rows, offsets) each."""
    rows = torch.tensor([row for disjunct in disjuncts for row in disjunct[0]], dtype=torch.float64)
    offset = torch.tensor([one for disjunct in disjuncts for one in disjunct[1]], dtype=torch.float64)
    numbers = torch.tensor([place for place, disjunct in enumerate(disjuncts) for _ in disjunct[0]])
    box = InputSet(torch.tensor([low], dtype=torch.float64), torch.tensor([high], dtype=torch.float64))
    return Query(network, box, rows[None], offset[None], numbers[None])


def regions(weights: list[np.ndarray], biases: list[np.ndarray], low: np.ndarray, high: np.ndarray):
    """(A, b of the output as A x + b; G, h with the region being G x <= h) of all activation regions that meet the box, by depth-first linear programs."""

    def nonempty(g: list, h: list) -> bool:
        if not g:
            return True
        return linprog(np.zeros(len(low)), A_ub=np.array(g), b_ub=np.array(h), bounds=list(zip(low, high, strict=True)), method="highs").status == 0

    def descend(layer: int, neuron: int, before, signs: list[float], g: list, h: list):
        a, b = weights[layer] @ before[0], weights[layer] @ before[1] + biases[layer]
        if layer == len(weights) - 1:
            yield a, b, np.array(g).reshape(-1, len(low)), np.array(h)
            return
        if neuron == len(b):
            keep = np.array(signs)
            yield from descend(layer + 1, 0, (a * keep[:, None], b * keep), [], g, h)
            return
        for sign, factor in ((1.0, -1.0), (0.0, 1.0)):
            one, other = [*g, factor * a[neuron]], [*h, -factor * b[neuron]]
            if nonempty(one, other):
                yield from descend(layer, neuron + 1, before, [*signs, sign], one, other)

    yield from descend(0, 0, (np.eye(len(low)), np.zeros(len(low))), [], [], [])


def truth(query: Query) -> float:
    """The exact least margin: over all regions and disjuncts the least over x of the greatest row."""
    linears = [node.operator for node in query.network.nodes if isinstance(node.operator, Linear)]
    weights, biases = [one.weight.numpy() for one in linears], [one.bias.numpy() for one in linears if one.bias is not None]
    low, high = query.inputs.low[0].numpy(), query.inputs.high[0].numpy()
    rows, offset, disjunct = query.constraints[0].numpy(), query.offset[0].numpy(), query.disjunct[0].numpy()
    least = np.inf
    for a, b, g, h in regions(weights, biases, low, high):
        for number in range(disjunct.max() + 1):
            own = disjunct == number
            upper = np.hstack([rows[own] @ a, -np.ones((own.sum(), 1))])
            lower = np.hstack([g, np.zeros((len(g), 1))])
            bounds = [*zip(low, high, strict=True), (None, None)]
            cost = np.eye(len(low) + 1)[-1]
            found = linprog(cost, A_ub=np.vstack([upper, lower]), b_ub=np.concatenate([-(rows[own] @ b) - offset[own], h]), bounds=bounds, method="highs")
            if found.status == 0:
                least = min(least, found.fun)
    return least


def one(query: Query, **settings) -> QueryAnswer:
    (answer,) = decide(query, verifiers={"input_split": settings})
    return answer


CLAUSES = {
    "row": [([[1.0, -1.0, 0.0]], [0.0])],
    "disjunction": [([[1.0, -1.0, 0.0]], [0.0]), ([[1.0, 0.0, -1.0]], [0.0])],
    "conjunction": [([[1.0, -1.0, 0.0], [-1.0, 0.0, 1.0]], [0.0, 0.0])],
    "both": [([[1.0, -1.0, 0.0], [1.0, 0.0, -1.0]], [0.0, 0.0]), ([[0.0, 1.0, 0.0]], [0.0])],
}


@pytest.mark.parametrize("kind", CLAUSES)
@pytest.mark.parametrize("seed", range(2))
def test_verdicts_on_both_sides_of_the_exact_least_margin(kind: str, seed: int) -> None:
    network = mlp([2, 5, 4, 3], seed)
    base = asked(network, [-1.0, -1.0], [1.0, 1.0], CLAUSES[kind])
    least = truth(base)
    for gap, verdict in ((1e-3, Verdict.PROVED), (-1e-3, Verdict.REFUTED)):
        query = Query(network, base.inputs, base.constraints, base.offset - least + gap, base.disjunct)  # the least margin is now the gap
        for clip in (True, False):
            answer = one(query, clip=clip)
            assert answer.verdict is verdict, (gap, clip, answer)
            if answer.counterexample is not None:
                assert bool(query.inputs.contains(answer.counterexample[None]))
                assert float(query.margin(query.at(answer.counterexample[None]))) <= 0


@pytest.mark.parametrize("width", [1e-2, 1e-4])
def test_a_hidden_bump_is_never_proved_away(width: float) -> None:
    """y = 1 - bump, the bump reaching 2 at one hidden point and being 0 farther than `width` from it in any input."""
    place = torch.tensor([0.3137, -0.7211], dtype=torch.float64)
    eye = torch.eye(2, dtype=torch.float64)
    first = Linear(torch.cat([eye, -eye]) / width, torch.cat([-place, place]) / width)  # relus sum to |x - place|_1 / width
    second = Linear(-2.0 * torch.ones(1, 4, dtype=torch.float64), torch.tensor([2.0], dtype=torch.float64))
    third = Linear(-torch.ones(1, 1, dtype=torch.float64), torch.tensor([1.0], dtype=torch.float64))
    network = Network((Node(Input((2,))), Node(first, (0,)), Node(Relu(), (1,)), Node(second, (2,)), Node(Relu(), (3,)), Node(third, (4,))))
    query = asked(network, [-1.0, -1.0], [1.0, 1.0], [([[1.0]], [0.0])])
    assert float(query.at(place[None])) < 0
    assert one(query).verdict is Verdict.REFUTED
    aside = asked(network, [-1.0, -1.0], [float(place[0]) - width, 1.0], [([[1.0]], [0.0])])
    assert one(aside).verdict is Verdict.PROVED
    few = one(query, boxes=3)
    assert few.verdict is not Verdict.PROVED


def test_bounds_of_sub_boxes_hold_at_sampled_points_and_their_forms_below_them() -> None:
    """Both ways of bounding, at the corners and random points of random boxes, fixed inputs included."""
    network = mlp([4, 9, 8, 3], 5)
    rng = torch.Generator().manual_seed(0)
    low = torch.rand(2, 4, generator=rng, dtype=torch.float64) - 1
    high = low + torch.tensor([1.0, 0.5, 0.0, 2.0], dtype=torch.float64)
    rows = torch.randn(2, 4, 3, generator=rng, dtype=torch.float64)
    query = Query(network, InputSet(low, high), rows, torch.randn(2, 4, generator=rng, dtype=torch.float64), torch.zeros(2, 4, dtype=torch.int64))
    axes = torch.tensor([0, 1, 3])
    boxes = Boxes(low[:, axes], high[:, axes], torch.arange(2), torch.ones(2, 1, dtype=torch.bool))
    for turn in range(5):
        boxes = halves(boxes, torch.full((boxes.count,), turn % 3))
    layers = stack_of(network)
    assert layers is not None
    for former in (Zonotopes(query, axes, layers), Crown(query, axes)):
        forms = former.forms(boxes, query.constraints[boxes.owner], query.offset[boxes.owner])
        for _ in range(200):
            t = (torch.rand(boxes.count, 3, generator=rng, dtype=torch.float64) * 2.4 - 1.2).clamp(-1, 1)
            x = boxes.middle + (boxes.high - boxes.low) / 2 * t
            values = query.take(boxes.owner).at(former.points(boxes.owner, x))
            linear = (forms.slope * t[:, None]).sum(2) + forms.constant
            assert bool((values >= linear - 1e-9).all())
            assert bool((values >= forms.lower).all())
        loss = forms.loss(torch.arange(boxes.count), torch.zeros(boxes.count, dtype=torch.int64))
        assert bool((loss >= 0).all())
        assert float(loss.sum()) > 0


def test_forms_of_boxes_without_open_neurons_are_exact() -> None:
    network = mlp([2, 8, 8, 2], 1)
    middle = torch.tensor([[0.2, -0.4]], dtype=torch.float64)
    rows = torch.tensor([[[1.0, -1.0]]], dtype=torch.float64)
    inputs = InputSet(middle - 1e-4, middle + 1e-4)
    query = Query(network, inputs, rows, torch.zeros(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.int64))
    corners = torch.tensor(list(itertools.product((-1e-4, 1e-4), repeat=2)), dtype=torch.float64) + middle
    least = float(query.take(torch.zeros(4, dtype=torch.int64)).at(corners).min())
    boxes = Boxes(inputs.low, inputs.high, torch.zeros(1, dtype=torch.int64), torch.ones(1, 1, dtype=torch.bool))
    layers = stack_of(network)
    assert layers is not None
    for former in (Zonotopes(query, torch.arange(2), layers), Crown(query, torch.arange(2))):
        assert float(former.forms(boxes, rows, query.offset).lower) == pytest.approx(least, abs=1e-9)


def test_halves_fill_the_box_and_share_only_the_cut() -> None:
    rng = torch.Generator().manual_seed(1)
    low = torch.rand(50, 3, generator=rng, dtype=torch.float64)
    boxes = Boxes(low, low + torch.rand(50, 3, generator=rng, dtype=torch.float64), torch.arange(50), torch.ones(50, 2, dtype=torch.bool))
    axis = torch.randint(3, (50,), generator=rng)
    cut = halves(boxes, axis)
    first, second = cut.take(slice(0, 100, 2)), cut.take(slice(1, 100, 2))
    assert torch.equal(first.low, boxes.low)
    assert torch.equal(second.high, boxes.high)
    here = axis[:, None]
    assert torch.equal(first.high.gather(1, here), second.low.gather(1, here))
    others = torch.ones(50, 3, dtype=torch.bool).scatter(1, here, False)
    assert torch.equal(first.high[others], boxes.high[others])
    assert torch.equal(second.low[others], boxes.low[others])
    assert torch.equal(cut.owner, torch.arange(50).repeat_interleave(2))


def test_clipping_keeps_every_point_at_which_a_disjunct_can_hold() -> None:
    """Rows that are linear, so that where a disjunct holds is known exactly; some boxes lose most of their volume."""
    rng = torch.Generator().manual_seed(2)
    k, d = 200, 3
    slope = torch.randn(k, 4, d, generator=rng, dtype=torch.float64)
    constant = torch.randn(k, 4, generator=rng, dtype=torch.float64) * 2
    index = torch.tensor([[0, 1], [2, 3]]).expand(k, 2, 2)
    boxes = Boxes(-torch.ones(k, d, dtype=torch.float64), torch.ones(k, d, dtype=torch.float64), torch.arange(k), torch.ones(k, 2, dtype=torch.bool))
    found, share = clipped(boxes, slope, constant, boxes.middle, boxes.half, index)
    for _ in range(300):
        t = torch.rand(k, d, generator=rng, dtype=torch.float64) * 2 - 1
        holds = (((slope * t[:, None]).sum(2) + constant) <= 0).reshape(k, 2, 2).all(2)
        inside = ((t >= found.low) & (t <= found.high)).all(1)
        assert bool((inside | ~holds.any(1)).all())
        assert not bool((holds & ~found.open_).any())
    gone = ~found.open_.any(1)
    assert 5 < int(gone.sum()) < k
    assert float(share[~gone].prod(1).mean()) < 0.9


def test_nothing_is_clipped_by_forms_that_are_not_finite() -> None:
    boxes = Boxes(torch.zeros(2, 1, dtype=torch.float64), torch.ones(2, 1, dtype=torch.float64), torch.arange(2), torch.ones(2, 1, dtype=torch.bool))
    slope = torch.tensor([[[float("nan")]], [[1.0]]], dtype=torch.float64)
    constant = torch.tensor([[100.0], [float("nan")]], dtype=torch.float64)
    found, _ = clipped(boxes, slope, constant, boxes.middle, boxes.half, torch.zeros(2, 1, 1, dtype=torch.int64))
    assert torch.equal(found.low, boxes.low)
    assert torch.equal(found.high, boxes.high)
    assert bool(found.open_.all())


def test_constraints_of_disjuncts_with_gaps_and_filling() -> None:
    network = mlp([2, 3, 2], 0)
    disjunct = torch.tensor([[0, 1, 0, -1], [0, 0, 0, 0]])
    box = InputSet(torch.zeros(2, 2, dtype=torch.float64), torch.ones(2, 2, dtype=torch.float64))
    query = Query(network, box, torch.zeros(2, 4, 2, dtype=torch.float64), torch.zeros(2, 4, dtype=torch.float64), disjunct)
    index, within = disjunct_rows(query)
    rows = [[sorted(set(index[n, c][within[n, c]].tolist())) for c in range(2)] for n in range(2)]
    assert rows == [[[0, 2], [1]], [[0, 1, 2, 3], []]]


@pytest.mark.parametrize("fixed", [1, 2, 3])
def test_inputs_of_zero_width(fixed: int) -> None:
    """With inputs fixed the answer is that of the smaller network; with all of them fixed, of one point."""
    network = mlp([3, 6, 2], 3)
    low = [0.1, -0.2, 0.3]
    high = [value + (place >= fixed) for place, value in enumerate(low)]
    least = truth(asked(network, low, high, [([[1.0, 0.0]], [0.0])]))
    for gap, verdict in ((1e-4, Verdict.PROVED), (-1e-4, Verdict.REFUTED)):
        assert one(asked(network, low, high, [([[1.0, 0.0]], [gap - least])])).verdict is verdict


@pytest.mark.parametrize(("gap", "wrong"), [(1e-14, Verdict.REFUTED), (-1e-14, Verdict.PROVED)])
def test_a_point_next_to_the_border_is_not_on_the_other_side(gap: float, wrong: Verdict) -> None:
    """All inputs are fixed, and the margin is about a hundred roundings."""
    network, point = mlp([3, 6, 2], 3), [0.1, -0.2, 0.3]
    value = float(network(torch.tensor([point], dtype=torch.float64))[0, 0])
    assert one(asked(network, point, point, [([[1.0, 0.0]], [gap - value])]), boxes=2000).verdict is not wrong


def test_any_network_that_can_be_bounded() -> None:
    """A residual convolution with tanh has no stack of layers; the truth is a fine grid and the largest slope there."""
    rng = torch.Generator().manual_seed(4)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64) * 0.5

    nodes = (
        Node(Input((2,))), Node(Linear(draw(9, 2)), (0,)), Node(Reshape((1, 3, 3)), (1,)), Node(Conv(draw(1, 1, 3, 3), padding=(1, 1)), (2,)),
        Node(Tanh(), (3,)), Node(Add(), (2, 4)), Node(Relu(), (5,)), Node(Reshape((9,)), (6,)), Node(Linear(draw(1, 9)), (7,)),
    )  # fmt: skip
    network = Network(nodes)
    assert stack_of(network) is None
    side = torch.linspace(-1, 1, 401, dtype=torch.float64)
    x = torch.cartesian_prod(side, side).requires_grad_()
    y = network(x)
    (g,) = torch.autograd.grad(y.sum(), x)
    least, error = float(y.min().detach()), float(g.abs().sum(1).max()) / 400
    for offset, verdict in ((-least + 2 * error, Verdict.PROVED), (-least - 1e-9, Verdict.REFUTED)):
        assert one(asked(network, [-1.0, -1.0], [1.0, 1.0], [([[1.0]], [offset])])).verdict is verdict


def test_a_stack_is_the_network_written_out() -> None:
    rng = torch.Generator().manual_seed(6)
    convolution = Conv(torch.randn(2, 1, 2, 2, generator=rng, dtype=torch.float64), torch.randn(2, generator=rng, dtype=torch.float64))
    nodes = (
        Node(Input((9,))), Node(Scale(torch.full((9,), 2.0, dtype=torch.float64), torch.ones(9, dtype=torch.float64)), (0,)), Node(Reshape((1, 3, 3)), (1,)),
        Node(convolution, (2,)), Node(Relu(), (3,)), Node(Reshape((8,)), (4,)), Node(Linear(torch.randn(3, 8, generator=rng, dtype=torch.float64)), (5,)),
    )  # fmt: skip
    network = Network(nodes)
    layers = stack_of(network)
    assert layers is not None
    assert len(layers) == 2
    x = torch.randn(20, 9, generator=rng, dtype=torch.float64)
    value = (x @ layers[0].weight + layers[0].bias).relu() @ layers[1].weight + layers[1].bias
    torch.testing.assert_close(value, network(x))
    assert stack_of(Network((*nodes, Node(Relu(), (6,))))) is not None


def test_the_limit_of_time_is_kept_and_the_reason_says_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    network = mlp([12, 40, 40, 2], 7, 2.0)
    least = float(network(torch.rand(5000, 12, dtype=torch.float64) * 2 - 1)[:, 0].min())
    query = asked(network, [-1.0] * 12, [1.0] * 12, [([[1.0, 0.0]], [-least + 8.0])])
    (answer,), took = spent(monkeypatch, lambda: decide(query, verifiers={"input_split": {"share": 1.0}}, seconds=1.0))
    assert answer.verdict is Verdict.UNKNOWN
    assert answer.reason.startswith("time: ")
    assert "open with" in answer.reason
    assert 0.9 < took < 1.2
    (few,) = decide(query, verifiers={"input_split": {"boxes": 100}})
    assert few.verdict is Verdict.UNKNOWN
    assert few.reason.startswith("boxes: the limit of 100")
    assert "100 boxes processed" in few.reason


def test_with_a_cap_a_verdict_does_not_depend_on_who_else_is_asked() -> None:
    network = mlp([4, 12, 12, 3], 8)
    rng = torch.Generator().manual_seed(3)
    x = torch.rand(12, 4, generator=rng, dtype=torch.float64) * 2 - 1
    label = network(x).argmax(1)
    query = Query.robustness(network, InputSet(x - 1.0, x + 1.0), label)
    settings = {"input_split": {"boxes": 40}}
    together = [answer.verdict for answer in decide(query, verifiers=settings)]
    alone = [decide(query.take(torch.tensor([place])), verifiers=settings)[0].verdict for place in range(12)]
    assert together == alone
    assert len(set(together)) >= 2


def test_a_larger_set_is_never_proved_where_a_smaller_one_is_not() -> None:
    network = mlp([3, 10, 10, 3], 9)
    x = torch.tensor([[0.3, -0.6, 0.1]], dtype=torch.float64)
    label = network(x).argmax(1)
    order = {Verdict.PROVED: 0, Verdict.UNKNOWN: 1, Verdict.REFUTED: 2}
    verdicts = [order[one(Query.robustness(network, InputSet(x - r, x + r), label)).verdict] for r in (0.01, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)]
    assert verdicts == sorted(verdicts)
    assert verdicts[0] == 0
    assert verdicts[-1] == 2
    assert 1 not in verdicts


@pytest.mark.parametrize("kind", ["row", "disjunction", "both"])
def test_leaves_of_a_proof_fill_the_box_for_every_disjunct_and_hold_at_points(kind: str) -> None:
    network = mlp([2, 5, 4, 3], 0)
    base = asked(network, [-1.0, -0.5], [1.0, 0.5], CLAUSES[kind])
    query = Query(network, base.inputs, base.constraints, base.offset - truth(base) + 1e-2, base.disjunct)
    (answer,) = decide(query, verifiers=["input_split"], proofs=True)
    assert answer.verdict is Verdict.PROVED
    assert answer.proof.kind == "input_split"
    volume = dict.fromkeys(range(base.disjuncts), 0.0)
    rng = np.random.default_rng(0)
    for leaf in answer.proof.leaves:
        points = torch.from_numpy(leaf.low + rng.random((20, 2)) * (leaf.high - leaf.low))
        values = network(points) @ query.constraints[0].T + query.offset[0]
        for disjunct, weights in leaf.weights.items():
            assert (weights >= 0).all()
            assert not weights[query.disjunct[0].numpy() != disjunct].any()
            assert bool((values @ torch.from_numpy(weights) > 0).all())
            volume[disjunct] += float(np.prod(leaf.high - leaf.low))
    assert volume == pytest.approx(dict.fromkeys(range(base.disjuncts), 2.0))


def test_a_point_that_the_deployed_model_does_not_confirm_is_no_counterexample() -> None:
    network = mlp([2, 5, 4, 3], 1)
    query = asked(network, [-1.0, -1.0], [1.0, 1.0], [([[1.0, 0.0, 0.0]], [-1e6])])  # unsafe everywhere
    asked_for = []

    def refuse(points: Tensor, places: Tensor) -> Tensor:
        asked_for.append(len(points))
        return torch.zeros(len(points), dtype=torch.bool)

    (answer,) = decide(query, verifiers={"input_split": {"boxes": 2000}}, replay=refuse)
    assert answer.verdict is Verdict.UNKNOWN
    assert 1 <= sum(asked_for) <= 16
    (answer,) = decide(query, verifiers={"input_split": {"boxes": 2000}}, replay=lambda points, places: torch.ones(len(points), dtype=torch.bool))
    assert answer.verdict is Verdict.REFUTED


def test_too_many_inputs_are_left_to_others() -> None:
    network = mlp([30, 4, 2], 0)
    (answer,) = decide(asked(network, [0.0] * 30, [1.0] * 30, [([[1.0, 0.0]], [0.0])]), verifiers=["input_split"])
    assert answer.verdict is Verdict.UNKNOWN
    (answer,) = decide(asked(network, [0.0] * 30, [1.0] * 2 + [0.0] * 28, [([[1.0, 0.0]], [1e3])]), verifiers=["input_split"])
    assert answer.verdict is Verdict.PROVED


@pytest.mark.parametrize("own", [False, True])
def test_rounding_of_the_executed_network_is_counted(own: bool) -> None:
    """With a error of 0.1 on a linear output of weight 1, what is proved by less than 0.1 is no longer proved."""
    network = Network((Node(Input((1,))), Node(Linear(torch.ones(1, 1, dtype=torch.float64)), (0,)), Node(Relu(), (1,))))
    low = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    disjunct = torch.zeros(2, 1, dtype=torch.int64)
    query = Query(network, InputSet(low, low + 1), torch.ones(2, 1, 1, dtype=torch.float64), torch.full((2, 1), -0.95, dtype=torch.float64), disjunct)
    error = torch.full((2, 1) if own else (1,), 0.1, dtype=torch.float64)
    settings = {"attack": {}, "input_split": {"boxes": 50}}  # the attack settles the first
    assert [answer.verdict for answer in decide(query, verifiers=settings)] == [Verdict.REFUTED, Verdict.PROVED]
    assert [answer.verdict for answer in decide(query, verifiers=settings, rounding={1: error})] == [Verdict.REFUTED, Verdict.UNKNOWN]
