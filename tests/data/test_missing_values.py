"""Tables with missing values: what is read, stored and given to a model lacks exactly what the file or frame lacks."""

import numpy as np
import pandas as pd
import pytest
import torch

from sparring import threats
from sparring.core.errors import InputError, NeedsError
from sparring.data.dataset import Data
from sparring.data.load import load
from sparring.domains.table import Column, Table, table

KINDS = {
    "real": ([1.5, None, 2.25], "float64", "real"),
    "single": (pd.Series([1.5, None, 2.25], dtype="float32"), "float32", "real"),
    "nullable whole": (pd.Series([1, None, 3], dtype="Int64"), "float64", "integer"),
    "nullable real": (pd.Series([1.5, None, 2.25], dtype="Float32"), "float32", "real"),
    "words": (["b", None, "a"], pd.Series(["b", "a"]).dtype.name, "category"),
    "a word like a missing value": (["nan", None, "a"], pd.Series(["b", "a"]).dtype.name, "category"),
    "category": (pd.Series(["b", None, "a"], dtype="category"), "category", "category"),
    "category of whole numbers": (pd.Series(pd.Categorical([2, None, 1])), "category", "category"),
    "nullable category": (pd.Series([2, None, 1], dtype="Int64").astype("category"), "category", "category"),
    "truth values": (pd.Series([True, None, False], dtype=object), "object", "category"),
    "nullable truth values": (pd.Series([True, None, False], dtype="boolean"), "boolean", "category"),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_gap_is_kept_in_every_type(name):
    values, dtype, kind = KINDS[name]
    frame = pd.DataFrame({"whole": [1, 2, 3], "gapped": values})
    domain = table(frame)
    x = domain.check(frame)
    back = domain.frame(x)
    assert [(one.kind, one.missing) for one in domain.columns] == [("integer", False), (kind, True)]
    assert x.isnan().tolist() == [[False, False], [False, True], [False, False]]
    assert back.gapped.dtype == dtype
    assert back.gapped.isna().tolist() == [False, True, False]
    assert [str(one) for one in back.gapped.dropna()] == [str(float(one) if kind == "integer" else one) for one in frame.gapped.dropna()]
    assert torch.equal(domain.check(back).nan_to_num(-9), x.nan_to_num(-9))
    assert domain.frame(x[1:2]).gapped.dtype == dtype  # whichever rows are asked about
    assert domain.valid(x).all()
    assert torch.equal(domain.deploy(x, x).nan_to_num(-9), x.nan_to_num(-9))
    assert torch.equal(domain.unpack(domain.pack(x)).nan_to_num(-9), x.nan_to_num(-9))
    assert Table.restore(domain.describe()) == domain


def test_nullable_types_without_gaps_reach_the_model_as_numpys():
    frame = pd.DataFrame({"whole": pd.array([1, 2], dtype="Int16"), "real": pd.array([1.5, 2.5], dtype="Float64")})
    domain = table(frame)
    assert domain.frame(domain.check(frame)).dtypes.tolist() == [np.dtype("int16"), np.dtype("float64")]
    assert not domain.missing.any()


def test_a_column_without_a_single_value_may_lack_all():
    frame = pd.DataFrame({"age": [1, 2], "nothing": [None, None]})
    domain = table(frame)
    assert domain.columns[1] == Column("nothing", missing=True)
    assert domain.check(frame)[:, 1].isnan().all()


def test_gaps_where_the_domain_has_none_are_refused():
    domain = table(pd.DataFrame({"age": [1.0, 2.0], "town": ["a", "b"]}))
    for frame in (pd.DataFrame({"age": [None, 2.0], "town": ["a", "b"]}), pd.DataFrame({"age": [1.0, 2.0], "town": [None, "b"]})):
        with pytest.raises(InputError, match=r"x has no value in row 0, column '(age|town)': fill or drop it, or let the column have gaps"):
            domain.check(frame)
    with pytest.raises(InputError, match="an infinite value in row 1"):
        Table((Column("age", missing=True),)).check([[1.0], [np.inf]])


def test_descriptions_from_before_there_were_gaps_open():
    described = table(pd.DataFrame({"age": [1, 2]})).describe()
    assert described["columns"][0].pop("missing") is False
    assert Table.restore(described) == table(pd.DataFrame({"age": [1, 2]}))


FRAME = pd.DataFrame(
    {
        "age": pd.array([31, None, 44, 28], dtype="Int64"),
        "income": [2500.5, 1800.0, None, 3100.0],
        "round": [2.0, None, 3.0, 4.0],
        "town": ["Bonn", None, "Köln", "Bonn"],
        "owner": pd.Series([True, False, None, True], dtype=object),
        "label": ["yes", "no", "yes", "no"],
    }
)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_empty_cells_of_files_are_gaps(tmp_path, suffix):
    path = tmp_path / f"people.{suffix}"
    FRAME.to_csv(path, index=False) if suffix == "csv" else FRAME.to_parquet(path)
    data = load(str(path))
    columns = FRAME.drop(columns="label")
    assert torch.equal(data.x.isnan(), torch.from_numpy(columns.isna().to_numpy()))
    assert [(one.kind, one.missing) for one in data.domain.columns] == [(kind, True) for kind in ("integer", "real", "real", "category", "category")]
    assert data.x[:, 0].nan_to_num(0).tolist() == [31, 0, 44, 28]
    assert data.y.tolist() == [1, 0, 1, 0]


def test_whole_numbers_with_gaps_are_whole_in_a_file_without_header_or_of_arrow(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    (tmp_path / "a.csv").write_text("1,0.5,0\n,,1\n3,1,0\n")
    parquet.write_table(pa.table({"a": pa.array([1, None, 3]), "b": pa.array([0.5, None, 1.0]), "c": ["x", "y", "x"]}), tmp_path / "a.parquet")
    for name in ("a.csv", "a.parquet"):
        assert [one.kind for one in load(str(tmp_path / name)).domain.columns] == ["integer", "real"]


MARKS = ["NA", "None", "nan", "null", "N/A"]


def test_among_words_a_mark_for_missing_values_is_a_word(tmp_path):
    """In columns of numbers and truth values it is a gap, and an empty cell is one everywhere."""
    rows = [("EU", "1.5", "True"), *((mark, mark, mark) for mark in MARKS), ("", "", ""), ("Asia", "2", "False")]
    lines = [f"{','.join(row)},{k},{'NA' if k % 2 else 'EU'}" for k, row in enumerate(rows)]
    (tmp_path / "marks.csv").write_text("self,size,owner,number,label\n" + "\n".join(lines) + "\n")
    data = load(str(tmp_path / "marks.csv"))
    assert data.domain.columns[0].levels == tuple(sorted(["EU", *MARKS, "Asia"]))
    assert data.x.isnan().sum(0).tolist() == [1, len(MARKS) + 1, len(MARKS) + 1, 0]
    assert data.domain.frame(data.x)["self"][1 : 1 + len(MARKS)].tolist() == MARKS
    assert data.classes == ["EU", "NA"]


@pytest.mark.parametrize(("columns", "settings"), [("label", {}), ("one,two", {"task": "labels", "target": "one,two"})])
def test_texts_are_never_made_up(columns, settings, tmp_path):
    """The word nan is a text; an empty cell is none, and is not turned into that word."""
    answers = ",".join("01"[: columns.count(",") + 1])
    (tmp_path / "words.csv").write_text(f"text,{columns}\n" + "".join(f"{one},{answers}\n" for one in ("good", "nan", "None")))
    assert load(str(tmp_path / "words.csv"), **settings).x.tolist() == ["good", "nan", "None"]
    (tmp_path / "gap.csv").write_text(f"text,{columns}\n" + "".join(f"{one},{answers}\n" for one in ("good", "", "bad")))
    with pytest.raises(InputError, match="column 'text' has no text in 1 rows, the first is row 1: fill or drop them"):
        load(str(tmp_path / "gap.csv"), **settings)


def test_marks_and_missing_targets_are_still_refused(tmp_path):
    (tmp_path / "mark.csv").write_text("age,label\n1,x\n?,y\n3,x\n")
    (tmp_path / "target.csv").write_text("age,label\n1,x\n,y\n3,\n")
    (tmp_path / "number.csv").write_text("age,label\n1,0\n,1\n3,\n")
    with pytest.raises(InputError, match="'\\?' among numbers, in row 1"):
        load(str(tmp_path / "mark.csv"))
    for name in ("target.csv", "number.csv"):
        with pytest.raises(InputError, match="has no class in 1 rows"):
            load(str(tmp_path / name))


def test_a_card_names_what_is_missing_and_shows_only_what_changed():
    domain = table(FRAME.drop(columns="label"))
    before = domain.check(FRAME)[2:3]
    after = before.clone()
    after[0, 0] = 45
    shown = domain.show(before, after)
    assert shown.count("<tr><td>") == 1
    assert "<td>age</td><td>44</td><td>45</td>" in shown
    assert "missing: income, owner" in shown
    assert "nothing changed" in domain.show(before, before)
    assert domain.columns[1].write(torch.nan) == "missing"


def test_equal_data_with_gaps_has_one_hash():
    domain = table(FRAME.drop(columns="label"))
    first, second = (Data.of(FRAME, [0, 1, 0, 1], domain) for _ in range(2))
    assert first.sha256 == second.sha256 != Data.of(FRAME.assign(income=FRAME.income.fillna(2000)), [0, 1, 0, 1], domain).sha256


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (1, "missing ones in the column 'c0': give rules"),
        (3, "in the columns 'c0', 'c1', 'c2': give rules"),
        (5, "in the columns 'c0', 'c1', 'c2' and 2 others: give rules"),
    ],
)
def test_a_ball_names_the_columns_with_gaps(count, said):
    frame = pd.DataFrame({f"c{place}": [1.0, 2.0, None if place < count else 3.0] for place in range(6)})
    domain = table(frame)
    for space in (threats.linf(0.1), threats.l2(0.1), threats.l1(0.1)):
        with pytest.raises(NeedsError, match=said):
            space.space.check(domain.check(frame), domain)
