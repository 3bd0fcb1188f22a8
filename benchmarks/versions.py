"""Two versions of the code side by side: seconds of a few jobs, in processes that take turns.

    python -m benchmarks.versions OLD NEW            # two checkouts
    python -m benchmarks.versions OLD NEW --runs 30
    python -m benchmarks.versions OLD NEW --tables   # on tables instead of images

Each process imports one version, warms up and measures PGD (100 steps at a radius that breaks few samples, 300 digits) and `sp.certify` with the
certifier `network` (100 digits), on one thread; on tables the search `coordinate` under rules, a whole evaluation under rules (60 rows, boosted trees), and
PGD in a ball (300 rows, a network). Printed are the median seconds of each version and the median of the ratios NEW / OLD, pair by pair.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

IMAGES = """
from sparring.models.zoo import digits_robust
data = sp.load("digits", take=300)
victim = sp.victim(digits_robust(), sp.image(8, 8))
jobs = {
    "pgd": lambda: sp.attacks.pgd(victim, data.x, data.y, sp.linf(0.02), steps=100),
    "certify": lambda: sp.certify(victim, data.x[:100], data.y[:100], sp.linf(0.1), ["network"]),
}
"""
TABLES = """
import tempfile
from pathlib import Path
data, threat = sp.load("breast-cancer", take=60), sp.rules("breast-cancer")
trees = sp.load_model("zoo:breast-cancer-forest")
middle, spread = data.x.mean(0), data.x.std(0)
torch.manual_seed(0)
columns = data.x.shape[1]
network = torch.nn.Sequential(torch.nn.Linear(columns, 64), torch.nn.ReLU(), torch.nn.Linear(64, 2)).to(data.x.dtype)
with torch.no_grad():
    network[0].weight /= spread
    network[0].bias -= network[0].weight @ middle
network = sp.victim(network, data.domain)
rows = torch.arange(300) % len(data.x)
def evaluated():
    with tempfile.TemporaryDirectory() as folder:
        sp.evaluate(trees, data, threat, out=folder)
jobs = {
    "coordinate": lambda: sp.attacks.coordinate(trees, data.x, data.y, threat),
    "evaluate": evaluated,
    "pgd": lambda: sp.attacks.pgd(network, data.x[rows], data.y[rows], sp.linf(1e-4), steps=500),
}
"""
MEASURED = """
import json, time, torch, warnings
torch.set_num_threads(1)
warnings.simplefilter("ignore")
import sparring as sp
JOBS
found = {}
for name, job in jobs.items():
    job()
    began = time.perf_counter()
    job()
    found[name] = time.perf_counter() - began
print(json.dumps(found))
"""


def measured(tree: Path, jobs: str) -> dict[str, float]:
    """Seconds of each job with the code of a checkout."""
    environment = {**os.environ, "PYTHONPATH": str(tree / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", MEASURED.replace("JOBS", jobs)], env=environment, capture_output=True, text=True, check=True, cwd=tree)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--tables", action="store_true")
    given = parser.parse_args()
    jobs = TABLES if given.tables else IMAGES
    pairs = [(measured(given.old.resolve(), jobs), measured(given.new.resolve(), jobs)) for _ in range(given.runs)]
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
