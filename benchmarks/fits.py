"""Many fits as one batch against one after another.

python -m benchmarks.fits [--counts 1 8 64] [--rounds 3] [--samples 600]

Each victim learns from a random half of the digits training split, as the shadow models of membership inference do. Columns: seconds for all victims,
batched and looped, medians over interleaved rounds; their ratio; the largest difference between the scores of the two on the test split.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

import sparring as sp
from sparring.bench.environment import environment
from sparring.core.fit import Fit, Samples, canonical, read_fit
from sparring.core.victim import Victim

FITS = {"mlp": "mlp(epochs=10)", "linear": "linear", "convnet": "convnet(epochs=3)"}


def batched(fit: Fit, datas: Sequence[Samples]) -> list[Victim]:
    """All victims as one batch, whatever the fit itself would choose."""
    return fit.many(datas, range(len(datas)))


def looped(fit: Fit, datas: Sequence[Samples]) -> list[Victim]:
    """One victim after another."""
    return [fit.learn(data, seed) for seed, data in enumerate(datas)]


def measure(written: str, count: int, samples: int, rounds: int) -> dict[str, Any]:
    """The figures of one line of the table."""
    data, test = sp.load("digits", split="train", take=samples), sp.load("digits", split="test")
    rng = torch.Generator().manual_seed(0)
    datas = [canonical(data.rows((torch.rand(len(data), generator=rng) < 0.5).nonzero().squeeze(1)))[0] for _ in range(count)]
    fit, ways = read_fit(written), {"batched": batched, "looped": looped}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    made: dict[str, list[Victim]] = {}
    for _ in range(rounds):
        for name, way in ways.items():
            made[name] = timed(lambda way=way: way(fit, datas), seconds[name])
    apart = max(float((one.scores(test.x) - other.scores(test.x)).abs().max()) for one, other in zip(*made.values(), strict=True))
    middle = {name: statistics.median(found) for name, found in seconds.items()}
    return {"fit": written, "victims": count, **middle, "gain": middle["looped"] / middle["batched"], "apart": apart}


def timed(work: Callable[[], list[Victim]], seconds: list[float]) -> list[Victim]:
    """What the work returns; how long it took is added to the list."""
    began = time.perf_counter()
    found = work()
    seconds.append(time.perf_counter() - began)
    return found


def main() -> None:
    """Print the table, and everything as JSON in the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=600)
    asked = parser.parse_args()
    print(f"{'fit':20}{'victims':>8}{'batched':>10}{'looped':>10}{'gain':>7}{'apart':>10}")
    rows = []
    for written in FITS.values():
        for count in asked.counts:
            rows.append(row := measure(written, count, asked.samples, asked.rounds))
            print(f"{written:20}{count:8}{row['batched']:9.2f}s{row['looped']:9.2f}s{row['gain']:7.2f}{row['apart']:10.1e}")
    print(json.dumps({"rows": rows, "samples": asked.samples, "environment": environment()}, default=str))


if __name__ == "__main__":
    main()
