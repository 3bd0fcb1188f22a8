"""Rules of tables, one by one: a row that breaks exactly one of them is refused, with the reason; the rest is allowed."""

import pytest
import torch
from support import ARENAS, forest_allows, forest_rows, shop_allows

from sparring.core.rng import Rng

FOREST, SHOP = ARENAS["forest"], ARENAS["shop"]
ROW = torch.tensor([40.0, 4000.0, 1900.0, 0.5, 1.0, 0.0, 0.0], dtype=torch.float64)
CHANGES = {
    "nothing": ({}, True, ""),
    "a little of everything": ({0: 42.0, 1: 4500.0, 2: 1800.0}, True, ""),
    "another colour": ({4: 0.0, 5: 1.0}, True, ""),
    "younger": ({0: 39.0}, False, "wrong way"),
    "too much older": ({0: 46.0}, False, "too far"),
    "half a year": ({0: 40.5}, False, "types"),
    "beyond the bounds": ({1: 2400.0, 2: 1100.0, 0: 81.0}, False, "bounds"),
    "income too far": ({1: 5600.0}, False, "too far"),
    "immutable": ({3: 0.50001}, False, "wrong way"),
    "immutable to the last digit": ({3: 0.5 + 5e-10}, False, "wrong way"),
    "tax above half the income": ({2: 2001.0}, False, "relation"),
    "two colours": ({5: 1.0}, False, "one-hot"),
    "no colour": ({4: 0.0}, False, "one-hot"),
    "three halves of a colour": ({4: 0.5, 5: 0.5}, False, "one-hot"),
    "too dear": ({0: 45.0, 1: 5200.0}, False, "costs"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_each_rule(change):
    """Bounds, types, reach, direction, immutability, relations, groups and cost."""
    changes, expected, reason = CHANGES[change]
    after = ROW.clone()
    for column, value in changes.items():
        after[column] = value
    region = FOREST.threat.space.around(ROW[None], FOREST.victim.domain)
    assert bool(region.inside(after[None])[0]) is expected
    assert forest_allows(ROW, after, 2.0) is expected  # the law's own truth agrees
    assert reason in region.complaint(after[None])[0]
    assert (region.complaint(after[None])[0] == "") is expected


def test_a_rule_at_a_time_against_the_laws_own_truth():
    """2,000 random changes of random rows: the region and the rules written by hand agree about every one."""
    rows = forest_rows(2000, seed=21)
    rng = Rng.of(0, range(2000))
    scale = torch.tensor([3.0, 900.0, 500.0, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    after = rows + (rng.draw("change").uniform(7, dtype=torch.float64) * 2 - 0.8) * scale * (rng.draw("which").signs(7) > 0)
    after[:, 0] = torch.where(rng.draw("whole").uniform(1).squeeze(1) < 0.9, after[:, 0].round(), after[:, 0])
    region = FOREST.threat.space.around(rows, FOREST.victim.domain)
    expected = [forest_allows(before, row, 2.0) for before, row in zip(rows, after, strict=True)]
    assert region.inside(after).tolist() == expected
    assert 200 < sum(expected) < 1800


def test_a_category_costs_the_same_however_far():
    """From the first shop to the third is one change, not two."""
    row = torch.tensor([[0.0, 10.0, 3.0]] * 3, dtype=torch.float64)
    after = torch.tensor([[2.0, 10.0, 3.0], [1.0, 11.0, 3.0], [1.0, 12.0, 3.0]], dtype=torch.float64)
    region = SHOP.threat.space.around(row, SHOP.victim.domain)
    assert region.size(after).tolist() == [1.0, 1.5, 2.0]
    assert region.inside(after).tolist() == [shop_allows(a, b, 1.5) for a, b in zip(row, after, strict=True)] == [True, True, False]


def test_moves_are_allowed_and_change_one_thing():
    """Every move of a region is allowed and changes one column, or one group, or one column and what repairs it."""
    region = FOREST.threat.space.around(FOREST.x, FOREST.victim.domain)
    owner, points = region.moves(FOREST.x)
    assert sorted(owner.tolist()) == owner.tolist()
    assert set(owner.tolist()) == set(range(len(FOREST.x)))
    for row, point in zip(owner.tolist(), points, strict=True):
        before = FOREST.x[row]
        assert forest_allows(before, point, 2.0)
        changed = (point != before).nonzero().squeeze(1).tolist()
        assert len(changed) == 1 or changed == [1, 2] or set(changed) <= {4, 5, 6}


def test_whole_numbers_are_rounded_toward_the_clean_row():
    """43.9 from 40 is deployed as 43 and 37.2 from 40 as 38: rounding never makes a change larger."""
    origin = torch.tensor([[40.0, 4000.0, 1900.0, 0.5, 1.0, 0.0, 0.0]] * 3, dtype=torch.float64)
    x = origin.clone()
    x[:, 0] = torch.tensor([43.9, 37.2, 42.0])
    assert FOREST.victim.domain.deploy(x, origin)[:, 0].tolist() == [43.0, 38.0, 42.0]
