"""Promise 10: an ensemble is at least as strong as each member, sample by sample."""

import pytest
from support import ARENAS, fitting, short

from sparring.aims.case import Settings
from sparring.aims.evasion.case import EvasionCase
from sparring.bench.evaluate import carry_out
from sparring.core.registry import everything
from sparring.data.dataset import Data


def members(arena, most=6):
    return tuple(short(attack, most) for name, attack in everything("attack").items() if (name, arena.name) in fitting(arena.name))


def case_of(arena, attacks, threat=None):
    classes = [str(number) for number in range(arena.victim.classes)]
    return EvasionCase(arena.name, arena.victim, Data.of(arena.x, arena.y, arena.victim.domain, classes=classes), threat or arena.threat, tuple(attacks))


def standing(rows):
    """Ids that are right and that no attack broke, counted by hand from the rows."""
    clean = set(rows[(rows.attack == "clean") & (rows.status == "held")].id)
    return clean - set(rows[(rows.attack != "clean") & rows.status.isin(["broken", "error"])].id)


@pytest.mark.few(1)
@pytest.mark.parametrize("arena", ["linf", "forest", "text-targeted"])
def test_a_cascade_is_at_least_as_strong_as_each_member(arena, tmp_path):
    """What stands after the cascade stands after each member alone, and fell_to names an attack that breaks the sample alone."""
    arena = ARENAS[arena]
    attacks = members(arena)
    rows = carry_out([case_of(arena, attacks)], tmp_path / "together", {}, Settings(batch=4)).table()
    alone = {str(attack): standing(carry_out([case_of(arena, [attack])], tmp_path / attack.name, {}, Settings(batch=4)).table()) for attack in attacks}
    for left in alone.values():
        assert standing(rows) <= left
    for row in rows[(rows.attack != "clean") & (rows.status == "broken")].itertuples():
        assert row.id not in alone[row.attack]


def test_a_control_stands_outside_the_cascade(tmp_path):
    """A control tries every sample that is right without attack, wherever it is listed, and does not spare the others theirs."""
    arena = ARENAS["linf"]
    control = short(everything("attack")["noise"], 40)
    searches = [attack for attack in members(arena) if not attack.control][:3]
    assert control.control
    tables = [
        carry_out([case_of(arena, order)], tmp_path / str(turn), {}, Settings()).table()
        for turn, order in enumerate(([control, *searches], [*searches, control]))
    ]
    first, last = ([table[table.attack == str(attack)].status.tolist() for attack in (control, *searches)] for table in tables)
    assert first == last
    assert "broken" in first[0]
    assert first[0].count("skipped") == int((~arena.right()).sum())


def test_a_fallen_sample_is_not_attacked_again(tmp_path):
    """In a cascade each sample is broken at most once and later attacks skip it at no cost; without one, all attacks try all."""
    arena = ARENAS["linf"]
    attacks = [attack for attack in members(arena) if not attack.control]
    rows = carry_out([case_of(arena, attacks)], tmp_path / "yes", {}, Settings()).table()
    attacked = rows[rows.attack != "clean"]
    broken = attacked[attacked.status == "broken"]
    assert len(broken) >= 2
    assert not broken.id.duplicated().any()
    order = {str(attack): place for place, attack in enumerate(attacks)}
    for row in broken.itertuples():
        later = attacked[(attacked.id == row.id) & (attacked.attack.map(order) > order[row.attack])]
        assert set(later.status) <= {"skipped"}
        assert int(later.queries.sum()) == 0
        assert all(row.attack in note for note in later.note)
    free = carry_out([case_of(arena, attacks)], tmp_path / "no", {}, Settings(cascade=False)).table()
    wrong = set(free[(free.attack == "clean") & (free.status == "broken")].id)
    tried = free[(free.attack != "clean") & (free.status != "skipped")]
    assert len(tried) == (len(arena.y) - len(wrong)) * len(attacks)
