"""Every file in examples/ runs as a script, in an empty folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = ROOT.parent / "shared" / "data" / "text"
EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py") if path.name != "__init__.py")
SAYS = {
    "http_victim.py": "answers paid for",
    "own_model.py": "my network · linf 0.05 clean",
    "points.py": "largest change 0.100",
    "table_rules.py": "report.html",
    "text_cnn.py": "of 500 test sentences",
    "universal.py": "held out",
    "transfer_matrix.py": "held-out digits",
}
"""Something each must say; an example that is not listed must only end well."""


def call(name, folder, *words):
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, ROOT / "examples" / name, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.shared if name == "text_cnn.py" else ()) for name in EXAMPLES])
def test_example(name, tmp_path):
    """It ends with 0, says what it is there to say, and warns of nothing."""
    words = []
    if name == "text_cnn.py":
        if not TEXT.is_dir():
            pytest.skip(f"NOT TESTED: {name} needs the shared data in {TEXT}")
        words = [str(TEXT), "--epochs", "1"]
    ended = call(name, tmp_path, *words)
    assert ended.returncode == 0, ended.stderr
    assert SAYS.get(name, "") in ended.stdout
    assert "Warning" not in ended.stderr


def test_the_text_example_without_data(tmp_path):
    """It says that it was skipped and what it missed."""
    ended = call("text_cnn.py", tmp_path, "nowhere")
    assert ended.returncode == 0
    assert ended.stdout == "skipped: no rt-polarity in nowhere\n"
    assert not list(tmp_path.iterdir())


def test_every_example_is_named_somewhere():
    """The table above knows all of them."""
    assert set(SAYS) == set(EXAMPLES)
