"""YAML and JSON from strangers."""

import pytest
import yaml

from sparring.bench.plan import Plan
from sparring.core.documents import DEPTH, NODES, parse_json, parse_yaml
from sparring.core.errors import LoadError, PlanError

LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{','.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(9))

HONEST = [
    "a: 1\nb: [x, 2.5, true, null]\nc: {d: 0x10, e: 'f'}",
    "shared: &s {k: 1, l: 2}\nfirst: {<<: *s, k: 3}\nsecond: *s",
    "- 2001-01-01\n- 9223372036854775807\n- -9223372036854775808",
    "a: [1, 1, 1]\nb: {a: 1}\nc: {a: 1}",
    "\ufeffa: ä",
    "",
    "text",
    "[" * 50 + "]" * 50,
]


@pytest.mark.parametrize("text", HONEST)
def test_honest_yaml_is_read_as_by_the_library(text):
    assert parse_yaml(text.encode(), "it") == yaml.safe_load(text.lstrip("\ufeff"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("2001-99-99", "month"),
        ('!!int "abc"', "abc"),
        ("!!bool maybe", "maybe"),
        ("!!timestamp x", "not valid YAML"),
        ("!!int ''", "not valid YAML"),
        ("[" * 100_000, f"more than {DEPTH} levels"),
        ("- " * 5000, f"more than {DEPTH} levels"),
        (LAUGHS, f"more than {NODES:,} values"),
        ("- a\n" * (NODES + 1), f"more than {NODES:,} values"),
        ("a: &a [*a]", "contains itself"),
        ("a: &a {b: *a}", "contains itself"),
        ("a: 1\na: 2", "'a' is given twice"),
        ("b:\n  a: 1\n  c: 2\n  a: 1", "'a' is given twice"),
        ("1: x\n0x1: y", "1 is given twice"),
        ("a: " + "9" * 400, "beyond 64 bits"),
        ("a: 0x" + "f" * 17, "beyond 64 bits"),
        ("a: -9223372036854775809", "beyond 64 bits"),
        ("? [a]\n: b", "a list or a mapping"),
        ("!!python/object/apply:os.system [x]", "could not determine a constructor"),
        (b"\xff\xfe", "byte 0 is not UTF-8"),
        ("\0", "special characters"),
        ("x" * 5_000_000, "the limit is"),
        ("a: [", "not valid YAML"),
    ],
)
def test_hostile_yaml_is_refused(text, sentence):
    with pytest.raises(LoadError, match=rf"^it .*{sentence}"):
        parse_yaml(text, "it")


def test_json():
    assert parse_json(b'\xef\xbb\xbf{"a": [1, -1.5e300, "x", 18446744073709551615]}', "it") == {"a": [1, -1.5e300, "x", 2**64 - 1]}
    for text, sentence in (
        ("[" * 100_000, "too deep"),
        ("9" * 400, "beyond 64 bits"),
        ('{"a": 18446744073709551616}', "beyond 64 bits"),
        (b"\xff", "UTF-8"),
        ("{", "not valid JSON"),
        ('{"a": 1' + "0" * 5000 + "}", "64 bits"),
    ):
        with pytest.raises(LoadError, match=sentence):
            parse_json(text, "it")


@pytest.mark.parametrize("written", ["²/³", "١/٢", "1/" + "9" * 400, "1/2/3", "/2", "-1/2", "1/2\n"])
def test_shards_are_written_in_plain_digits(written):
    with pytest.raises(PlanError, match="write k/n, 1/4 for the first of four parts"):
        Plan.of({"shard": written}).settings()
