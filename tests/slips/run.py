"""Plant every slip in the library and see whether its tests notice: `python tests/slips/run.py [part of a name]`.

Each slip runs in a process of its own, forked from one that has already imported what the library needs, but not the library. There
the module of the slip is imported with the slip in it, whoever imports it and whenever. A slip is killed when its tests fail (exit
status 1) or hang; a module that cannot be imported, or is not, and tests that are not found (2, 3, 4, 5) kill nothing. A slip that no
longer fits its function stops the run. The last line is one JSON object: {"slips": n, "killed": k, "rate": r}.
"""

import json
import os
import shlex
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS)]

from slips.areas import SLIPS  # noqa: E402
from slips.plant import SOURCE, Planter, plant  # noqa: E402

SECONDS = 120
HUNG = 124


class Outcome(NamedTuple):
    name: str
    status: int
    seconds: float
    said: str

    @property
    def killed(self) -> bool:
        return self.status in (1, HUNG)


def run(chosen=SLIPS, tell=lambda outcome: None):
    """The outcomes of some slips (all by default), in order."""
    os.environ["OMP_NUM_THREADS"] = "1"
    codes = [plant(slip) for slip in chosen]
    outcomes = []
    with tempfile.TemporaryDirectory() as folder:
        sound = _one("sound", "laws/ known/ --collect-only", None, Path(folder))
        if sound.status:
            raise SystemExit(f"the library as it is does not get as far as its tests:\n{sound.said}")
        for slip, code in zip(chosen, codes, strict=True):
            outcomes.append(_one(slip.name, slip.killers, Planter(slip, code), Path(folder)))
            tell(outcomes[-1])
    return outcomes


def _one(name, killers, planter, folder):
    """Run the killers of one slip in a fork that imports its module from the planter."""
    began, log = time.monotonic(), folder / "log"
    child = os.fork()
    if child == 0:
        status = 3
        try:
            with log.open("w") as written:
                os.dup2(written.fileno(), 1)
                os.dup2(written.fileno(), 2)
                status = _tests(killers, planter, folder)
        finally:
            os._exit(status)
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return Outcome(name, os.waitstatus_to_exitcode(status), time.monotonic() - began, log.read_text()[-3000:])
        if time.monotonic() - began > SECONDS:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return Outcome(name, HUNG, time.monotonic() - began, "")
        time.sleep(0.02)


def _tests(killers, planter, folder):
    import hypothesis
    import pytest

    # The first example that fails is enough; looking for the smallest would take longer than the tests themselves.
    generate = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile("slips", phases=generate, report_multiple_bugs=False, derandomize=True, database=None)
    hypothesis.settings.load_profile("slips")
    sys.path.insert(0, str(SOURCE))
    if planter:
        sys.meta_path.insert(0, planter)
    os.chdir(TESTS.parent)
    arguments = [str(TESTS / one) if ".py" in one or one.endswith("/") else one for one in shlex.split(killers)]
    settings = ["-x", "-q", "-p", "no:cacheprovider", "--tb=line", f"--basetemp={folder / 'temp'}", "-o", "addopts=--import-mode=importlib --strict-markers"]
    warnings = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # of hypothesis, which is imported already
    status = int(pytest.main([*arguments, *settings, *warnings]))
    return status if planter is None or planter.imported else 3


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
    chosen = [slip for slip in SLIPS if not arguments or any(one in slip.name for one in arguments)]

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
