"""What the wheel holds, by the rules of pyproject.toml: the packages whole, with the files that are no code.

The build backend takes every file of the listed packages that version control does not ignore.
"""

import subprocess
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NEEDED = {
    "src/sparring/py.typed",
    "src/sparring_check/py.typed",
    "src/sparring/bench/default.yaml",
    "src/sparring/report/page.html.jinja",
    "src/sparring/report/style.css",
    "src/sparring/threats/rule_files/breast-cancer.yaml",
    "src/sparring/models/weights/digits-plain.safetensors",
    "src/sparring/cli/skeletons/attack.txt",
}
"""Files without which the installed package does less than the checkout."""


@pytest.fixture(scope="module")
def rules():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_backend_takes_whole_packages(rules):
    """Nothing of a package is left out, and each package is named."""
    wheel = rules["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert set(wheel) == {"packages"}, "a rule that includes or excludes files needs a test of its own"
    assert sorted(wheel["packages"]) == sorted(str(one.parent.relative_to(ROOT)) for one in ROOT.glob("src/*/__init__.py"))
    assert rules["build-system"]["build-backend"] == "hatchling.build"


def test_files_that_are_no_code_lie_inside(rules):
    """Each lies in one of the packages, and version control does not ignore it."""
    packages = rules["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    for name in NEEDED:
        assert (ROOT / name).is_file()
        assert any(name.startswith(f"{package}/") for package in packages)
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout of git, so nothing says what is ignored")
    plain = [str(one.relative_to(ROOT)) for one in (ROOT / "src").rglob("*") if one.is_file() and "__pycache__" not in one.parts]
    ended = subprocess.run(["git", "check-ignore", "--stdin"], input="\n".join(plain), cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.stdout == ""


def test_they_are_found_as_resources():
    """The package finds them beside its code, wherever that is."""
    for name in NEEDED:
        _, package, *rest = name.split("/")
        place = files(package)
        for part in rest:
            place = place / part
        assert place.is_file()


def test_the_wheel_itself(tmp_path):
    """Where the build backend is installed, a wheel is built and looked into."""
    pytest.importorskip("hatchling", reason="needs hatchling, the build backend")
    import sys
    import zipfile

    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)], cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert {name.removeprefix("src/") for name in NEEDED} <= set(zipfile.ZipFile(wheel).namelist())
