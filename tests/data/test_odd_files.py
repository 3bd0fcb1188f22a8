"""Files as other tools write them: what would be misread is refused, and what is a number is one."""

import datetime
import decimal
import re

import numpy as np
import pandas as pd
import pytest

import sparring as sp
from sparring.core.errors import InputError

ROWS = range(30)


def written(path, header, line, end=""):
    path.write_text(header + "\n" + "".join(line(row) + "\n" for row in ROWS) + end)
    return str(path)


@pytest.mark.parametrize(
    ("header", "line", "said"),
    [
        (
            '"a","b","label"',
            lambda k: f'"{k}",{k * 2},{k / 3},{k % 2}',
            "line 2 has 4 cells for 3 columns: name every column, such as that of the names",
        ),
        ("a,b,label", lambda k: f"{k},{k},5,{k % 2}", "line 2 has 4 cells for 3 columns"),
        ("label,a,b", lambda k: "1,5" if k == 5 else f"{k % 2},{k},{k / 3}", "line 7 has 2 cells for 3 columns: complete the line, with empty cells"),
        ("label,a,b", lambda k: "1,5" if k == 5 else f"{k % 2},{k},word", "line 7 has 2 cells for 3 columns"),
        ("a,b,label", lambda k: f"{10**25 + k},{k},{k % 2}", "'a' holds 10000000000000000000000000, a whole number of more than 64 bits: leave the column out"),
        ("a,b,label", lambda k: f"{2**53 + k},{k},{k % 2}", f"column 'a' holds {2**53 + 1}, which is no number of 64 bits in floating point: leave"),
        ("a,b,label", lambda k: f"{k}%,{k},{k % 2}", "holds '0%' among 30 numbers: write decimal points, no marks between thousands and no units"),
        ("a,b,label", lambda k: f"${k * 1000:,}".join('""') + f",{k},{k % 2}", "holds '$0' among 30 numbers"),
        ("a,b,label", lambda k: f"{k} €,{k},{k % 2}", "holds '0 €' among 30 numbers"),
    ],
)
def test_what_would_be_misread_is_refused(header, line, said, tmp_path):
    path = written(tmp_path / "a.csv", header, line)
    with pytest.raises(InputError, match=re.escape(said)):
        sp.load(path)


@pytest.mark.parametrize(
    ("header", "line"),
    [
        ("a,b,label", lambda k: f"{k},{k / 4},{k % 2},"),
        ("a,b,label", lambda k: f"{k},{k / 4},{k % 2}" + "\n" * (k % 3)),
        ("label,a,b", lambda k: f"{k % 2},{k},{k / 4}"),
        ('"a","b","label"', lambda k: f'"{k}","{k / 4}","{k % 2}"'),
    ],
)
def test_marks_at_the_end_and_blank_lines_are_harmless(header, line, tmp_path):
    data = sp.load(written(tmp_path / "a.csv", header, line))
    assert data.x.tolist() == [[k, k / 4] for k in ROWS]
    assert data.y.tolist() == [k % 2 for k in ROWS]


def test_a_gap_in_the_last_column_is_one(tmp_path):
    data = sp.load(written(tmp_path / "a.csv", "label,a,b", lambda k: f"{k % 2},{k},{'' if k == 3 else k}"))
    assert data.x.isnan().nonzero().tolist() == [[3, 1]]


def test_decimals_of_a_parquet_file_are_numbers(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    cells = [None if k == 3 else decimal.Decimal(k) / 4 for k in ROWS]
    parquet.write_table(pa.table({"a": cells, "b": list(ROWS), "label": [decimal.Decimal(k % 2) for k in ROWS]}), tmp_path / "a.parquet")
    data = sp.load(tmp_path / "a.parquet")
    assert [column.kind for column in data.domain.columns] == ["real", "integer"]
    assert [None if one != one else one for one in data.x[:, 0].tolist()] == [None if one is None else float(one) for one in cells]
    assert data.y.tolist() == [k % 2 for k in ROWS]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2, 3], "integer"), ([1, None, 3], "integer"), ([1.5, 2, 3], "real"), ([1.5, None, 2.0], "real"),
        ([decimal.Decimal(1), None, decimal.Decimal(4)], "real"),
        ([decimal.Decimal(1), decimal.Decimal(2), decimal.Decimal(4)], "real"), (["1", "2", "3"], "category"), ([1, "2", 3], "category"),
        ([True, False, True], "category"), ([datetime.date(2020, 1, 1)] * 3, "category"),
    ],
)  # fmt: skip
def test_numbers_that_pandas_keeps_as_objects_are_numbers(values, kind):
    """As in a frame made from an array of objects."""
    frame = pd.DataFrame({"a": pd.Series(values, dtype=object)})
    domain = sp.table(frame)
    assert domain.columns[0].kind == kind
    x = domain.check(frame)
    assert x.isnan()[:, 0].tolist() == [one is None for one in values]
    if kind != "category":
        assert [None if one != one else one for one in x[:, 0].tolist()] == [None if one is None else float(one) for one in values]
        fed = domain.frame(x)
        assert fed.a.dtype.kind in "if"


def test_whole_numbers_beyond_floating_point_are_refused():
    for values, exact in (([2**53 + 1, 1], False), ([2**60, 1], True), ([-(2**53) - 1, 1], False)):
        for dtype in ("int64", "Int64"):
            frame = pd.DataFrame({"a": pd.array(values, dtype=dtype)})
            domain = sp.table(frame)
            if exact:
                assert domain.check(frame)[0, 0] == values[0]
                continue
            with pytest.raises(InputError, match=f"column 'a' holds {values[0]}, which is no number of 64 bits in floating point"):
                domain.check(frame)


@pytest.mark.parametrize("most", [0, 1, 2])
def test_bytes_of_0_and_1_are_no_levels_of_255(most, tmp_path):
    np.savez(tmp_path / "a.npz", x=np.full((4, 5, 5), most, dtype=np.uint8), y=[0, 1, 0, 1])
    if most != 1:
        assert sp.load(tmp_path / "a.npz").x.max() == np.float32(most) / np.float32(255)
        return
    with pytest.raises(InputError, match="is uint8 with the values 0 and 1 only, which are no levels of 255: save images as floats"):
        sp.load(tmp_path / "a.npz")
