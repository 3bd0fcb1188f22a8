"""A flipped bit anywhere in a record is noticed, and told with the name of the file and the cure."""

import json
import random

import pandas as pd
import pytest

from sparring.bench.run import Run
from sparring.core.errors import LoadError, RecordError
from sparring.records.record import Record


def read(folder):
    """The rows, the points and the header of a run."""
    run = Run.open(folder)
    points = [run.record.points(cell["key"]) for case in run.record.header["cases"] for cell in case["cells"]]
    return run.table(), [(one.ids, one.before.tobytes(), one.after.tobytes()) for one in points], run.record.header


def content(folder):
    return Run.open(folder).table().drop(columns="seconds").sort_values(["attack", "position"], ignore_index=True)


def files_of(folder):
    return sorted(one for one in folder.rglob("*") if one.suffix in (".parquet", ".npz") or one.name == "run.json")


def flip(file, bit):
    content = bytearray(file.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    file.write_bytes(content)


def test_forty_flips(copy):
    """One bit each, anywhere in any file: 40 of 40."""
    folder, rng = copy("1/1"), random.Random(7)
    read(folder)
    for turn in range(40):
        file = files_of(folder)[turn % len(files_of(folder))]
        bit = rng.randrange(8 * file.stat().st_size)
        flip(file, bit)
        with pytest.raises((RecordError, LoadError), match="delete it") as told:
            read(folder)
        assert file.name in str(told.value)
        flip(file, bit)
    read(folder)


def test_every_byte_of_the_end_of_a_header(copy):
    """The checksum and its name are no weak place."""
    file = copy("1/1") / "run.json"
    for bit in range(8 * (file.stat().st_size - 90), 8 * file.stat().st_size - 8, 7):
        flip(file, bit)
        with pytest.raises((RecordError, LoadError), match="delete it"):
            Record.open(file.parent)
        flip(file, bit)


@pytest.mark.parametrize("what", ["flipped", "cut", "of another place", "of another cell"])
def test_the_same_command_refuses_a_damaged_part_and_its_cure_works(what, copy, plan, made):
    """It is neither read nor silently computed again; when it is deleted, the rows are those of the whole run."""
    folder = copy("1/1", "again")
    before = (folder / "run.json").read_bytes()
    one, two, *_ = sorted(folder.glob("cells/*/*.parquet"))
    if what == "flipped":
        flip(one, 800)
    elif what == "cut":
        one.write_bytes(one.read_bytes()[:-20])
    elif what == "of another place":
        one.write_bytes(two.read_bytes())
    else:
        other = next(cell for cell in sorted(folder.glob("cells/*")) if cell != one.parent)
        one = one.rename(other / one.name)
    with pytest.raises(RecordError, match="damaged, because its checksum is another: delete it and run the same command again") as told:
        plan(folder.parent).run()
    assert str(one) in str(told.value)
    assert (folder / "run.json").read_bytes() == before
    one.unlink()
    run = plan(folder.parent).run()
    pd.testing.assert_frame_equal(
        *(found.table().drop(columns="seconds").sort_values(["attack", "position"], ignore_index=True) for found in (run, Run.open(made["1/1"])))
    )


def test_records_without_checksums_are_read_and_continued(copy, plan, made):
    """As older versions wrote them: no false alarm."""
    folder = copy("1/1", "old")
    for part in (*folder.glob("cells/*/*.parquet"), *folder.glob("cells/*/points/*.npz")):
        part.rename(part.with_name(f"{part.name.split('.')[0]}{part.suffix}"))
    header = json.loads((folder / "run.json").read_text())
    del header["checksum"]
    (folder / "run.json").write_text(json.dumps(header))
    pd.testing.assert_frame_equal(read(folder)[0], read(made["1/1"])[0])
    next(iter(folder.glob("cells/*/*.parquet"))).unlink()
    assert plan(folder.parent).run().status == "done"


def test_a_header_may_be_laid_out_anew(copy):
    """What is in it counts, not blanks."""
    file = copy("1/1") / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()), indent=4))
    assert Record.open(file.parent).header["status"] == "done"
