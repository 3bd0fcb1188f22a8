"""The portfolio and its scheduler: verifiers with known costs and chances on a clock of our own, and the limit of work on networks too large for a verifier."""

import time
from pathlib import Path

import pytest
import torch
from certification.networks.small_networks import box, convolution, mlp, residual
from certification.work_clock import spent

from sparring.certification.certificate import Verdict
from sparring.certification.networks import decide as module
from sparring.certification.networks.bounds.crown import preactivation_bounds
from sparring.certification.networks.bounds.execution import rounding_errors
from sparring.certification.networks.bounds.inputs import InputSet
from sparring.certification.networks.cost_model import crown_cost, forward_cost, open_signs, row_cost
from sparring.certification.networks.decide import decide
from sparring.certification.networks.portfolio import at_effort, portfolio
from sparring.certification.networks.query import Query
from sparring.certification.networks.state import VerificationState
from sparring.certification.networks.verifier import Estimate, Verifier, VerifierSchedule
from sparring.core.errors import PlanError
from sparring.core.registry import everything
from sparring.graph.network import Network, Node
from sparring.graph.operators import Input, Linear, Relu

MODELS = Path(__file__).resolve().parents[4] / "shared" / "data" / "models"


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(time, "monotonic", made)
    return made


def fake(clock, log, name, *, chance=0.5, seconds=1.0, order=50, proves=0, anytime=False, misfit="", after=(), divides_time=False):
    """A verifier that takes so many seconds and proves so many of the open queries; an anytime one takes all it is given."""

    def method(state):
        took = state.seconds_left() if anytime else seconds
        clock.now += took
        log.append((name, round(took, 6)))
        if proves:
            state.prove(torch.arange(len(state)) < proves)

    schedule = VerifierSchedule(after=after, anytime=anytime, divides_time=divides_time, estimate=lambda state: Estimate(chance, seconds))
    return Verifier(name, method, order, lambda state: misfit, "", schedule=schedule)


def run(monkeypatch, fakes, *, seconds=None, count=4):
    monkeypatch.setattr(module, "portfolio", lambda verifiers=None: [(one, {}) for one in sorted(fakes, key=lambda one: one.order)])
    return decide(asked(mlp(0, [3, 4, 2]), count), seconds=seconds)


def asked(network, count, radius=0.3, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(count, *network.input_shape, generator=g, dtype=torch.float64)
    return Query.robustness(network, box(x, radius), network(x).argmax(1))


def test_most_chance_a_second_comes_first(monkeypatch, clock):
    log = []
    fakes = [
        fake(clock, log, "dear", chance=0.9, seconds=9.0, order=1),
        fake(clock, log, "cheap", chance=0.3, seconds=0.5, order=3),
        fake(clock, log, "middle", chance=0.5, seconds=2.0, order=2),
    ]
    run(monkeypatch, fakes, seconds=100)
    assert [name for name, _ in log] == ["cheap", "middle", "dear"]


def test_without_a_limit_the_order_is_that_of_the_portfolio(monkeypatch, clock):
    log = []
    fakes = [fake(clock, log, "last", chance=1.0, seconds=0.1, order=9), fake(clock, log, "first", chance=0.0, seconds=50.0, order=1)]
    run(monkeypatch, fakes)
    assert [name for name, _ in log] == ["first", "last"]


def test_what_rests_on_others_waits_for_them(monkeypatch, clock):
    log = []
    written = (("third", 0.9, ("first", "second")), ("second", 0.5, ("first", "nobody")), ("first", 0.1, ()))
    run(monkeypatch, [fake(clock, log, name, chance=chance, after=after) for name, chance, after in written], seconds=100)
    assert [name for name, _ in log] == ["first", "second", "third"]


def test_a_misfit_holds_nobody_up(monkeypatch, clock):
    log = []
    run(monkeypatch, [fake(clock, log, "second", after=("first",)), fake(clock, log, "first", misfit="does not fit")], seconds=100)
    assert [name for name, _ in log] == ["second"]


def test_a_search_leaves_the_next_one_time(monkeypatch, clock):
    """Half where the chances are equal, little where the other has none, all where it is the last."""
    for other, expected in ((0.5, 5.0), (0.0, 10.0), (0.125, 8.0)):
        log = []
        fakes = [fake(clock, log, "relu_split", chance=0.5, anytime=True), fake(clock, log, "milp", chance=other, anytime=True)]
        began = clock.now
        run(monkeypatch, fakes, seconds=10.0)
        assert log[0] == ("relu_split", expected)
        assert clock.now - began <= 10.0 + 1e-9
        assert sum(took for _, took in log) == pytest.approx(10.0)


def test_nothing_begins_behind_the_limit(monkeypatch, clock):
    log = []
    fakes = [fake(clock, log, "one", chance=0.9, seconds=3.0), fake(clock, log, "two", chance=0.1, seconds=3.0)]
    answers = run(monkeypatch, fakes, seconds=2.0)
    assert [name for name, _ in log] == ["one"]
    assert all(one.reason == "time: the limit was reached before two" for one in answers)


def test_every_answer_names_its_verifier(monkeypatch, clock):
    log = []
    fakes = [fake(clock, log, "one", chance=0.9, proves=1), fake(clock, log, "two", chance=0.5, proves=2), fake(clock, log, "three", chance=0.1)]
    answers = run(monkeypatch, fakes, seconds=100, count=4)
    assert [one.verifier for one in answers] == ["one", "two", "two", ""]
    assert [one.verdict for one in answers] == [Verdict.PROVED] * 3 + [Verdict.UNKNOWN]
    assert answers[3].reason


def test_an_open_state_ends_the_run(monkeypatch, clock):
    log = []
    run(monkeypatch, [fake(clock, log, "all", chance=0.9, proves=9), fake(clock, log, "none", chance=0.1)], seconds=100)
    assert [name for name, _ in log] == ["all"]


def grouped(monkeypatch, clock, seconds, each, count=40):
    """A crown that costs so many seconds a sample, whatever was expected."""
    sizes = []

    def method(state):
        sizes.append(len(state))
        clock.now += each * len(state)

    monkeypatch.setattr("sparring.certification.networks.scheduler.machine_speed", lambda: 1e9)
    began = clock.now
    schedule = VerifierSchedule(cost=lambda state, settings: torch.full((len(state),), 1e6, dtype=torch.float64), in_groups=True)
    answers = run(monkeypatch, [Verifier("crown", method, 20, lambda state: "", "", schedule=schedule)], seconds=seconds, count=count)
    return sizes, clock.now - began, answers


def test_a_verifier_without_a_clock_keeps_the_limit(monkeypatch, clock):
    """One sample costs two hundred times what the machine promised: the first tells, and the limit is kept within 5 %."""
    sizes, spent, answers = grouped(monkeypatch, clock, seconds=4.0, each=0.2)
    assert sizes[0] == 1
    assert sum(sizes) < 40
    assert spent <= 4.0 * 1.05
    assert sum(one.reason.startswith(("time: crown would need about", "time: the limit")) for one in answers) >= 40 - sum(sizes)


def test_all_samples_are_run_where_there_is_time(monkeypatch, clock):
    sizes, _, _ = grouped(monkeypatch, clock, seconds=100.0, each=0.01)
    assert sum(sizes) == 40
    assert len(sizes) <= 4


def test_real_verifiers_keep_the_limit(monkeypatch):
    """Of queries that never end: unsafe ones of which the deployed model confirms no point."""
    query = asked(mlp(1, [12, 80, 80, 80, 4]), 4, radius=0.4)
    chosen = ["attack", "ibp", "crown", "alpha", "relu_split"]

    def refuse(points, places):
        return torch.zeros(len(points), dtype=torch.bool)

    answers, took = spent(monkeypatch, lambda: decide(query, seconds=2.0, verifiers=chosen, replay=refuse))
    assert any(one.verdict is Verdict.UNKNOWN for one in answers)
    assert all(one.reason.startswith("time: ") for one in answers if one.verdict is Verdict.UNKNOWN)
    assert took < 2.0 * 1.05 + 0.2


@pytest.mark.parametrize("make", [lambda: mlp(0, [3, 8, 8, 3]), lambda: convolution(0), lambda: residual(0)])
def test_limits_of_time_change_no_truth(monkeypatch, make):
    """With a limit and without one: no query is proved by one and refuted by the other, and bounds that were there remain."""
    network = make()
    query = asked(network, 30, radius=0.15)
    plain, (timed, _) = decide(query), spent(monkeypatch, lambda: decide(query, seconds=1.0))
    assert {one.verdict for one in plain} != {Verdict.UNKNOWN}
    for one, other in zip(plain, timed, strict=True):
        assert {one.verdict, other.verdict} != {Verdict.PROVED, Verdict.REFUTED}


@pytest.mark.parametrize("wanted", [["ibp", "crown"], ["ibp", "zonotope"]])
def test_groups_give_what_all_together_give(monkeypatch, wanted):
    """In float32 execution too, whose rounding belong to samples."""
    network = mlp(3, [3, 8, 8, 3])
    query = asked(network, 30, radius=0.2)
    for around in (None, rounding_errors(network, query.inputs)):
        plain = decide(query, verifiers=wanted, rounding=around)
        timed, _ = spent(monkeypatch, lambda around=around: decide(query, verifiers=wanted, rounding=around, seconds=60.0))
        assert [one.verdict for one in plain] == [one.verdict for one in timed]
        assert [one.verifier for one in plain] == [one.verifier for one in timed]
        assert [one.margin for one in plain] == pytest.approx([one.margin for one in timed], abs=1e-9)
        assert {one.verifier for one in plain} >= {wanted[1]}


def test_without_a_limit_answers_are_the_same_each_time():
    query = asked(mlp(2, [4, 10, 10, 3]), 20)
    chosen = {"ibp": {}, "crown": {}, "alpha": {"steps": 5}}
    first, second = ([(one.verdict, one.verifier, one.margin, one.reason) for one in decide(query, verifiers=chosen)] for _ in range(2))
    assert first == second


def test_the_portfolio_by_default():
    names = [one.name for one, _ in portfolio()]
    assert {"ibp", "crown", "alpha", "relu_split", "milp", "input_split", "attack"} <= set(names)
    assert names.index("ibp") < names.index("crown") < names.index("alpha")
    assert all(one.by_default for one, _ in portfolio())


def test_a_search_among_few_inputs_divides_its_time_itself(monkeypatch, clock):
    log = []
    fakes = [fake(clock, log, "input_split", chance=0.9, anytime=True, divides_time=True), fake(clock, log, "milp", chance=0.5, anytime=True)]
    run(monkeypatch, fakes, seconds=10.0)
    assert log == [("input_split", 10.0)]


def test_a_verifier_that_states_nothing_is_climbed_on_the_clock_and_without(monkeypatch, clock):
    """Its cost is unknown, so no limit of work leaves it out; a verifier in groups whose cost cannot be foreseen after all gets everything at once."""
    for seconds in (None, 100.0):
        for schedule in (VerifierSchedule(), VerifierSchedule(in_groups=True)):
            sizes = []
            run(
                monkeypatch,
                [Verifier("stranger", lambda state, sizes=sizes: sizes.append(len(state)), 20, lambda state: "", "", schedule=schedule)],
                seconds=seconds,
            )
            assert sizes == [4]


def test_verifiers_in_groups_leave_what_they_state_to_others(monkeypatch, clock):
    """What `share` and `share_before_search` leave, on a clock that the groups themselves use up."""
    monkeypatch.setattr("sparring.certification.networks.scheduler.machine_speed", lambda: 1e6)
    for own, other, left in (({"share": 0.5}, {}, 5.0), ({"share_before_search": 0.5}, {}, 0.0), ({"share_before_search": 0.5}, {"anytime": True}, 5.0)):
        log, given = [], []

        def method(state, given=given):
            given.append(state.seconds_left())

        schedule = VerifierSchedule(cost=lambda state, settings: torch.full((len(state),), 1.0, dtype=torch.float64), in_groups=True, **own)
        fakes = [Verifier("first", method, 1, lambda state: "", "", schedule=schedule), fake(clock, log, "second", chance=0.1, seconds=1000.0, **other)]
        run(monkeypatch, fakes, seconds=10.0)
        assert given[0] == pytest.approx(0.7 * (10.0 - left))


def test_what_verifiers_state_holds_together():
    """Names are those of verifiers, efforts and settings; groups have costs; waiting for one another makes no circle."""
    verifiers = everything("verifier")
    state = VerificationState(asked(mlp(0, [3, 8, 8, 3]), 5))
    for one in verifiers.values():
        schedule = one.schedule
        assert set(schedule.after) | {schedule.as_fast_as[0] if schedule.as_fast_as else "crown"} <= set(verifiers)
        assert all(verifiers[other].order < one.order for other in schedule.after)
        assert not schedule.divides_time or schedule.anytime
        assert all(set(settings) <= set(one.defaults) for settings in one.efforts.values())
        assert set(one.efforts) <= {"bounds", "quick"}
        chance = schedule.chance(state)
        assert ((chance >= 0) & (chance <= 1)).all()
        expected = one.cost(state, {})
        assert expected is not None or not schedule.in_groups
        assert expected is None or (expected.shape == (5,) and bool((expected > 0).all()))


def test_efforts_are_what_the_verifiers_state():
    """One file adds a verifier to an effort; "thorough" is all that are there by default."""
    assert at_effort("bounds") == {"ibp": {}, "crown": {}}
    assert set(at_effort("quick")) == {"ibp", "crown", "alpha", "input_split", "relu_split"}
    assert at_effort("thorough") == {name: {} for name, one in everything("verifier").items() if one.by_default}
    with pytest.raises(PlanError, match="choose bounds, quick, thorough"):
        at_effort("brave")


def test_what_stays_unknown_names_the_price_of_the_next_bound():
    query = asked(mlp(0, [3, 8, 8, 3]), 20)
    for verifiers, following in ((["ibp"], "crown"), (["ibp", "crown"], "alpha")):
        reasons = {one.reason for one in decide(query, verifiers=verifiers) if one.verdict is Verdict.UNKNOWN}
        assert reasons
        assert all(one.startswith("bounds: the methods that ran are not tight enough") and f"{following} would need about " in one for one in reasons)


# Work -----------------------------------------------------------------------------------------------------------------


def test_work_is_counted_by_hand():
    network = mlp(0, [3, 5, 4, 2])  # 15 + 20 + 8 multiply-adds, and one for each number that a ReLU lets through
    assert forward_cost(network) == 15 + 5 + 20 + 4 + 8
    assert row_cost(network, 5) == 4 + 4 + 20 + 5 + 15
    assert row_cost(network, 3) == 5 + 5 + 15
    assert row_cost(network, 1) == 3


def test_a_row_of_a_map_costs_its_window():
    network = convolution(0)  # [1, 5, 5] - 3x3 stride 2 to [2, 3, 3] - relu - 2x2 to [3, 2, 2]
    assert row_cost(network, 1) == 2 * 1 * 9
    assert row_cost(network, 3) == 3 * 2 * 4 + 2 * 4 + 4 * 2 * 1 * 9


def test_open_signs_are_counted():
    network = Network(
        (
            Node(Input((2,))),
            Node(Linear(torch.eye(2, dtype=torch.float64), torch.tensor([0.0, 5.0], dtype=torch.float64)), (0,)),
            Node(Relu(), (1,)),
            Node(Linear(torch.ones(2, 2, dtype=torch.float64)), (2,)),
        )
    )
    state = VerificationState(Query.robustness(network, InputSet(-torch.ones(1, 2).double(), torch.ones(1, 2).double()), torch.tensor([0])))
    assert {place: count.tolist() for place, count in open_signs(state).items()} == {1: [1.0]}
    assert crown_cost(state).tolist() == [1 * row_cost(network, 3)]
    assert Verifier("states nothing", lambda state: None, 50, lambda state: "", "").cost(state, {}) is None


def test_a_verifier_above_the_limit_of_work_is_left_out_and_says_so():
    network = mlp(0, [3, 8, 8, 3])
    query = asked(network, 12)
    state = VerificationState(query)
    expected = crown_cost(state)
    limit = float(expected.median())
    answers = decide(query, verifiers=["ibp", "crown"], work=limit)
    plain = decide(query, verifiers=["ibp", "crown"], work=None)
    intervals_only = decide(query, verifiers=["ibp"])
    assert {one.verifier for one in plain} >= {"crown"}
    for cost, one, free, without in zip(expected.tolist(), answers, plain, intervals_only, strict=True):
        if cost <= limit:
            assert (one.verdict, one.verifier, one.margin) == (free.verdict, free.verifier, free.margin)
        else:
            assert (one.verdict, one.margin) == (without.verdict, without.margin)
            if one.verdict is Verdict.UNKNOWN:
                assert one.reason.startswith("work: crown would need about ")


def test_running_with_some_leaves_the_others_as_they_were():
    query = asked(mlp(0, [3, 8, 8, 3]), 10)
    state, whole = VerificationState(query), VerificationState(query)
    (ibp, _), (crown, _) = portfolio(["ibp", "crown"])
    with torch.no_grad():
        for one in (state, whole):
            ibp.run_all(one, {})
        places, before = state.places.tolist(), {place: bound.low.clone() for place, bound in state.bounds.items()}
        rows = torch.arange(len(state)) % 2 == 0
        crown.run_on(state, {}, rows)
    tight = preactivation_bounds(query.network, query.inputs)
    for row, place in enumerate(state.places.tolist()):
        old = places.index(place)
        for node, bound in state.bounds.items():
            assert torch.equal(bound.low[row], (tight[node].low[place] if rows[old] else before[node][old]))
    assert len(state) == sum(one is None for one in state.answers)
    assert set(places) - set(state.places.tolist()) <= {place for place, mine in zip(places, rows.tolist(), strict=True) if mine}


@pytest.mark.shared
@pytest.mark.skipif(not MODELS.exists(), reason="the shared data is not beside the checkout")
def test_a_large_network_costs_seconds(monkeypatch):
    """ResNet-20 at 1/255 with the verifiers of the effort "quick"."""
    from sparring.graph.from_torch import from_torch

    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[3] / "benchmarks"))
    import networks

    network = from_torch(networks.load("cifar_resnet20").eval(), (3, 32, 32))
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    query = Query.robustness(network, InputSet((x - 1 / 255).clamp(0, 1), (x + 1 / 255).clamp(0, 1)), network(x).argmax(1))
    tried, run_all = [], Verifier.run_all
    monkeypatch.setattr(Verifier, "run_all", lambda one, state, settings: (tried.append(one.name), run_all(one, state, settings)))
    answers = decide(query, verifiers=at_effort("quick"))
    assert tried == ["ibp"]
    assert all(one.reason.startswith("work: ") for one in answers)
