"""One file adds a thing: per registered kind a plugin module of a few lines, which `spar ls` lists with nothing else edited."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sparring.cli.listing import KINDS, alike
from sparring.core.registry import ROOMS

ROOT = Path(__file__).parent.parent

EXAMPLES = {
    "attack": """
from sparring.attacks.attack import attack

@attack(needs={"labels"}, uses={"sample"}, cites="nobody")
def added(problem):
    "Returns the clean inputs."
    return problem.best()
""",
    "method": """
from sparring.attacks.method import method

@method(aim="membership", cites="nobody")
def added(probe):
    "Scores every record by its first value."
    return probe.data.x.flatten(1)[:, 0]
""",
    "space": """
from sparring.core.registry import register
from sparring.threats.balls import Linf

@register("space", "added")
class Added(Linf):
    "Bounds every change, as linf does."
    kind = "added"
""",
    "tampering": """
from sparring.core.registry import register
from sparring.threats.tampering import LabelTampering

@register("tampering", "added")
class Added(LabelTampering):
    "Changes labels."
    kind = "added"
""",
    "goal": """
from sparring.core.registry import register
from sparring.threats.goals import Untargeted

@register("goal", "added")
class Added(Untargeted):
    "Counts any wrong answer."
    kind = "added"
""",
    "domain": """
from sparring.core.registry import register
from sparring.domains.image import Image

@register("domain", "added")
class Added(Image):
    "Takes images."
    kind = "added"
""",
    "task": """
from sparring.core.registry import register
from sparring.tasks.classes import Classes

@register("task", "added")
class Added(Classes):
    "Answers classes."
    kind = "added"
""",
    "adapter": """
from sparring.models.adapter import adapter
from sparring.models.callable import CallableVictim

class Mine:
    pass

@adapter("added", lambda model: isinstance(model, Mine))
class Added(CallableVictim):
    "Wraps a model of mine."
""",
    "model": """
from torch import nn
from sparring.models.zoo import entry

@entry("added", data="digits")
def added():
    "Makes a linear network."
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
""",
    "loss": """
from sparring.attacks.losses import loss

@loss("added", object)
def added(scores, criterion):
    "Maximises the goal's own loss."
    return criterion.loss(scores)
""",
    "set": """
from sparring.attacks.attack_set import Entry, attack_set

@attack_set("added")
def added():
    "Holds one control."
    return (Entry("noise"),)
""",
    "change": """
from sparring.attacks.evasion.transfer.change import Change
from sparring.core.registry import register

@register("change", "added")
class Added(Change):
    "Leaves the gradient as it is."

    def __call__(self, ask, here):
        return ask
""",
    "dataset": """
from sparring.core.registry import find, register

@register("dataset", "added")
def added(split):
    "Gives the digits."
    return find("dataset", "digits")(split)
""",
    "reader": """
from sparring.core.registry import find
from sparring.data.readers.reader import reader

@reader("added", lambda path: path.suffix == ".added", files="files of mine", takes=set())
def added(path, options):
    "Reads an archive."
    return find("reader", "npz").read(path, options)
""",
    "check": """
from sparring.diagnosis.doctor import Opinion, check

@check(code="D900", title="Added", needs={"labels"})
def added(subject):
    "Finds everything in order."
    return Opinion("ok", f"There are {len(subject)} samples.")
""",
    "recipe": """
from dataclasses import dataclass
from torch.nn import functional as F
from sparring.defences.training.recipe import recipe

@recipe("added", cites="nobody")
@dataclass(frozen=True)
class Added:
    "Takes the cross-entropy."

    def __call__(self, step):
        return F.cross_entropy(step.scores, step.y)
""",
    "fit": """
import math
from dataclasses import dataclass
from typing import ClassVar
from torch import nn
from sparring.core.registry import register
from sparring.defences.training.fits.network import NetworkFit

@register("fit", "added")
@dataclass(frozen=True)
class Added(NetworkFit):
    "Trains one linear layer."
    kind: ClassVar[str] = "added"

    def module(self, shape, outputs):
        return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), math.prod(outputs)))
""",
    "remedy": """
from sparring.diagnosis.remedy import remedy

@remedy("added", order=900)
def added(subject):
    "Tries nothing."
    return ()
""",
    "certifier": """
from sparring.certification.certifier import certifier

@certifier("added", lambda victim, threat: "it proves nothing", cites="nobody")
def added(victim, x, y, threat, rng, *, seconds=None):
    "Proves nothing."
    return []
""",
    "verifier": """
from sparring.certification.networks.verifier import verifier

@verifier("added", order=900, cites="nobody", by_default=False)
def added(state):
    "Leaves all queries open."
""",
    "aim": """
from sparring.aims.aim import aim

@aim("added", unit="sample", baseline="clean")
def added(request):
    "Measures nothing."
    return []
""",
    "metric": """
from sparring.core.rate import Rate
from sparring.metrics.metric import metric

@metric("added")
def added(rows):
    "Counts the broken rows."
    return Rate.of(int((rows.status == "broken").sum()), len(rows))
""",
    "section": """
from sparring.report.section import section

@section(order=900, title="Added")
def added(view):
    "Shows nothing."
    return None
""",
}
"""From a kind to a module that adds a thing called "added" with a first sentence."""

LIST = """
import sys
from sparring.cli.app import main

for word in sys.argv[1:]:
    sys.argv = ["spar", "ls", word, "added", "--json"]
    try:
        main()
    except SystemExit as ended:
        assert ended.code == 0, (word, ended.code)
    print("-----")
"""


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    """What `spar ls KINDS added` says of each kind, where one installed plugin package has a module per kind."""
    folder = tmp_path_factory.mktemp("plugin")
    package, about = folder / "site" / "additions", folder / "site" / "additions-1.0.dist-info"
    package.mkdir(parents=True)
    about.mkdir()
    (package / "__init__.py").write_text("")
    for kind, text in EXAMPLES.items():
        (package / f"{kind}_added.py").write_text(text)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: additions\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[sparring]\nadditions = additions\n")
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{folder / 'site'}", "OMP_NUM_THREADS": "1"}
    words = [word for word, kind in KINDS.items() if kind in EXAMPLES]
    ended = subprocess.run([sys.executable, "-c", LIST, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return dict(zip(words, map(json.loads, ended.stdout.split("-----\n")[:-1]), strict=True))


@pytest.mark.parametrize("word", KINDS)
def test_one_file_adds_one(word, listed):
    """It is listed with the sentence that says what it does."""
    assert KINDS[word] in EXAMPLES, f"add an example for kind {KINDS[word]}"
    row, *others = listed[word]
    assert len(others) == len(alike(KINDS[word])) - 1
    assert row["name"] == "added"
    assert row["does"].endswith(".")


def test_contributing_has_a_row_for_every_kind():
    """The table of CONTRIBUTING names every kind once, and places that exist."""
    part = (ROOT / "CONTRIBUTING.md").read_text().split("## One file per addition")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| `([^`]+)`", part, flags=re.MULTILINE)
    assert sorted(kind for kind, _ in rows) == sorted(ROOMS)
    for kind, place in rows:
        folder = ROOT / place.rsplit("/", 1)[0]
        assert folder.is_dir(), f"{kind}: {place} lies nowhere"
        assert place.startswith("src/" + ROOMS[kind].replace(".", "/")), f"{kind}: the registry does not look into {place}"
