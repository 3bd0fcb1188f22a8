"""The comparison of two records: what counts as the same in either schema, and what does not. The plan itself is not run."""

import importlib.util
import json
import sys
import warnings
from pathlib import Path

import pandas as pd
import pytest

from sparring.bench.plan import Plan
from sparring.core.expression import parse
from sparring.core.registry import find

SCRIPT = Path(__file__).parents[2] / "scripts" / "compare_records.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("compare_records", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def older() -> pd.DataFrame:
    """Two attacks of one name, a skipped sample, one without an answer, a targeted one, and a certificate."""
    nan = float("nan")
    rows = [
        ("digits", "pgd(steps=5)", "a", "broken", 3, 5.0, nan, 0.25, 0.1, 4, 4, 4),
        ("digits", "pgd(steps=5)", "b", "skipped", 3, nan, nan, nan, nan, 0, 0, 0),
        ("digits", "pgd(steps=9)", "a", "held", 3, 3.0, nan, -0.5, 0.1, 8, 8, 8),
        ("digits", "pgd(steps=9)", "b", "error", 3, -1.0, nan, float("-inf"), 0.0, 1, 1, 0),
        ("toward", "pgd(steps=5)", "a", "broken", 3, 4.0, 4.0, 0.125, 2.0, 4, 4, 4),
        ("digits", "network", "a", "proved", 3, nan, nan, 0.75, 0.1, 0, 0, 0),
    ]
    names = ["case", "attack", "id", "status", "label", "predicted", "target", "margin", "size", "queries", "forwards", "backwards"]
    return pd.DataFrame(rows, columns=names).assign(note="", seconds=1.0)


def newer() -> pd.DataFrame:
    """The same rows in the other schema, with the settings of the attacks written otherwise and in another order."""
    record = older().drop(columns=["label", "predicted", "target"])
    record["margin"] = [-0.25, float("nan"), 0.5, float("inf"), -0.125, 0.75]
    record["wanted"] = "3"
    record["given"] = ["5", None, "3", None, "4", None]
    record["aimed"] = [None, None, None, None, "4", None]
    record["attack"] = record["attack"].str.replace("(steps=", "(count=")
    return record.iloc[[5, 0, 1, 2, 3, 4]].assign(seconds=2.0)


def test_a_record_equals_itself_and_its_rows_in_another_schema(script):
    for first, second in ((older(), older()), (newer(), newer()), (older(), newer()), (newer(), older())):
        found = script.compare(first, second, 1e-6)
        assert found.differences.empty
        assert found.rows == len(older())
        assert found.largest == {"margin": 0.0, "size": 0.0}


def test_a_margin_that_was_not_flipped_is_a_difference(script):
    unflipped = newer().assign(margin=older()["margin"])
    assert script.compare(older(), unflipped, 1e-6).counts == {"margin": 4}


@pytest.mark.parametrize(
    ("column", "value"),
    [("status", "held"), ("label", 4), ("predicted", 6.0), ("predicted", float("nan")), ("target", 1.0), ("queries", 5), ("forwards", 5), ("backwards", 3)],
)
def test_every_verdict_and_cost_counts(script, column, value):
    changed = older()
    changed.loc[0, column] = value
    found = script.compare(older(), changed, 1e-6)
    assert found.differences[["case", "attack", "id"]].to_numpy().tolist() == [["digits", "pgd", "a"]]
    assert len(found.differences) == 1


@pytest.mark.parametrize("column", ["margin", "size"])
def test_numbers_may_differ_by_the_tolerance_and_no_more(script, column):
    changed = older()
    changed[column] = changed[column] + [1e-4, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert script.compare(older(), changed, 1e-3).differences.empty
    assert script.compare(older(), changed, 1e-3).largest[column] == pytest.approx(1e-4)
    assert script.compare(older(), changed, 1e-5).counts == {column: 1}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_number_and_an_infinite_one_are_no_number_near_by(script, value):
    changed = older()
    changed.loc[0, "margin"] = value
    for first, second in ((older(), changed), (changed, older())):
        found = script.compare(first, second, 1e9)
        assert found.counts == {"margin": 1}
        assert found.largest["margin"] == float("inf")


def test_a_missing_row_is_a_difference_on_either_side(script):
    fewer = older().drop(index=2)
    for first, second, shown in ((older(), fewer, ["there", "missing"]), (fewer, older(), ["missing", "there"])):
        found = script.compare(first, second, 1e-6)
        assert found.differences.to_numpy().tolist() == [["digits", "pgd 2", "a", "row", *shown]]


def test_the_second_attack_of_a_name_is_told_from_the_first(script):
    swapped = older().iloc[[2, 3, 0, 1, 4, 5]]
    assert script.compare(older(), swapped, 1e-6).counts["status"] == 4


def test_unknown_columns_and_repeated_samples_are_refused(script):
    with pytest.raises(ValueError, match="no column margin"):
        script.compare(older(), older().rename(columns={"margin": "gap"}), 1e-6)
    with pytest.raises(ValueError, match="a sample twice"):
        script.compare(older(), pd.concat([older(), older()]), 1e-6)


def written(folder: Path, name: str, record: pd.DataFrame, code: int = 0) -> Path:
    header = {"commit": None, "plan": "p", "python": "3", "torch": "2", "machine": "m", "cases": {"digits": {"code": code}}}
    (folder / f"{name}.json").write_text(json.dumps(header))
    record.to_parquet(folder / f"{name}.parquet")
    return folder / f"{name}.parquet"


def test_exit_codes_and_the_last_line(script, tmp_path, capsys):
    before, after = written(tmp_path, "before", older()), written(tmp_path, "after", newer())
    assert script.compare_files(before, after, 1e-6) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["same"] is True

    many = pd.concat([older().assign(id=older()["id"] + str(turn)) for turn in range(10)], ignore_index=True)
    changed = written(tmp_path, "changed", many.assign(queries=99))
    assert script.compare_files(written(tmp_path, "many", many), changed, 1e-6) == 1
    *table, counts, last = capsys.readouterr().out.splitlines()
    assert len(table) == 1 + script.MOST_SHOWN
    assert counts == "60 differences, 20 shown"
    assert json.loads(last)["differences"] == {"queries": 60}


def test_a_failed_case_or_nothing_in_common_is_not_the_same(script, tmp_path, capsys):
    before = written(tmp_path, "before", older())
    assert script.compare_files(before, written(tmp_path, "failed", older(), code=3), 1e-6) == 1
    assert script.compare_files(before, written(tmp_path, "other", older().assign(case="other")), 1e-6) == 2
    assert script.compare_files(before, tmp_path / "absent.parquet", 1e-6) == 2
    assert "absent.parquet" in capsys.readouterr().err


def test_the_plan_uses_the_names_of_today(script):
    """No key and no setting of a case is one that is understood with a warning."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for case in script.CASES.values():
            plan = Plan.of(case)
            for written in set(plan.certify) - {"none", "default"}:
                expression = parse(written)
                find("certifier", expression.name).configure(**expression.settings)
    assert not [str(one.message) for one in told]
