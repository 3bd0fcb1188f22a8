"""spar ls knows every kind of thing that can be registered, plugins' too, and says all that is known about each."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import sparring
from sparring.cli.listing import KINDS, plural, summary
from sparring.core.registry import ROOMS

SOURCES = Path(sparring.__file__).parents[1]


@pytest.mark.parametrize("word", KINDS)
def test_every_kind_is_listed_in_whole_sentences(spar, word):
    rows = json.loads(spar("ls", word, "--json").out)
    assert rows
    assert [row["name"] for row in rows if not row["does"].endswith((".", "?"))] == []
    assert [row["name"] for row in rows if row["does"].count("(") != row["does"].count(")")] == []


def test_words_for_several():
    assert {plural(kind) for kind in ROOMS} == set(KINDS)
    assert [plural(kind) for kind in ("attack", "loss", "remedy", "dataset", "space")] == ["attacks", "losses", "remedies", "data", "threats"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One sentence.", "One sentence."),
        ("A sentence that\ngoes on. Another.\n\nMore.", "A sentence that goes on."),
        ("As Dong et al. 2018 do, with 0.5. The rest.", "As Dong et al. 2018 do, with 0.5."),
        ("", ""),
    ],
)
def test_a_summary_is_the_first_sentence(text, expected):
    assert summary(text) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("attacks", "pgd"), ["gradients, scores", "arXiv:1706.06083", "none, cosine", "ce, dlr, margin", "restarts", "Differs from the paper"]),
        (("certifiers", "network"), ["arXiv:1811.00866", "execution", "quick"]),
        (("checks", "D6"), ["broken_graph", "D6", "grad_fn"]),
        (("changes", "mi"), ["arXiv:1710.06081", "decay", "1.0"]),
        (("recipes", "sabr"), ["arXiv:2210.04871", "ratio", "0.4"]),
        (("fits", "mlp"), ["hidden", "64", "epochs", "30"]),
        (("fits", "estimator"), ["RandomForestClassifier", "skops"]),
        (("sets", "standard-1"), ["autoattack", "apgd_t, unless apgd_l1_t", "arXiv:2003.01690"]),
        (("threats", "spatial"), ["degrees", "must be given", "31"]),
        (("goals", "targeted"), ["target", "next"]),
        (("remedies", "transfer"), ["only_if_doubtful", "no"]),
        (("metrics", "robust_accuracy"), ["evasion"]),
        (("readers", "npz"), ["NumPy archives"]),
    ],
)
def test_a_whole_name_shows_everything(spar, words, expected):
    said = spar("ls", *words)
    assert said.code == 0
    for part in expected:
        assert part in " ".join(said.out.split()), part


def test_attacks_of_all_aims_stand_together(spar):
    """Each with its aim and the class that reviewers cite, in an edition; --aim restricts."""
    rows = {row["name"]: row for row in json.loads(spar("ls", "attacks", "--json").out)}
    assert {rows[name]["aim"] for name in ("pgd", "label_flip", "loss_threshold", "knockoff")} == {"evasion", "poisoning", "membership", "extraction"}
    for row in rows.values():
        if not row["control"]:
            assert row["nist"].startswith("NISTAML."), row["name"]
            assert row["atlas"].startswith("AML.T"), row["name"]
            assert "E2025" in row["taxonomy"]
            assert "ATLAS" in row["taxonomy"]
    own = json.loads(spar("ls", "attacks", "--aim", "poisoning", "--json").out)
    assert {row["name"] for row in own} == {name for name, row in rows.items() if row["aim"] == "poisoning"} >= {"label_flip", "random_flip"}
    assert "label_flip" in spar("ls", "attacks", "--aim", "poisoning").out
    assert "pgd" not in spar("ls", "attacks", "--aim", "poisoning").out
    for words, part in ((("attacks", "--aim", "evason"), "evasion"), (("models", "--aim", "evasion"), "--aim does not apply")):
        refused = spar("ls", *words)
        assert refused.code == 2
        assert part in refused.err


def test_every_aim_with_attacks_has_a_default_set(spar):
    """What a plan means by default is a set with a version, not a constant."""
    aims = {row["aim"] for row in json.loads(spar("ls", "attacks", "--json").out)}
    for aim in aims | {"transfer"}:
        sets = json.loads(spar("ls", "sets", "--aim", aim, "--json").out)
        assert [one["name"] for one in sets if "default" in one.get("aliases", [])], aim


def test_checks_come_in_the_order_of_their_codes(spar):
    rows = json.loads(spar("ls", "checks", "--json").out)
    assert [row["code"] for row in rows][:3] == ["D1", "D2", "D3"]
    assert [row["code"] for row in rows] == sorted((row["code"] for row in rows), key=lambda code: int(code[1:]))
    assert all(row["code"] in spar("ls", "checks").out.split() for row in rows)
    assert [row["code"] for row in json.loads(spar("ls", "checks", "D1?", "--json").out)] == ["D10", "D11", "D12", "D13", "D15", "D16", "D17", "D18", "D19"]


PLUGIN = '''"""One file adds five things."""

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F

from sparring.attacks.attack_set import Entry, attack_set
from sparring.attacks.evasion.transfer.change import Change
from sparring.core.rate import Rate
from sparring.core.registry import register
from sparring.defences.training.recipe import recipe
from sparring.diagnosis.remedy import Trying, fitting, remedy
from sparring.metrics.metric import metric


@register("change", "against")
@dataclass(frozen=True)
class Against(Change):
    """The gradient is turned round."""

    factor: float = -1.0
    order: ClassVar[int] = 5

    def __call__(self, ask, here):
        def asked(x, rng):
            answer = ask(x, rng)
            return answer._replace(grad=self.factor * answer.grad)

        return asked


@remedy("one more step", order=15)
def one_more_step(subject):
    """FGSM is tried once more."""
    for one in fitting(subject, "fgsm"):
        yield Trying("fgsm once more", one, None)


@recipe("plain", cites="nobody")
@dataclass(frozen=True)
class Plain:
    """The loss is the cross-entropy without attack."""

    smoothing: float = 0.0

    def __call__(self, step):
        return F.cross_entropy(step.scores, step.y, label_smoothing=self.smoothing)


@attack_set("two-1", aliases=("two",))
def two():
    """The set holds two cheap attacks."""
    return Entry("fgsm"), Entry("noise(tries=2)")


@metric("wrong_from_the_start")
def wrong_from_the_start(case):
    """Share of samples that the model gets wrong without attack."""
    clean = case[case.attack == "clean"]
    return Rate.of(int((clean.status != "held").sum()), len(clean))
'''

PROGRAM = """
import json, sys
import sparring as sp, torch
from sparring.bench.plan import Plan
from sparring.models.zoo import digits_plain

data = sp.load("digits", take=12)
victim = sp.victim(digits_plain(), data.domain)
told = {}

def scores(**settings):
    points = sp.attacks.transfer(victim, data.x, data.y, sp.linf(0.05), steps=1, **settings)
    return float(torch.nn.functional.cross_entropy(digits_plain()(points), data.y))

told["change"] = scores(changes="none") > scores(changes="against") + 1e-3
told["remedy"] = [(one.name, one.tried) for one in sp.reevaluate(victim, data, sp.linf(0.02)).remedies][1]
told["recipe"] = type(sp.harden(digits_plain(), data, sp.linf(0.05), "plain", smoothing=0.1, epochs=1, batch=6)).__name__
run = Plan.of({"model": "zoo:digits-plain", "data": "digits", "take": 12, "threat": "linf 0.1", "attacks": "two", "certify": "none",
               "gate": "wrong_from_the_start >= 0"}).run()
told["set"] = list(dict.fromkeys(run.table().attack))
told["plan"] = run.record.header["plan"]["attacks"]
told["metric"] = abs(run.record.header["gate"][0]["value"] - (1 - run.clean_accuracy.value)) < 1e-9
print(json.dumps(told))
"""


def test_one_file_of_a_plugin_adds_five_things(tmp_path):
    """A change, a remedy, a recipe, a set and a metric are found through an entry point, listed and used."""
    about = tmp_path / "five-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: five\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[sparring]\nfive = five\n")
    (tmp_path / "five.py").write_text(PLUGIN)
    listing = "from sparring.cli.listing import rows_of; import json; print(json.dumps({word: rows_of(word) for word in sys.argv[1:]}))"
    words = {"changes": "against", "remedies": "one more step", "recipes": "plain", "sets": "two-1", "metrics": "wrong_from_the_start"}
    environment = {**os.environ, "PYTHONPATH": f"{SOURCES}{os.pathsep}{tmp_path}"}
    ended = subprocess.run([sys.executable, "-c", PROGRAM + listing, *words], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    told, listed = map(json.loads, ended.stdout.splitlines())
    assert told == {
        "change": True,
        "remedy": ["one more step", ["fgsm once more"]],
        "recipe": "DigitsNet",
        "set": ["clean", "fgsm", "noise(tries=2)"],
        "plan": ["two-1"],
        "metric": True,
    }
    for word, name in words.items():
        (row,) = [row for row in listed[word] if row["name"] == name]
        assert row["does"].endswith(".")
    assert [row["settings"] for row in listed["recipes"] if row["name"] == "plain"] == [{"smoothing": {"default": 0.0}}]
    assert [row["settings"] for row in listed["changes"] if row["name"] == "against"] == [{"factor": {"default": -1.0}}]
