"""The ledger of a bout: what it keeps is its own, and it keeps the best."""

import torch
from support import ARENAS


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
