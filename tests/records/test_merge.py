"""`merge` checks before it copies, and copies all or nothing."""

import itertools
import json
from pathlib import Path

import pandas as pd
import pytest

from sparring.bench.run import Run
from sparring.core.errors import LoadError, RecordError, StorageError
from sparring.records.merge import merge
from sparring.records.record import Record


def content(folder):
    return Run.open(folder).table().drop(columns="seconds").sort_values(["attack", "position"], ignore_index=True)


def files(folder):
    return {one.relative_to(folder): one.read_bytes() for one in sorted(folder.rglob("*")) if one.is_file()}


def merged(one, *others):
    record = Record.open(one)
    merge(record, [Record.open(other) for other in others])
    return record


def part(folder, number=0):
    return sorted(folder.glob("cells/*/*.parquet"))[number]


def signed(folder, cell, name, rows):
    """Write a part as a worker would, so that its checksum is right."""
    record = Record.open(folder)
    record.add_part(cell, name, {column: list(values) for column, values in rows.items()})


@pytest.mark.parametrize("order", list(itertools.permutations(("1/3", "2/3", "3/3"))))
def test_any_order(order, copy, made):
    """Twice, with overlaps that agree and with itself: the run of one worker."""
    one, two, three = map(copy, order)
    again = copy(order[0], "again")
    record = merged(one, two, three, again, two)
    assert not record.missing()
    pd.testing.assert_frame_equal(content(one), content(made["1/1"]))
    before = files(one)
    merged(one, three, two, Path(made["1/1"]))
    assert files(one) == before, "nothing was new"


def test_rows_that_were_computed_twice_are_kept_as_they_are(copy, plan):
    """Another worker took other seconds; its part is not copied beside the good one."""
    one = copy("1/3")
    other = Path(plan(one.parent.parent / "slow", shard="1/3").run().path)
    assert part(one).name != part(other).name
    before = files(one)
    merged(one, other)
    assert files(one) == before


def rewrite(folder, change, name=None):
    """Change the rows of one part, and write it with a right checksum."""
    old = part(folder)
    rows = pd.read_parquet(old)
    change(rows)
    old.unlink()
    signed(folder, old.parent.name, name or old.name.split(".")[0], rows.astype(object).where(rows.notna(), None))


def set_status(rows):
    rows.loc[rows.index[0], "status"] = "broken" if rows["status"].iloc[0] != "broken" else "held"


def set_id(rows):
    rows.loc[rows.index[0], "id"] = "digits/test/elsewhere"


def set_position(rows):
    rows["position"] += 1


def link_file(folder):
    old = part(folder)
    target = old.rename(folder.parent / old.name)
    old.symlink_to(target)


def link_folder(folder):
    cell = part(folder).parent
    target = cell.rename(folder.parent / cell.name)
    cell.symlink_to(target, target_is_directory=True)


def link_contradictions(folder):
    (folder / "contradictions").symlink_to(folder.parent, target_is_directory=True)


def edit(folder, change):
    header = json.loads((folder / "run.json").read_text())
    del header["checksum"]
    change(header)
    (folder / "run.json").write_text(json.dumps(header))


def set_key(header):
    for case in header["cases"]:
        case["cells"][0]["key"] = "../../../outside"


def flip(folder):
    file = part(folder)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)


def foreign(folder):
    """The rows of one place under the name of another."""
    old, positions = part(folder), pd.read_parquet(part(folder)).position
    rows = pd.read_parquet(old)
    old.unlink()
    free = "part-0000000-0000003" if positions[0] != 0 else "part-0000004-0000007"
    signed(folder, old.parent.name, free, rows.astype(object).where(rows.notna(), None))


BAD = {
    "a flipped bit": (flip, "is damaged, because its checksum is another"),
    "another verdict": (lambda folder: rewrite(folder, set_status), "contradicts the record about 1 units"),
    "another sample": (lambda folder: rewrite(folder, set_id), "at position|contradicts"),
    "other places": (lambda folder: rewrite(folder, set_position), "holds other units than the 12"),
    "rows of another part": (foreign, "holds other units than the 12"),
    "a strange name": (lambda folder: part(folder).rename(part(folder).with_name("x.parquet")), "not the name of a part"),
    "a link to a file": (link_file, "is a link, which spar merge does not follow"),
    "a link to a folder": (link_folder, "is a link, which spar merge does not follow"),
    "a link to where contradictions lie": (link_contradictions, "is a link, which spar merge does not follow"),
    "a key that leads outside": (lambda folder: edit(folder, lambda header: set_key(header)), "has cases.0.cells.0.key"),
    "other data": (lambda folder: edit(folder, lambda header: header["cases"][0]["data"].update(sha256="0" * 64)), "describes other models"),
    "another model": (lambda folder: edit(folder, lambda header: header["cases"][0]["model"].update(sha256="0" * 64)), "describes other models"),
    "another run": (lambda folder: edit(folder, lambda header: header.update(id="0" * 16)), "merge only shards of one run"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_wrong_is_refused_and_nothing_written(what, copy):
    """Beside a good shard, whose parts are not copied either."""
    spoil, sentence = BAD[what]
    one, good, bad = copy("1/1", "one"), copy("2/3"), copy("1/1", "bad")
    for file in sorted(one.glob("cells/*/part-0000004-*")):
        file.unlink()  # so that there is something to copy
    spoil(bad)
    before = files(one)
    with pytest.raises((RecordError, LoadError), match=sentence) as told:
        merged(one, good, bad)
    assert str(bad) in str(told.value)
    assert files(one) == before
    assert not (one.parent.parent / "outside").exists()


def test_both_headers_with_a_key_that_leads_outside(copy):
    one, two = copy("1/3"), copy("2/3")
    for folder in (one, two):
        edit(folder, set_key)
    with pytest.raises(LoadError, match=r"has cases\.0\.cells\.0\.key"):
        merged(one, two)


def test_links_in_the_folder_that_is_completed_are_not_written_through(copy):
    one, two = copy("1/3"), copy("2/3")
    link_folder(one)
    with pytest.raises(RecordError, match="is a link"):
        merged(one, two)


def test_a_full_disk_leaves_nothing_half_merged(copy, monkeypatch):
    """The fifth file does not fit: none of the others stays."""
    one, two = copy("1/3"), copy("2/3")
    before, record, count = files(one), Record.open(one), itertools.count(1)
    pipe = record.store.files.pipe_file

    def full(path, content):
        if next(count) == 5:
            raise OSError(28, "No space left on device")
        pipe(path, content)

    monkeypatch.setattr(record.store.files, "pipe_file", full)
    with pytest.raises(StorageError, match="No space left on device"):
        merge(record, [Record.open(two)])
    assert files(one) == before


def test_a_linked_run_folder_is_taken_as_it_is(copy):
    """The user named it."""
    one, two = copy("1/3"), copy("2/3")
    (one.parent.parent / "latest").symlink_to(two, target_is_directory=True)
    merged(one, one.parent.parent / "latest")
    assert len(list(one.glob("cells/*/part-0000004-*"))) == 3


def test_what_headers_found_is_kept_in_any_order(copy):
    """A re-evaluation, warnings and contradictions with their files."""
    one, two = copy("1/3"), copy("2/3")
    rate = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 8}
    looked = {"plain": "unreliable", "clean": rate, "claimed": rate, "best_known": rate, "remedies": []}
    found = {"case": "c", "certificate": "n", "attack": "a", "ids": ["x"], "file": f"contradictions/{'0' * 16}-part-0000004-0000007.npz"}

    def change(header):
        header["cases"][0]["reevaluation"] = looked
        header.update(warnings=["w"], contradictions=[found, {**found, "file": "../../x.npz"}])

    edit(two, change)
    (two / "contradictions").mkdir()
    (two / found["file"]).write_bytes(b"points")
    header = merged(one, two).header
    assert header["cases"][0]["reevaluation"] == looked
    assert header["warnings"] == ["w"]
    assert (one / found["file"]).read_bytes() == b"points"
    assert not list(one.parent.glob("x.npz"))
