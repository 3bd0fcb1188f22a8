"""Shell completion of plan keys and of what is known to stand behind them."""

import pytest

from sparring.bench.plan import Plan
from sparring.cli.completion import FILES, LISTS, NAMES, WORDS, complete_keys, complete_plan, joined, plan_keys


def words(typed):
    return [one for one, _ in complete_plan(typed)]


def test_keys_are_those_of_the_plan():
    assert plan_keys() == {name: field.description for name, field in Plan.model_fields.items()}
    assert {*NAMES, *WORDS, *FILES, *LISTS} - {"recipe", "fresh"} <= set(Plan.model_fields)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("mo", ["model="]),
        ("model=zoo:digits-", ["model=zoo:digits-plain", "model=zoo:digits-robust"]),
        ("data=dig", ["data=digits"]),
        ("threat=li", ["threat=linf"]),
        ("attacks=fgsm,apgd_l1", ["attacks=fgsm,apgd_l1", "attacks=fgsm,apgd_l1_t"]),
        ("attacks=sta", ["attacks=standard-1", "attacks=stadv"]),
        ("certify=no", ["certify=none"]),
        ("cascade=f", ["cascade=false"]),
        ("nosuch=", []),
        ("seed=", []),
    ],
)
def test_words_of_a_plan(typed, expected):
    assert words(typed) == expected


def test_files_are_offered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.onnx").write_text("")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine.yaml").write_text("")
    assert words("model=mi") == ["model=mine/", "model=mine.onnx", "model=mine.yaml"]
    assert words("mine") == ["mine/", "mine.yaml"]


def test_only_the_keys_of_a_command():
    assert [one for one, _ in complete_keys("re", {"recipe": "", "seed": ""})] == ["recipe="]


@pytest.mark.parametrize(
    ("parts", "place", "expected"),
    [
        (["spar", "run", "mo"], 2, (["spar", "run", "mo"], 2)),
        (["spar", "run", "model", "="], 3, (["spar", "run", "model="], 2)),
        (["spar", "run", "model", "=", "zoo", ":", "di"], 6, (["spar", "run", "model=zoo:di"], 2)),
        (["spar", "run", "data", "=", "digits"], 5, (["spar", "run", "data=digits"], 3)),
        (["spar", "run", "data", "=", "digits", "th"], 5, (["spar", "run", "data=digits", "th"], 3)),
    ],
)
def test_words_that_bash_divides(parts, place, expected):
    assert joined(parts, place) == expected


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("spar run model = zoo : digits-p", ["digits-plain"]),
        ("spar run data = dig", ["digits"]),
        ("spar harden recipe = sa", ["sabr"]),
        ("spar run data = digits thr", ["threat="]),
        ("spar doctor zoo : digits-r", ["digits-robust"]),
    ],
)
def test_bash_gets_the_part_that_it_puts_in(spar, monkeypatch, typed, expected):
    monkeypatch.setenv("_SPAR_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split()) - 1))
    assert spar().out.split() == expected
