"""The laws and the known optima notice planted slips."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parents[1] / "src" / "sparring"


def load_slips():
    spec = importlib.util.spec_from_file_location("sparring_slips", HERE / "slips.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SLIPS


@pytest.mark.parametrize("slip", load_slips(), ids=lambda slip: slip.name.replace(" ", "-"))
def test_a_slip_can_be_planted(slip):
    """Its old text occurs exactly once, the new one is something else and compiles, and the tests that must notice exist."""
    source = (SOURCE / slip.file).read_text()
    assert source.count(slip.old) == 1
    assert slip.new != slip.old
    compile(source.replace(slip.old, slip.new), slip.file, "exec")
    files = [one.split("::")[0] for one in slip.killers if ".py" in one]
    assert files
    for file in files:
        assert (HERE.parent / file).is_file()


def test_slips_have_names_of_their_own():
    """No slip is counted twice."""
    names = [slip.name for slip in load_slips()]
    assert len(set(names)) == len(names) >= 34


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_planted_slips_are_noticed():
    """At least 95 % of the slips are killed."""
    finished = subprocess.run([sys.executable, str(HERE / "run.py")], capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": ""})
    count = json.loads(finished.stdout.strip().splitlines()[-1])
    survivors = [line for line in finished.stdout.splitlines() if line.startswith("SURVIVED")]
    assert count["slips"] == len(load_slips())
    assert count["rate"] >= 0.95, "\n".join(survivors)
