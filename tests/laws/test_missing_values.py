"""Missing values under rules: they stay missing, nothing else becomes so, and all other rules hold as they did."""

import dataclasses

import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from support import FOREST_COLUMNS, FOREST_RULES, forest_allows, forest_rows, short

from sparring.core.errors import NeedsError
from sparring.core.registry import everything
from sparring.core.rng import Rng
from sparring.core.threat import Threat
from sparring.domains.table import Table
from sparring.judge.judge import Status, judge
from sparring.models.estimator import EstimatorVictim
from sparring.threats.goals import Untargeted
from sparring.threats.threats import linf

DOMAIN = Table(tuple(dataclasses.replace(column, missing=True) for column in FOREST_COLUMNS))
THREAT = Threat(FOREST_RULES, Untargeted())


def rows_with_gaps(count, seed):
    rows = forest_rows(count, seed)
    return rows.masked_fill(Rng.of(seed, range(count)).draw("gaps").uniform(7, dtype=torch.float64) < 0.15, torch.nan)


def allowed(before, after):
    """The rules by hand: both lack the same values; for those stand values that satisfy every rule, and colours of a row that lacks one stay."""
    gaps = before.isnan()
    if not torch.equal(gaps, after.isnan()):
        return False
    harmless = torch.tensor([40.0, 0.0, 0.0, 0.5, 0.0, 0.0, 0.0], dtype=torch.float64)
    old, new = before.where(~gaps, harmless), after.where(~gaps, harmless)
    if gaps[1]:  # half of which income is not known: the tax pays and reaches as far as elsewhere
        if not 0 <= new[2] <= 6000:
            return False
        old[2], new[2] = old[2] - new[2], 0.0
    if gaps[4:].any():
        if not torch.equal(old[4:], new[4:]):
            return False
        old[4:] = new[4:] = torch.tensor([1.0, 0.0, 0.0])
    return forest_allows(old, new, 2.0)


def test_all_other_rules_hold_as_they_did():
    rows = rows_with_gaps(2000, seed=21)
    rng = Rng.of(0, range(2000))
    scale = torch.tensor([3.0, 900.0, 500.0, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    after = rows + (rng.draw("change").uniform(7, dtype=torch.float64) * 2 - 0.8) * scale * (rng.draw("which").signs(7) > 0)
    after[:, 0] = torch.where(rng.draw("whole").uniform(1).squeeze(1) < 0.9, after[:, 0].round(), after[:, 0])
    region = THREAT.space.around(rows, DOMAIN)
    expected = [allowed(before, row) for before, row in zip(rows, after, strict=True)]
    assert region.inside(after).tolist() == expected
    assert 200 < sum(expected) < 1800
    assert ((region.size(after) >= 0) & region.size(after).isfinite()).all()


@pytest.mark.parametrize("put", [40.0, torch.nan])
def test_gaps_are_neither_filled_nor_made(put):
    row = torch.tensor([[40.0, 4000.0, 1900.0, 0.5, 1.0, 0.0, 0.0]], dtype=torch.float64)
    lacking = row.clone()
    lacking[0, 0] = torch.nan
    before, after = (row, lacking) if put != put else (lacking, row)
    region = THREAT.space.around(before, DOMAIN)
    assert not region.inside(after)[0]
    assert region.complaint(after)[0]
    assert region.inside(before)[0]
    assert region.complaint(before) == [""]
    victim = EstimatorVictim(model(), DOMAIN)
    with victim.session():
        label = victim.label(after)
        verdict = judge(victim, before, after, Untargeted().freeze(1 - label, victim.task, Rng.of(0, [0])), THREAT, torch.tensor([False]))
    assert verdict.status == [Status.INFEASIBLE]


def model():
    train = rows_with_gaps(200, seed=4)
    truth = (train.nan_to_num(0)[:, 1] / 4000 + train.nan_to_num(0)[:, 0] / 50 > 1.6).long()
    return HistGradientBoostingClassifier(max_iter=5).fit(train.numpy(), truth.numpy())


def test_moves_and_draws_keep_gaps():
    rows = rows_with_gaps(60, seed=3)
    region = THREAT.space.around(rows, DOMAIN)
    owner, points = region.moves(rows)
    assert torch.equal(points.isnan(), rows[owner].isnan())
    assert set(owner.tolist()) == set(range(60))
    assert all(allowed(rows[row], point) for row, point in zip(owner.tolist(), points, strict=True))
    for drawn in (region.sample(Rng.of(0, range(60))), region.corner(Rng.of(0, range(60)))):
        assert torch.equal(drawn.isnan(), rows.isnan())
        assert region.inside(drawn).all()
        assert (region.size(drawn) > 0).sum() > 30


def fitting():
    """Attacks that search tables under rules."""
    victim = EstimatorVictim(model(), DOMAIN)
    for name, attack in everything("attack").items():
        try:
            attack.check(victim, THREAT)
        except NeedsError:
            continue
        yield name


@pytest.mark.parametrize("name", list(fitting()))
def test_points_have_gaps_exactly_where_the_clean_row_has_them(name):
    victim, x = EstimatorVictim(model(), DOMAIN), rows_with_gaps(30, seed=8)
    y = victim.label(x)
    points = short(everything("attack")[name])(victim, x, y, THREAT)
    assert torch.equal(points.isnan(), x.isnan())
    changed = (victim.label(points) != y) & x.isnan().any(1)
    assert changed.any() or everything("attack")[name].control


def test_other_spaces_are_refused():
    """They are refused before the first question, and apply to rows of the same table without gaps."""
    victim, x = EstimatorVictim(model(), DOMAIN), rows_with_gaps(30, seed=8)
    whole = x[~x.isnan().any(1)]
    square = short(everything("attack")["square"])
    with pytest.raises(NeedsError, match=r"linf 0.1 changes every value, .*give rules"):
        square(victim, x, torch.zeros(len(x), dtype=torch.int64), linf(0.1))
    points = square(victim, whole, victim.label(whole), linf(0.1))
    assert len(whole) > 3
    assert points.isfinite().all()
    assert not torch.equal(points, whole)
