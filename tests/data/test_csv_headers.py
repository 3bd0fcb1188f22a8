"""Headers of CSV files are told from rows; numbers in the notation of another country do not become categories."""

import numpy as np
import pandas as pd
import pytest

import sparring as sp
from sparring.core.errors import InputError

RNG = np.random.default_rng(0)
VALUES, CLASSES = RNG.random((20, 3)), np.arange(20) % 2


@pytest.mark.parametrize(
    ("columns", "target"),
    [
        (["a", "b", "c"], "target"), (["0", "1", "2"], "target"), (["2019", "2020", "2021"], "class"), (["a", "inf", "c"], "target"),
        (["a", "NaN", "c"], "label"),
        (["1e3", "-2", "+3"], "y"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("first", [False, True])
def test_a_word_above_numbers_is_a_header(columns, target, first, tmp_path):
    """Whatever the other names look like, and wherever the classes stand."""
    frame = pd.DataFrame(VALUES, columns=columns)
    frame.insert(0 if first else 3, target, CLASSES)
    frame.to_csv(tmp_path / "t.csv", index=False)
    data = sp.load(tmp_path / "t.csv", **({"target": "y"} if target == "y" else {}))
    assert (len(data), data.y.tolist(), data.domain.names) == (20, CLASSES.tolist(), columns)


def test_numbers_alone_are_rows(tmp_path):
    """Also where the first row has marks for missing numbers, which are then named."""
    (tmp_path / "t.csv").write_text("\n".join(f"{k / 10},{k},{k % 2}" for k in range(20)))
    assert len(sp.load(tmp_path / "t.csv")) == 20
    (tmp_path / "t.csv").write_text("?,3,1\n" + "\n".join(f"{k / 10},{k},{k % 2}" for k in range(20)))
    with pytest.raises(InputError, match="column 'column 0' holds '\\?' among numbers, in row 0"):
        sp.load(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda k: f'"{k},5"', "holds '0,5' among 40 numbers: write decimal points"),
        (lambda k: f'"{1000 + k * 37:,}"', "holds '1,000' among 40 numbers"),
        (lambda k: f"{1000 + k * 37:,}".replace(",", "'"), 'holds "1\'000" among 40 numbers'),
        (lambda k: "?" if k == 7 else k / 8, "holds '\\?' among numbers, in row 7: fill the missing values"),
        (lambda k: "N/A!" if k == 7 else k / 8, "holds 'N/A!' among 40 numbers"),
    ],
)
def test_numbers_in_another_notation_are_no_categories(write, said, tmp_path):
    (tmp_path / "t.csv").write_text("a,b,target\n" + "".join(f"{write(k)},{k},{k % 2}\n" for k in range(40)))
    with pytest.raises(InputError, match=f"column 'a' {said}"):
        sp.load(tmp_path / "t.csv")


def test_words_stay_categories(tmp_path):
    """Codes of letters and digits, and a few numbers with a word among them."""
    (tmp_path / "t.csv").write_text("a,b,target\n" + "".join(f"{['x1', 'x2', '3'][k % 3]},{['1', '2', 'more'][k % 3]},{k % 2}\n" for k in range(40)))
    assert [column.kind for column in sp.load(tmp_path / "t.csv").domain.columns] == ["category", "category"]


@pytest.mark.parametrize(
    ("content", "said"), [("a,a,target\n1,2,0\n2,3,1\n", "two columns are named 'a'"), ("a,b,target\n1,2,0\n" * 2, "row 1 repeats the header")]
)
def test_a_second_header_is_no_row(content, said, tmp_path):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(InputError, match=said):
        sp.load(tmp_path / "t.csv")


def test_text_in_utf_16(tmp_path):
    (tmp_path / "t.csv").write_text("a,b,target\n1,2,0\n2,3,1\n", encoding="utf-16")
    assert len(sp.load(tmp_path / "t.csv")) == 2
    (tmp_path / "t.csv").write_bytes("a,b,target\n1,2,0\n2,3,1\n".encode("utf-16-le"))
    with pytest.raises(sp.errors.SparringError, match="utf-16-le"):
        sp.load(tmp_path / "t.csv")
    assert len(sp.load(tmp_path / "t.csv", encoding="utf-16-le")) == 2
