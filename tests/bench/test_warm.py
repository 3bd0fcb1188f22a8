"""Stages that begin where earlier ones ended: the same rows in one go, in pieces, in other batches."""

import pandas as pd
import pytest

from sparring.bench.plan import Plan
from sparring.records.record import Record

STAGES = ["pgd(steps=2)", "odi(steps=2, restarts=1, within=0.5)", "square(queries=15, warm=true)", "noise(tries=2)", "square(queries=9, warm=true)"]


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """A cascade of which two stages begin at points that are not on record, never interrupted."""
    return Plan.of({**PLAN, "out": str(tmp_path_factory.mktemp("chain"))}).run()


PLAN = {"model": "zoo:digits-robust", "data": "digits", "take": 24, "threat": "linf 0.12", "attacks": STAGES, "batch": 8, "search": "plain", "points": "none"}


@pytest.mark.parametrize("after", [pytest.param(after, marks=() if after == 5 else pytest.mark.slow) for after in (0, 1, 2, 3, 5, 8, 11, 14, 17)])
def test_interrupted_anywhere_the_rows_are_the_same(chain, rows, tmp_path, monkeypatch, after):
    """What a stage needs of the ones before is searched again, and not written again."""
    written = []
    add_part = Record.add_part

    def crash(record, cell, name, *rest):
        if len(written) == after:
            raise OSError("disk full")
        written.append((cell, name))
        add_part(record, cell, name, *rest)

    plan = Plan.of({**PLAN, "out": str(tmp_path)})
    with monkeypatch.context() as patch:
        patch.setattr(Record, "add_part", crash)
        with pytest.raises(OSError, match="disk full"):
            plan.run()

    def once(record, cell, name, *rest):
        assert (cell, name) not in written, "a part is written once"
        written.append((cell, name))
        add_part(record, cell, name, *rest)

    monkeypatch.setattr(Record, "add_part", once)
    pd.testing.assert_frame_equal(rows(plan.run()), rows(chain))


def test_batches_change_nothing(chain, rows, tmp_path):
    """Each sample is judged by itself, however many stand beside it."""
    other = Plan.of({**PLAN, "out": str(tmp_path), "batch": 5}).run()
    kept = ["case", "attack", "position", "status", "queries", "forwards", "backwards", "note"]
    pd.testing.assert_frame_equal(rows(other)[kept], rows(chain)[kept])


def test_a_warm_stage_begins_where_the_others_ended(chain):
    """The first answer of a warm Square is the best margin so far: no sample it leaves standing is farther from falling than before."""
    table = chain.table()
    attack = {text: table[table.attack.str.replace(" ", "") == text.replace("=true", "=True").replace(" ", "")].set_index("id") for text in STAGES}
    warm, before = attack[STAGES[2]], attack[STAGES[0]]
    stood = warm.index[warm.status == "held"]
    assert len(stood) >= 5
    assert (warm.margin[stood] <= before.margin[stood] + 1e-6).all()


def test_without_a_cascade_nothing_is_handed_on(tmp_path):
    """Each attack by itself: a warm one begins as it would alone."""
    both = Plan.of({**PLAN, "out": str(tmp_path / "both"), "attacks": STAGES[:1] + STAGES[2:3], "cascade": False}).run().table()
    alone = Plan.of({**PLAN, "out": str(tmp_path / "alone"), "attacks": STAGES[2:3], "cascade": False}).run().table()
    shared = both[both.attack.str.startswith("square")].reset_index(drop=True)
    pd.testing.assert_series_equal(shared.margin, alone[alone.attack.str.startswith("square")].reset_index(drop=True).margin)
