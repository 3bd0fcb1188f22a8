"""The example of a plugin, installed for the time of some tests without an installer."""

import contextlib
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from sparring.core import registry
from sparring.core.registry import everything

EXAMPLE = Path(__file__).parent.parent / "examples" / "plugin"


def install(folder: Path) -> Path:
    """Lay the package out in a folder as an installer does: the modules, and beside them the entry points."""
    about = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    shutil.copytree(EXAMPLE / "src", folder, ignore=shutil.ignore_patterns("__pycache__"))
    inner = folder / f"{about['name'].replace('-', '_')}-{about['version']}.dist-info"
    inner.mkdir()
    (inner / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {about['name']}\nVersion: {about['version']}\n")
    groups = ((group, points.items()) for group, points in about["entry-points"].items())
    (inner / "entry_points.txt").write_text("".join(f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points) for group, points in groups))
    return folder


@contextlib.contextmanager
def installed(folder: Path) -> Iterator[Path]:
    """Install the example into a folder, and let the registry of this process read it; both are put back afterwards."""
    install(folder)
    for kind in registry.ROOMS:
        everything(kind)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setattr(registry, "_things", {kind: dict(things) for kind, things in registry._things.items()})
        patch.setattr(registry, "_walked", registry._walked - {"plugins"})
        everything("attack")
        yield folder
    for name in [one for one in sys.modules if one.partition(".")[0] == "sparring_example"]:
        del sys.modules[name]
