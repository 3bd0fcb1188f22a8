"""The small language of plans."""

import pytest

from sparring.core.errors import PlanError
from sparring.core.expression import Expression, parse, split_list

READ = {
    "pgd": ("pgd", [], {}),
    "  pgd  ": ("pgd", [], {}),
    "pgd()": ("pgd", [], {}),
    "pgd(steps=50)": ("pgd", [], {"steps": 50}),
    'pgd(steps=50, loss="dlr")': ("pgd", [], {"steps": 50, "loss": "dlr"}),
    "pgd(loss=dlr, momentum=0.75)": ("pgd", [], {"loss": "dlr", "momentum": 0.75}),
    "a(b=true, c=false, d=none)": ("a", [], {"b": True, "c": False, "d": None}),
    "a(b=True, c=False, d=None)": ("a", [], {"b": True, "c": False, "d": None}),
    "mlp(hidden=[64, 32], epochs=3)": ("mlp", [], {"hidden": [64, 32], "epochs": 3}),
    'network(verifiers=["ibp", crown])': ("network", [], {"verifiers": ["ibp", "crown"]}),
    "mlp(hidden=[])": ("mlp", [], {"hidden": []}),
    "linf 8/255": ("linf", [8 / 255], {}),
    "linf(8/255)": ("linf", [8 / 255], {}),
    "linf -0.1": ("linf", [-0.1], {}),
    "linf 1e-3": ("linf", [0.001], {}),
    "targeted next": ("targeted", ["next"], {}),
    "targeted 3": ("targeted", [3], {}),
    "rules breast-cancer": ("rules", ["breast-cancer"], {}),
    "words 0.2 ../data/words.json.gz": ("words", [0.2, "../data/words.json.gz"], {}),
    "words 0.2 folder/a-b.json": ("words", [0.2, "folder/a-b.json"], {}),
    'words(0.2, "my words.json")': ("words", [0.2, "my words.json"], {}),
    "words 0.2 'my words.json'": ("words", [0.2, "my words.json"], {}),
    'erase "red (dark), car"': ("erase", ["red (dark), car"], {}),
    "words 0.2 words(1).json": ("words", [0.2, "words(1).json"], {}),
    "rules 2024/rules.yaml": ("rules", ["2024/rules.yaml"], {}),
}


@pytest.mark.parametrize("text", READ)
def test_read(text):
    """Names, fractions, words, booleans; brackets or white space."""
    assert parse(text) == Expression(*READ[text])


WRONG = [
    "",
    "   ",
    "8/255",
    "(",
    "pgd(",
    "pgd(steps=)",
    "pgd(steps=1, steps=2)",
    "pgd(**x)",
    "pgd(steps=1+1)",
    "pgd(steps=f())",
    "pgd(x.y)",
    "os.system(1)",
    "pgd(1)(2)",
    "linf(1/0)",
]
WRONG += ["linf('a'/2)", "linf(-true)", "pgd(steps=[f()])", "pgd(steps=[1 for x in y])", "pgd(steps=(1, 2))", "pgd(a=b'x')", "lambda: 0", "pgd(x:=1)"]


@pytest.mark.parametrize("text", WRONG)
def test_wrong(text):
    """Anything else is a PlanError that repeats the text; nothing of it is ever run."""
    with pytest.raises(PlanError, match="cannot read") as caught:
        parse(text)
    assert text.strip() in str(caught.value)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", []),
        ("pgd", ["pgd"]),
        ("pgd, apgd", ["pgd", "apgd"]),
        ("pgd(steps=5, restarts=2), apgd,", ["pgd(steps=5, restarts=2)", "apgd"]),
        ("a >= 1, b[c, d] >= 2", ["a >= 1", "b[c, d] >= 2"]),
        ("\"a, b\", 'c,d'", ['"a, b"', "'c,d'"]),
        ("it's.onnx, that's.onnx", ["it's.onnx", "that's.onnx"]),
    ],
)
def test_split_list(text, parts):
    """Commas divide where no bracket or quotation is open."""
    assert split_list(text) == parts


def test_split_list_at_another_separator():
    """A plus inside brackets belongs to its part."""
    assert split_list("mi + di(chance=1e+0)+ti", "+") == ["mi", "di(chance=1e+0)", "ti"]
