"""Modules that lie in the current folder hide no library, and are found when the user names them."""

import os
import subprocess
import sys

import pytest

from sparring.core.errors import LoadError
from sparring.models.factory import made_by

NAMES = ("json", "numpy", "yaml", "sparring", "onnx", "torch", "typing", "pandas", "vnnlib", "xgboost", "not_installed_anywhere")


def spar(folder, *words):
    """Run the command as its script does: the folder of the script stands first on the path, not the current one."""
    script = folder.parent / "bin" / "spar"
    script.parent.mkdir(exist_ok=True)
    script.write_text("from sparring.cli.app import main\nmain()\n")
    paths = [one for one in sys.path if one and "site-packages" not in one and "lib/python" not in one]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.run([sys.executable, str(script), *words], cwd=folder, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.parametrize(
    "words",
    [
        ("ls", "attacks", "pgd"),
        pytest.param(
            ("run", "model=zoo:digits-plain", "data=digits", "take=4", "threat=linf 0.1", "attacks=fgsm", "certify=none", "self_check=false"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_hostile_modules_are_not_imported(tmp_path, words):
    folder = tmp_path / "here"
    folder.mkdir()
    for name in NAMES:
        (folder / f"{name}.py").write_text(f"open('CANARY-{name}', 'w')\n")
    done = spar(folder, *words)
    assert done.returncode == 0, done.stderr[-2000:]
    assert not list(folder.glob("CANARY*"))


def test_a_module_with_the_name_of_a_library_is_told_of(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "colorsys.py").write_text("def make(): return 1\n")
    with pytest.raises(LoadError, match=r"colorsys.py has the name of a library .*rename it"):
        made_by("colorsys", "make")
    (tmp_path / "my_own_models.py").write_text("import my_own_helper\ndef make(): return my_own_helper.answer\n")
    (tmp_path / "my_own_helper.py").write_text("answer = 42\n")
    assert made_by("my_own_models", "make") == 42
