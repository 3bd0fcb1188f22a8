"""The ladder and its scheduler: rungs with known costs and chances on a clock of our own, and the limit of work on networks too large for a rung."""

import time
from pathlib import Path

import pytest
import torch
from certification.small_networks import box, convolution, mlp, residual

from sparring.certification import decide as module
from sparring.certification.bounds.crown import bounds_of_bends
from sparring.certification.bounds.execution import bands
from sparring.certification.bounds.inputs import InputSet
from sparring.certification.certificate import Verdict
from sparring.certification.decide import decide, ladder
from sparring.certification.docket import Docket
from sparring.certification.question import Question
from sparring.certification.rung import Outlook, Rung
from sparring.certification.work import crown_work, forward_work, open_signs, row_work, work
from sparring.models.network.network import Network, Node
from sparring.models.network.operators import Input, Linear, Relu

MODELS = Path(__file__).resolve().parents[3] / "shared" / "data" / "models"


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


def fake(clock, log, name, *, chance=0.5, seconds=1.0, order=50, proves=0, anytime=False, misfit=""):
    """A rung that takes so many seconds and proves so many of the open questions; an anytime one takes all it is given."""

    def climb(docket):
        took = docket.seconds_left() if anytime else seconds
        clock.now += took
        log.append((name, round(took, 6)))
        if proves:
            docket.prove(torch.arange(len(docket)) < proves)

    return Rung(name, climb, order, lambda docket: misfit, "", True, lambda docket: Outlook(chance, seconds))


def run(monkeypatch, fakes, *, seconds=None, count=4):
    monkeypatch.setattr(module, "ladder", lambda rungs: [(one, {}) for one in sorted(fakes, key=lambda one: one.order)])
    return decide(asked(mlp(0, [3, 4, 2]), count), seconds=seconds)


def asked(network, count, radius=0.3, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(count, *network.input_shape, generator=g, dtype=torch.float64)
    return Question.robustness(network, box(x, radius), network(x).argmax(1))


def test_most_chance_a_second_comes_first(monkeypatch, clock):
    log = []
    fakes = [
        fake(clock, log, "dear", chance=0.9, seconds=9.0, order=1),
        fake(clock, log, "cheap", chance=0.3, seconds=0.5, order=3),
        fake(clock, log, "middle", chance=0.5, seconds=2.0, order=2),
    ]
    run(monkeypatch, fakes, seconds=100)
    assert [name for name, _ in log] == ["cheap", "middle", "dear"]


def test_without_a_limit_the_order_is_that_of_the_ladder(monkeypatch, clock):
    log = []
    fakes = [fake(clock, log, "last", chance=1.0, seconds=0.1, order=9), fake(clock, log, "first", chance=0.0, seconds=50.0, order=1)]
    run(monkeypatch, fakes)
    assert [name for name, _ in log] == ["first", "last"]


def test_what_rests_on_others_waits_for_them(monkeypatch, clock):
    log = []
    fakes = [fake(clock, log, name, chance=chance) for name, chance in (("alpha", 0.9), ("crown", 0.5), ("ibp", 0.1))]
    monkeypatch.setattr(module, "IN_GROUPS", ())
    monkeypatch.setattr(module, "expected_work", lambda name, docket, settings: None)
    run(monkeypatch, fakes, seconds=100)
    assert [name for name, _ in log] == ["ibp", "crown", "alpha"]


def test_a_misfit_holds_nobody_up(monkeypatch, clock):
    log = []
    fakes = [fake(clock, log, "alpha"), fake(clock, log, "ibp", misfit="does not fit")]
    monkeypatch.setattr(module, "IN_GROUPS", ())
    monkeypatch.setattr(module, "expected_work", lambda name, docket, settings: None)
    run(monkeypatch, fakes, seconds=100)
    assert [name for name, _ in log] == ["alpha"]


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


def test_every_answer_names_its_rung(monkeypatch, clock):
    log = []
    fakes = [fake(clock, log, "one", chance=0.9, proves=1), fake(clock, log, "two", chance=0.5, proves=2), fake(clock, log, "three", chance=0.1)]
    answers = run(monkeypatch, fakes, seconds=100, count=4)
    assert [one.rung for one in answers] == ["one", "two", "two", ""]
    assert [one.verdict for one in answers] == [Verdict.PROVED] * 3 + [Verdict.UNKNOWN]
    assert answers[3].reason


def test_an_open_docket_ends_the_climb(monkeypatch, clock):
    log = []
    run(monkeypatch, [fake(clock, log, "all", chance=0.9, proves=9), fake(clock, log, "none", chance=0.1)], seconds=100)
    assert [name for name, _ in log] == ["all"]


def grouped(monkeypatch, clock, seconds, each, count=40):
    """A crown that costs so many seconds a sample, whatever was expected."""
    sizes = []

    def climb(docket):
        sizes.append(len(docket))
        clock.now += each * len(docket)

    monkeypatch.setattr(module, "expected_work", lambda name, docket, settings: torch.full((len(docket),), 1e6, dtype=torch.float64))
    monkeypatch.setattr("sparring.certification.outlook.work", module.expected_work)
    monkeypatch.setattr("sparring.certification.outlook.machine_speed", lambda: 1e9)
    began = clock.now
    answers = run(monkeypatch, [Rung("crown", climb, 20, lambda docket: "", "")], seconds=seconds, count=count)
    return sizes, clock.now - began, answers


def test_a_rung_without_a_clock_keeps_the_limit(monkeypatch, clock):
    """One sample costs two hundred times what the machine promised: the first tells, and the limit is kept within 5 %."""
    sizes, spent, answers = grouped(monkeypatch, clock, seconds=4.0, each=0.2)
    assert sizes[0] == 1
    assert sum(sizes) < 40
    assert spent <= 4.0 * 1.05
    assert sum(one.reason.startswith(("time: crown would take about", "time: the limit")) for one in answers) >= 40 - sum(sizes)


def test_all_samples_are_climbed_where_there_is_time(monkeypatch, clock):
    sizes, _, _ = grouped(monkeypatch, clock, seconds=100.0, each=0.01)
    assert sum(sizes) == 40
    assert len(sizes) <= 4


def test_real_rungs_keep_the_limit():
    """Of questions that never end: unsafe ones of which the deployed model confirms no point."""
    question = asked(mlp(1, [12, 80, 80, 80, 4]), 4, radius=0.4)
    chosen = ["attack", "ibp", "crown", "alpha", "relu_split"]

    def refuse(points, places):
        return torch.zeros(len(points), dtype=torch.bool)

    decide(question, seconds=0.5, rungs=chosen, replay=refuse)  # what is loaded once in a process
    began = time.monotonic()
    answers = decide(question, seconds=2.0, rungs=chosen, replay=refuse)
    spent = time.monotonic() - began
    assert any(one.verdict is Verdict.UNKNOWN for one in answers)
    assert all(one.reason.startswith("time: ") for one in answers if one.verdict is Verdict.UNKNOWN)
    assert spent < 2.0 * 1.05 + 0.2  # the machine may be busy


@pytest.mark.parametrize("make", [lambda: mlp(0, [3, 8, 8, 3]), lambda: convolution(0), lambda: residual(0)])
def test_limits_of_time_change_no_truth(make):
    """With a limit and without one: no question is proved by one and refuted by the other, and bounds that were there remain."""
    network = make()
    question = asked(network, 30, radius=0.15)
    plain, timed = decide(question), decide(question, seconds=20.0)
    assert {one.verdict for one in plain} != {Verdict.UNKNOWN}
    for one, other in zip(plain, timed, strict=True):
        assert {one.verdict, other.verdict} != {Verdict.PROVED, Verdict.REFUTED}


@pytest.mark.parametrize("wanted", [["ibp", "crown"], ["ibp", "zonotope"]])
def test_groups_give_what_all_together_give(wanted):
    """In float32 execution too, whose bands belong to samples."""
    network = mlp(3, [3, 8, 8, 3])
    question = asked(network, 30, radius=0.2)
    for around in (None, bands(network, question.inputs)):
        plain, timed = (decide(question, rungs=wanted, bands=around, seconds=seconds) for seconds in (None, 60.0))
        assert [one.verdict for one in plain] == [one.verdict for one in timed]
        assert [one.rung for one in plain] == [one.rung for one in timed]
        assert [one.margin for one in plain] == pytest.approx([one.margin for one in timed], abs=1e-9)
        assert {one.rung for one in plain} >= {wanted[1]}


def test_without_a_limit_answers_are_the_same_each_time():
    question = asked(mlp(2, [4, 10, 10, 3]), 20)
    chosen = {"ibp": {}, "crown": {}, "alpha": {"steps": 5}}
    first, second = ([(one.verdict, one.rung, one.margin, one.reason) for one in decide(question, rungs=chosen)] for _ in range(2))
    assert first == second


def test_the_ladder_by_default():
    names = [one.name for one, _ in ladder()]
    assert {"ibp", "crown", "alpha", "relu_split", "milp", "input_split", "attack"} <= set(names)
    assert names.index("ibp") < names.index("crown") < names.index("alpha")
    assert all(one.by_default for one, _ in ladder())


def test_a_search_among_few_inputs_divides_its_time_itself(monkeypatch, clock):
    log = []
    fakes = [fake(clock, log, "input_split", chance=0.9, anytime=True), fake(clock, log, "milp", chance=0.5, anytime=True)]
    run(monkeypatch, fakes, seconds=10.0)
    assert log == [("input_split", 10.0)]


def test_what_stays_unknown_names_the_price_of_the_next_bound():
    question = asked(mlp(0, [3, 8, 8, 3]), 20)
    for rungs, following in ((["ibp"], "crown"), (["ibp", "crown"], "alpha")):
        reasons = {one.reason for one in decide(question, rungs=rungs) if one.verdict is Verdict.UNKNOWN}
        assert reasons
        assert all(one.startswith("bounds: no method that was tried is tight enough") and f"{following} would take about " in one for one in reasons)


# Work -----------------------------------------------------------------------------------------------------------------


def test_work_is_counted_by_hand():
    network = mlp(0, [3, 5, 4, 2])  # 15 + 20 + 8 multiply-adds, and one for each number that a ReLU lets through
    assert forward_work(network) == 15 + 5 + 20 + 4 + 8
    assert row_work(network, 5) == 4 + 4 + 20 + 5 + 15
    assert row_work(network, 3) == 5 + 5 + 15
    assert row_work(network, 1) == 3


def test_a_row_of_a_map_costs_its_window():
    network = convolution(0)  # [1, 5, 5] - 3x3 stride 2 to [2, 3, 3] - relu - 2x2 to [3, 2, 2]
    assert row_work(network, 1) == 2 * 1 * 9
    assert row_work(network, 3) == 3 * 2 * 4 + 2 * 4 + 4 * 2 * 1 * 9


def test_open_signs_are_counted():
    network = Network(
        (
            Node(Input((2,))),
            Node(Linear(torch.eye(2, dtype=torch.float64), torch.tensor([0.0, 5.0], dtype=torch.float64)), (0,)),
            Node(Relu(), (1,)),
            Node(Linear(torch.ones(2, 2, dtype=torch.float64)), (2,)),
        )
    )
    docket = Docket(Question.robustness(network, InputSet(-torch.ones(1, 2).double(), torch.ones(1, 2).double()), torch.tensor([0])))
    assert {place: count.tolist() for place, count in open_signs(docket).items()} == {1: [1.0]}
    assert crown_work(docket).tolist() == [1 * row_work(network, 3)]
    assert work("something else", docket, {}) is None


def test_a_rung_above_the_limit_of_work_is_left_out_and_says_so():
    network = mlp(0, [3, 8, 8, 3])
    question = asked(network, 12)
    docket = Docket(question)
    expected = crown_work(docket)
    limit = float(expected.median())
    answers = decide(question, rungs=["ibp", "crown"], work=limit)
    plain = decide(question, rungs=["ibp", "crown"], work=None)
    intervals_only = decide(question, rungs=["ibp"])
    assert {one.rung for one in plain} >= {"crown"}
    for cost, one, free, without in zip(expected.tolist(), answers, plain, intervals_only, strict=True):
        if cost <= limit:
            assert (one.verdict, one.rung, one.margin) == (free.verdict, free.rung, free.margin)
        else:
            assert (one.verdict, one.margin) == (without.verdict, without.margin)
            if one.verdict is Verdict.UNKNOWN:
                assert one.reason.startswith("work: crown would take about ")


def test_climbing_with_some_leaves_the_others_as_they_were():
    question = asked(mlp(0, [3, 8, 8, 3]), 10)
    docket, whole = Docket(question), Docket(question)
    (ibp, _), (crown, _) = ladder(["ibp", "crown"])
    with torch.no_grad():
        for one in (docket, whole):
            module._climb(one, ibp, {})
        places, before = docket.places.tolist(), {place: bound.low.clone() for place, bound in docket.bounds.items()}
        rows = torch.arange(len(docket)) % 2 == 0
        module._climb_some(docket, crown, {}, rows)
    tight = bounds_of_bends(question.network, question.inputs)
    for row, place in enumerate(docket.places.tolist()):
        old = places.index(place)
        for node, bound in docket.bounds.items():
            assert torch.equal(bound.low[row], (tight[node].low[place] if rows[old] else before[node][old]))
    assert len(docket) == sum(one is None for one in docket.answers)
    assert set(places) - set(docket.places.tolist()) <= {place for place, mine in zip(places, rows.tolist(), strict=True) if mine}


@pytest.mark.shared
@pytest.mark.skipif(not MODELS.exists(), reason="the shared data is not beside the checkout")
def test_a_large_network_costs_seconds(monkeypatch):
    """ResNet-20 at 1/255 with the rungs of the effort "quick"."""
    from sparring.certification.network import EFFORTS
    from sparring.models.network.from_torch import from_torch

    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))
    import networks

    network = from_torch(networks.load("cifar_resnet20").eval(), (3, 32, 32))
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    question = Question.robustness(network, InputSet((x - 1 / 255).clamp(0, 1), (x + 1 / 255).clamp(0, 1)), network(x).argmax(1))
    began = time.monotonic()
    answers = decide(question, rungs=EFFORTS["quick"])
    assert time.monotonic() - began < 20
    assert all(one.reason.startswith("work: ") for one in answers)
