"""kill -9 at random moments, the same command again: are the verdicts the same every time?

python -m benchmarks.resume [--kills 20] [--take 1000]

The run is the Wong network of the shared data on MNIST test images, Linf 0.3, with pgd(steps=50, restarts=10), apgd and
square(queries=1000). Every trial starts in an empty folder, is killed once at a random moment between the first second and the
time a whole run takes, and is completed by the same command; every row is compared, save its seconds.
"""

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from benchmarks.networks import WEIGHTS
from sparring.bench.run import Run


def command(out: Path, take: int) -> list[str]:
    """The command line of the run."""
    return [
        *(sys.executable, "-m", "sparring.cli.app", "run", "--quiet"),
        f"out={out}",
        "model=benchmarks.networks:wong",
        f"weights={WEIGHTS / 'mnist_fgsm_wong.safetensors'}",
        f"data={WEIGHTS.parent / 'images' / 'mnist.npz'}",
        f"take={take}",
        "threat=linf 0.3",
        "attacks=pgd(steps=50, restarts=10), apgd, square(queries=1000)",
    ]


def rows(out: Path) -> pd.DataFrame:
    """All rows of the one run under a folder, without what a clock decides."""
    (folder,) = [path for path in out.iterdir() if (path / "run.json").exists()]
    return Run.open(folder).table().drop(columns="seconds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--take", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if not WEIGHTS.exists():
        print("skipped: the shared data is not beside the checkout")
        return
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole"
        began = time.monotonic()
        subprocess.run(command(whole, options.take), check=True)
        duration = time.monotonic() - began
        criterion = rows(whole)
        print(f"a whole run: {duration:.0f} s, {len(criterion)} rows, {(criterion.status == 'broken').sum()} broken or wrong")
        same, parts = 0, []
        for trial in range(options.kills):
            out = Path(folder) / f"trial-{trial}"
            process = subprocess.Popen(command(out, options.take))
            moment = chance.uniform(1, duration)
            try:
                process.wait(moment)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
            parts.append(len(list(out.glob("*/cells/*/*.parquet"))))
            subprocess.run(command(out, options.take), check=True)
            identical = rows(out).equals(criterion)
            same += identical
            print(f"killed after {moment:5.1f} s with {parts[-1]:2d} parts written: {'identical' if identical else 'DIFFERENT'}", flush=True)
            shutil.rmtree(out)
    print(json.dumps({"kills": options.kills, "identical": same, "seconds": duration, "rows": len(criterion), "parts_when_killed": parts}))


if __name__ == "__main__":
    main()
