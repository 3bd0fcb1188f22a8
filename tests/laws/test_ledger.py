"""The ledger of a bout: what it keeps is its own, and it keeps the best."""

import pytest
import torch
from support import ARENAS, Instrumented


def test_the_best_points_are_copies():
    """Writing a success does not reach the batch the bout was opened with, nor do later changes of a batch reach the ledger."""
    arena = ARENAS["linf"]
    clean = arena.x.clone()
    mine = arena.x.clone()
    reference = arena.threat.goal.reference(arena.y, arena.dice(), 3)
    bout = arena.bout().open(arena.victim, mine, reference, arena.threat, arena.dice())
    region = arena.threat.space.around(arena.x, arena.victim.domain)
    for turn in range(20):
        asked = region.corner(arena.dice().draw(turn))
        bout.margins(asked)
        kept = bout.best().clone()
        asked.fill_(7.0)
        assert torch.equal(bout.best(), kept)
    assert not torch.equal(bout.best(), clean)
    assert torch.equal(mine, clean)


def test_a_broken_row_keeps_its_first_success():
    """The first point that met the goal stays, whatever comes later; its margin is its own."""
    arena = ARENAS["linf"]
    bout = arena.bout(arena.threat.at(0.6))
    region = arena.threat.at(0.6).space.around(arena.x, arena.victim.domain)
    first = {}
    for turn in range(30):
        asked = region.corner(arena.dice().draw(turn))
        margins = bout.margins(asked)
        for row, margin in enumerate(margins.tolist()):
            if margin > 0 and row not in first:
                first[row] = (asked[row].clone(), margin)
    assert len(first) >= 3
    for row, (point, margin) in first.items():
        assert bool(bout.ledger.broken[row])
        assert torch.equal(bout.best()[row], point)
        assert float(bout.ledger.margin[row]) == margin


def test_several_successes_of_one_row_keep_the_highest():
    """Of several points of one row asked at once, the success of highest margin is written, also among many rows."""
    arena = ARENAS["linf"]
    for count in (2, 6):
        bout = arena.bout(arena.threat.at(0.6))
        region = arena.threat.at(0.6).space.around(arena.x, arena.victim.domain)
        drawn = [region.corner(arena.dice().draw(turn)) for turn in range(40)]
        with torch.no_grad():
            scores = torch.stack([arena.victim.module(points.double())[1] for points in drawn])
        label = int(arena.y[1])
        order = (scores[:, [k for k in range(3) if k != label]].amax(1) - scores[:, label]).argsort(descending=True)[:count]
        tried = torch.stack([drawn[turn][1] for turn in order.tolist()])  # the best comes first
        margins = bout.margins(tried, torch.full((count,), 1))
        assert float(margins[0]) > 0
        assert torch.equal(bout.best()[1], tried[0])


def test_where_the_smallest_change_is_wanted_the_smallest_success_is_kept():
    """Rows go on after their first success, keep the smallest one whatever its margin, and name its size."""
    arena = ARENAS["linf"]
    bout = arena.bout(arena.threat.at(0.6).smallest())
    region = arena.threat.at(0.6).space.around(arena.x, arena.victim.domain)
    seen = [[] for _ in arena.x]
    bout.margins(arena.x)
    for turn in range(40):
        asked = torch.cat(
            [region.toward(region.corner(arena.dice().draw(turn)), torch.full((6,), size, dtype=torch.float64)) for size in (0.6, 0.3 + 0.005 * turn)]
        )
        margins = bout.margins(asked, torch.arange(6).repeat(2))
        for point, margin, row in zip(asked, margins.tolist(), list(range(6)) * 2, strict=True):
            if margin > 0:
                seen[row].append(float((point - arena.x[row]).abs().max()))
    assert sum(len(set(one)) > 1 for one in seen) >= 3
    assert bool((bout.smallest()[5:] == 0).all()), "the last sample is wrong as it is"
    assert bout.unfinished().tolist() == [True] * 5 + [False]
    for row, sizes in enumerate(seen[:5]):
        assert bool(bout.ledger.broken[row]) == bool(sizes)
        if sizes:
            assert float(bout.smallest()[row]) == pytest.approx(min(sizes), abs=1e-7)
            assert float((bout.best()[row] - arena.x[row]).abs().max()) == pytest.approx(min(sizes), abs=1e-7)


def test_gradients_of_several_classes_are_those_of_each_and_cost_a_backward_each():
    arena = ARENAS["linf"]
    victim = Instrumented(arena.victim)
    bout = arena.with_victim(victim).bout(arena.threat.smallest().at(0.0))
    classes = torch.tensor([[0, 1], [1, 2], [2, 0], [0, 2], [1, 0], [2, 1]])
    together = bout.gradients(arena.x, classes)
    for place in range(2):
        alone = bout.gradient(arena.x, lambda scores, reference: scores.gather(1, classes[:, place, None]).squeeze(1))
        assert torch.allclose(together.grad[:, place], alone.grad, atol=1e-6)
        assert torch.allclose(together.value[:, place], alone.value, atol=1e-6)
    assert bout.ledger.cost.backwards.tolist() == [4] * 6
    assert bout.ledger.cost.forwards.tolist() == [3] * 6
    assert victim.differentiated == 24


def test_at_other_radii_the_threat_still_decides():
    """A view at larger radii counts no success outside the threat; one at smaller radii is finished once it is inside them."""
    arena = ARENAS["linf"]
    bout = arena.bout(arena.threat.at(0.1))
    far = bout.at(torch.full((6,), 0.6, dtype=torch.float64))
    corners = far.region.corner(arena.dice())
    assert bool((far.margins(corners)[:5] > 0).any()), "some corner is adversarial, outside the threat"
    assert not bool(bout.ledger.broken[:5].any())

    bout = arena.bout(arena.threat.at(0.6).smallest())
    bout.margins(corners)
    hit = bout.ledger.broken
    assert bool(hit[:5].any())
    assert bool(bout.unfinished()[:5].all())
    assert torch.equal(bout.at(torch.full((6,), 0.6, dtype=torch.float64)).unfinished(), ~hit)
    assert bool(bout.at(torch.full((6,), 0.3, dtype=torch.float64)).unfinished()[:5].all())


def test_an_averaged_answer_is_paid_draw_by_draw():
    """A question to a victim that asks its model four times costs four queries, and a budget of ten allows two."""
    from sparring.models.eot import EotVictim

    arena = ARENAS["linf"]
    inner = Instrumented(arena.victim)
    victim = EotVictim(inner, draws=4)
    bout = arena.with_victim(victim).bout(arena.threat.at(0.0).within(queries=10))
    for _ in range(5):
        bout.gradient(arena.x, lambda scores, reference: scores[:, 0])
    cost = bout.ledger.cost
    assert cost.queries.tolist()[:5] == [8] * 5
    assert int(cost.queries.sum()) == inner.asked
    assert int(cost.backwards.sum()) == inner.differentiated
    assert bool((bout.left() == 0).all())
