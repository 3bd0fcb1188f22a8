"""Killed at any moment, the same call goes on: the table is that of a run nobody touched."""

import random
from pathlib import Path

import pandas as pd
import pytest
from killing import killer, parts

from sparring.bench.plan import Plan
from sparring.records.record import Record

SOURCES = Path(__file__).parents[2] / "src"
LONGER = {
    "model": ["zoo:digits-plain", "zoo:digits-robust"],
    "data": "digits",
    "take": 30,
    "threat": "linf 0.1",
    "attacks": ["noise(tries=3)", "pgd(steps=5)", "square(queries=40)"],
    "batch": 3,
    "search": "plain",
}


@pytest.mark.few(6)
@pytest.mark.parametrize("after", [0, 1, 3, 7, 19])
@pytest.mark.parametrize("where", ["before the part", "after the part", "half a part"])
def test_a_crash_between_parts(small, rows, whole, tmp_path, monkeypatch, after, where):
    """After any number of parts; a file that was being written is left aside and never read."""
    written = []
    add_part = Record.add_part

    def crash(record, cell, name, *rest):
        if len(written) == after:
            if where == "after the part":
                add_part(record, cell, name, *rest)
            if where == "half a part":
                record.store.write(f"cells/{cell}/{name}.parquet.0123.tmp", b"PAR1 half")
            raise OSError("disk full")
        written.append(name)
        add_part(record, cell, name, *rest)

    plan = small(out=str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(Record, "add_part", crash)
        with pytest.raises(OSError, match="disk full"):
            plan.run()
    (folder,) = tmp_path.iterdir()
    half = Record.open(folder)
    assert half.header["status"] == "failed"
    assert half.header["error"] == "OSError: disk full"
    assert len(half.table()) == 4 * (after + (where == "after the part"))
    run = plan.run()
    assert run.status == "done"
    pd.testing.assert_frame_equal(rows(run), rows(whole))


def test_a_second_run_writes_nothing(small, whole, rows, monkeypatch):
    """All parts are there: none is added, no attack is begun, and the answer is the run that was there."""
    before, begun = {part: part.stat().st_mtime_ns for part in Path(whole.path).glob("cells/**/*.*")}, []
    monkeypatch.setattr("sparring.aims.evasion.batch._search_and_judge", lambda *any: begun.append(any))
    again = small(out=str(Path(whole.path).parent)).run()
    assert not begun
    assert before
    assert {part: part.stat().st_mtime_ns for part in Path(whole.path).glob("cells/**/*.*")} == before
    assert again.path == whole.path
    pd.testing.assert_frame_equal(rows(again), rows(whole))


@pytest.fixture(scope="module")
def longer(tmp_path_factory):
    """The run of the longer plan."""
    return Plan.of({**LONGER, "out": str(tmp_path_factory.mktemp("longer"))}).run()


@pytest.fixture(scope="module")
def kill():
    """Begins the longer plan below a folder, and kills it there."""
    with killer(LONGER) as found:
        yield found


@pytest.mark.slow
@pytest.mark.parametrize("moment", range(20))
def test_kill_9(moment, kill, longer, tmp_path, rows):
    """`kill -9` twice, each time when so many parts have appeared (a file of the last may be half written), then the same plan: identical
    verdicts, points that can be read, nothing lost but the batch in flight."""
    rng, most = random.Random(moment), parts(Path(longer.path).parent)
    assert most > 10
    kept = -1
    for _ in range(2):
        kill(tmp_path, rng.randint(parts(tmp_path), most - 1))
        folder = next(iter(tmp_path.iterdir()), None)
        if folder is not None and (folder / "run.json").exists():
            before, kept = kept, len(Record.open(folder).table())
            assert kept >= before, "rows were lost"
    run = Plan.of({**LONGER, "out": str(tmp_path)}).run()
    assert run.status == "done"
    pd.testing.assert_frame_equal(rows(run), rows(longer))
    for cell in set(run.table().cell):
        run.record.points(cell)
