"""Two versions of the code side by side: seconds of PGD and of certificates, in processes that take turns.

    python -m benchmarks.versions OLD NEW            # two checkouts
    python -m benchmarks.versions OLD NEW --runs 30

Each process imports one version, warms up and measures PGD (100 steps at a radius that breaks few samples, 300 digits) and `sp.certify` with the
certifier `network` (100 digits), on one thread. Printed are the median seconds of each version and the median of the ratios NEW / OLD, pair by pair.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

MEASURED = """
import json, time, torch
torch.set_num_threads(1)
import sparring as sp
from sparring.models.zoo import digits_robust
data = sp.load("digits", take=300)
victim = sp.victim(digits_robust(), sp.image(8, 8))
jobs = {
    "pgd": lambda: sp.attacks.pgd(victim, data.x, data.y, sp.linf(0.02), steps=100),
    "certify": lambda: sp.certify(victim, data.x[:100], data.y[:100], sp.linf(0.1), ["network"]),
}
found = {}
for name, job in jobs.items():
    job()
    began = time.perf_counter()
    job()
    found[name] = time.perf_counter() - began
print(json.dumps(found))
"""


def measured(tree: Path) -> dict[str, float]:
    """Seconds of each job with the code of a checkout."""
    environment = {**os.environ, "PYTHONPATH": str(tree / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", MEASURED], env=environment, capture_output=True, text=True, check=True, cwd=tree)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--runs", type=int, default=30)
    given = parser.parse_args()
    pairs = [(measured(given.old.resolve()), measured(given.new.resolve())) for _ in range(given.runs)]
    rows = []
    for job in pairs[0][0]:
        old, new = ([pair[side][job] for pair in pairs] for side in (0, 1))
        ratios = sorted(after / before for before, after in zip(old, new, strict=True))
        row = {"job": job, "old": statistics.median(old), "new": statistics.median(new), "ratio": statistics.median(ratios), "runs": len(pairs)}
        rows.append({name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()})
        print(f"{job:10} old {row['old']:.3f} s   new {row['new']:.3f} s   ratio {row['ratio']:.3f} (from {ratios[0]:.3f} to {ratios[-1]:.3f})")
    print(json.dumps({"benchmark": "versions", "threads": 1, "rows": rows}))


if __name__ == "__main__":
    main()
