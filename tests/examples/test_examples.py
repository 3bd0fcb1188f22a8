"""Every file in examples/ runs as a script, in an empty folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data"
NEEDS = {
    "text_cnn.py": (SHARED / "text", ["--epochs", "1"]),
    "unet_membrane.py": (SHARED / "images" / "membrane_30.npz", ["--steps", "2"]),
}
"""The shared data that an example is given, and what makes it quick."""
EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py") if path.name != "__init__.py")
SAYS = {
    "digit_pairs.py": "exact sets",
    "diabetes.py": "under attack at least",
    "http_victim.py": "answers paid for",
    "own_model.py": "my network · linf 0.05 clean",
    "points.py": "largest change 0.100",
    "table_rules.py": "report.html",
    "text_cnn.py": "of 500 test sentences",
    "universal.py": "held out",
    "unet_membrane.py": "of the held-out pixels are right",
    "transfer_matrix.py": "held-out digits",
}
"""Something each must say; an example that is not listed must only end well."""
QUICK = {"digit_pairs.py": ["--steps", "40"]}
"""What makes an example quick that needs no data."""
FAST = {"http_victim.py", "points.py"}
"""Examples that run in the fast suite; the others train or attack for longer."""


def call(name, folder, *words):
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, ROOT / "examples" / name, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False)


def marks(name):
    return [mark for mark, wanted in ((pytest.mark.shared, name in NEEDS), (pytest.mark.slow, name not in FAST)) if wanted]


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks(name)) for name in EXAMPLES])
def test_example(name, tmp_path):
    """It ends with 0, says what it is there to say, and warns of nothing."""
    words = QUICK.get(name, [])
    if name in NEEDS:
        needed, quick = NEEDS[name]
        if not needed.exists():
            pytest.skip(f"NOT TESTED: {name} needs the shared data in {needed}")
        words = [str(needed), *quick]
    ended = call(name, tmp_path, *words)
    assert ended.returncode == 0, ended.stderr
    assert SAYS.get(name, "") in ended.stdout
    assert "Warning" not in ended.stderr


@pytest.mark.parametrize(("name", "said"), [("text_cnn.py", "skipped: no rt-polarity in nowhere\n"), ("unet_membrane.py", "skipped: there is no nowhere\n")])
def test_an_example_without_data(name, said, tmp_path):
    """It says that it was skipped and what it missed."""
    ended = call(name, tmp_path, "nowhere")
    assert ended.returncode == 0
    assert ended.stdout == said
    assert not list(tmp_path.iterdir())


def test_every_example_is_named_somewhere():
    """The table above knows all of them."""
    assert set(SAYS) == set(EXAMPLES)
