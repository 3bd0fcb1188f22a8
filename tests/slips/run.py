"""Plant every slip in a copy of the library and see whether its tests notice: `python tests/slips/run.py [part of a name]`.

Each slip runs in a process of its own, forked from one that has already imported what the library needs. A slip is killed when
its tests fail (exit status 1) or hang; a copy that cannot be imported or tests that are not found (2, 4, 5) kill nothing. The last
line is one JSON object: {"slips": n, "killed": k, "rate": r}.
"""

import importlib.util
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SOURCE = ROOT / "src"
SECONDS = 120
HUNG = 124


def load_slips():
    """The table, whatever the name of this folder on the path."""
    spec = importlib.util.spec_from_file_location("sparring_slips", HERE / "slips.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


Slip = load_slips().Slip


class Outcome(NamedTuple):
    name: str
    status: int
    seconds: float
    said: str

    @property
    def killed(self) -> bool:
        return self.status in (1, HUNG)


def run(chosen=None, tell=lambda outcome: None):
    """The outcomes of some slips (all by default), in order."""
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    outcomes = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "src"
        shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__"))
        sound = _one(Slip("sound", "", "", "", ("laws/", "known/", "--collect-only")), copy, Path(folder))
        if sound.status:
            raise SystemExit(f"the library as it is does not get as far as its tests:\n{sound.said}")
        for slip in load_slips().SLIPS if chosen is None else chosen:
            file = copy / "sparring" / slip.file
            good = file.read_text()
            if good.count(slip.old) != 1:
                raise SystemExit(f"{slip.name}: its old text occurs {good.count(slip.old)} times in {slip.file}")
            file.write_text(good.replace(slip.old, slip.new))
            try:
                outcomes.append(_one(slip, copy, Path(folder)))
            finally:
                file.write_text(good)
            tell(outcomes[-1])
    return outcomes


def _one(slip, copy, folder):
    """Run the killers of one slip in a fork that imports the library from the copy."""
    began, log = time.monotonic(), folder / "log"
    child = os.fork()
    if child == 0:
        status = 3
        try:
            with log.open("w") as written:
                os.dup2(written.fileno(), 1)
                os.dup2(written.fileno(), 2)
                status = _tests(slip, copy, folder)
        finally:
            os._exit(status)
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return Outcome(slip.name, os.waitstatus_to_exitcode(status), time.monotonic() - began, log.read_text()[-3000:])
        if time.monotonic() - began > SECONDS:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return Outcome(slip.name, HUNG, time.monotonic() - began, "")
        time.sleep(0.02)


def _tests(slip, copy, folder):
    import hypothesis
    import pytest

    # The first example that fails is enough; looking for the smallest would take longer than the tests themselves.
    generate = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile("slips", phases=generate, report_multiple_bugs=False, derandomize=True, database=None)
    hypothesis.settings.load_profile("slips")
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(copy))
    os.chdir(ROOT)
    killers = [str(ROOT / "tests" / one) if ".py" in one or one.endswith("/") else one for one in slip.killers]
    status = int(
        pytest.main(
            [
                *killers,
                "-x",
                "-q",
                "-p",
                "no:cacheprovider",
                "--tb=line",
                "-W",
                "ignore::pytest.PytestAssertRewriteWarning",  # of hypothesis, which is imported already
                f"--basetemp={folder / 'temp'}",
                "-o",
                "addopts=--import-mode=importlib --strict-markers",
            ]
        )
    )
    import sparring

    where = Path(sparring.__file__).resolve()
    return status if where.is_relative_to(copy.resolve()) else 3


def _warm():
    """What every fork needs, imported once. Nothing of the library itself."""
    import hypothesis
    import matplotlib.figure
    import pandas
    import pyarrow.parquet
    import scipy.optimize
    import scipy.stats
    import sklearn.compose
    import sklearn.ensemble
    import sklearn.pipeline
    import sklearn.preprocessing
    import sklearn.tree
    import skops.io
    import torch
    import torch.export
    import torch.fx

    torch.set_num_threads(1)
    if any(name == "sparring" or name.startswith("sparring.") for name in sys.modules):
        raise SystemExit("sparring is imported already: run this in a fresh process")
    return hypothesis, matplotlib, pandas, pyarrow, scipy, sklearn, skops


def main(arguments):
    _warm()
    slips = load_slips().SLIPS
    chosen = [slip for slip in slips if not arguments or any(one in slip.name for one in arguments)]

    def tell(outcome):
        verdict = "killed" if outcome.killed else f"SURVIVED ({outcome.status})"
        print(f"{verdict:14} {outcome.seconds:6.1f} s  {outcome.name}", flush=True)
        if not outcome.killed and arguments:
            print(outcome.said)

    outcomes = run(chosen, tell)
    killed = sum(outcome.killed for outcome in outcomes)
    print(json.dumps({"slips": len(outcomes), "killed": killed, "rate": round(killed / max(1, len(outcomes)), 4)}))
    return 0 if killed == len(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
