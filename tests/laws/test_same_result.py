"""Promise 4: same seed, same result; no batch split, order or neighbour changes what becomes of a sample."""

import numpy as np
import pytest
import torch
from support import ARENAS, fitting, short, statuses

from sparring.core.registry import find
from sparring.tasks.classes import Classes


def attacked(arena, name, rows=None, batch=100, seed=0):
    rows = torch.arange(len(arena.y)) if rows is None else torch.as_tensor(rows)
    attack = short(find("attack", name))
    return attack(arena.victim, arena.x[rows], arena.y[rows], arena.threat.take(rows), arena.rng(seed).take(rows), batch=batch)


def same(a, b):
    """Equal up to the rounding of float32; strings are equal."""
    if isinstance(a, torch.Tensor):
        return torch.allclose(a.double(), b.double(), rtol=1e-5, atol=1e-5)
    return np.array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.few(2, by="name")
@pytest.mark.parametrize(("name", "arena"), fitting())
def test_same_seed_same_points(name, arena):
    """Two runs with the same seed return the same points, bit for bit."""
    arena = ARENAS[arena]
    torch.manual_seed(5)
    first = attacked(arena, name)
    torch.manual_seed(6)
    assert np.array_equal(np.asarray(first), np.asarray(attacked(arena, name)))


@pytest.mark.few(2, by="name")
@pytest.mark.parametrize(("name", "arena"), fitting())
def test_batches_and_order_change_nothing(name, arena):
    """Batches of 1, another order and a subset give every sample the same point and verdict."""
    arena = ARENAS[arena]
    whole = attacked(arena, name)
    verdicts = statuses(arena, whole)
    split = attacked(arena, name, batch=1)
    assert same(split, whole)
    assert statuses(arena, split) == verdicts
    for rows in ([4, 0, 5, 2, 1, 3], [3, 1]):
        some = attacked(arena, name, rows)
        assert same(some, whole[torch.tensor(rows)]), f"rows {rows}"
        assert statuses(arena, some, rows) == [verdicts[row] for row in rows]


@pytest.mark.parametrize("name", ["noise", "pgd", "apgd", "square", "hopskipjump"])
def test_another_seed_is_another_draw(name):
    """The seed reaches the attack: another one gives other points."""
    arena = ARENAS["linf"].__class__(**{**vars(ARENAS["linf"]), "threat": ARENAS["linf"].threat.at(0.3)})
    assert not np.array_equal(np.asarray(attacked(arena, name, seed=1)), np.asarray(attacked(arena, name, seed=2)))


def test_slices_of_memory_change_nothing(monkeypatch):
    """HopSkipJump asks its probes in slices that depend on the batch; the slices must not show in the result."""
    from sparring.attacks.evasion.query import hopskipjump

    arena = ARENAS["l2"]
    attack = find("attack", "hopskipjump").configure(steps=4, probes=50)  # several blocks of directions a step

    def points():
        return attack(arena.victim, arena.x, arena.y, arena.threat, arena.rng())

    whole = points()
    monkeypatch.setattr(hopskipjump, "PROBES_AT_ONCE", 36 * 8 * 2)
    assert same(points(), whole)


def test_a_random_target_belongs_to_the_sample():
    """Targets drawn at random are keyed by sample: order and neighbours do not change them, and the label is never one."""
    from sparring.core.rng import Rng
    from sparring.threats.goals import Targeted

    ids, y = [f"s{number}" for number in range(200)], torch.arange(200) % 5
    targets = Targeted("random").freeze(y, Classes(5), Rng.of(0, ids)).reference_class
    order = torch.randperm(200)
    again = Targeted("random").freeze(y[order], Classes(5), Rng.of(0, [ids[row] for row in order.tolist()])).reference_class
    assert torch.equal(again, targets[order])
    assert not bool((targets == y).any())
    assert set(((targets - y) % 5).tolist()) == {1, 2, 3, 4}
