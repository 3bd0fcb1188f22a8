"""Square attack: success against queries, ours beside the original of AutoAttack.

python -m benchmarks.square [--nets wong conv_adv03] [--spaces linf l2] [--queries 1000] [--seeds 3]

Images 100 to 200 of MNIST that the network has right; both get the same setting of queries, which also sets the schedule, and the
first share of AutoAttack. Columns: per cent broken by so many queries, over all seeds, with the 95 % band of Wilson (seeds
share the images, so the band is one of the draws, not of other images); seconds of CPU. The original is asked through a
wrapper that counts for every image; it draws one window for all images of a call, ours one for each.
"""

import argparse
import importlib
import json
import math
import sys
import time
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

import sparring as sp
from benchmarks import networks
from benchmarks.steps import DATA, images
from sparring.bench.environment import environment
from sparring.core.problem import Problem
from sparring.core.rate import Rate
from sparring.core.registry import find
from sparring.core.rng import Rng

SPACES = {"linf": (0.3, "Linf", "square"), "l2": (2.0, "L2", "square_l2"), "l1": (10.0, "L1", "square_l1")}
AFTER = (10, 30, 100, 300, 1000)


class Counter(nn.Module):
    """Notes at which question about it each image was broken. Asked about those that still stand, in order; the first call,
    about the clean images, is not counted."""

    def __init__(self, module: nn.Module, y: Tensor):
        super().__init__()
        self.module, self.y, self.asked = module, y, -1
        self.standing, self.broken_at = torch.arange(len(y)), torch.full((len(y),), torch.inf)

    def forward(self, points: Tensor) -> Tensor:
        scores = self.module(points)
        self.asked += 1
        if self.asked and len(points) == len(self.standing):
            y = self.y[self.standing]
            own, rest = scores.gather(1, y[:, None]), scores.scatter(1, y[:, None], -math.inf)
            broken = (own <= rest.amax(1, keepdim=True)).squeeze(1)
            self.broken_at[self.standing[broken]] = self.asked
            self.standing = self.standing[~broken]
        return scores


def ours(module: nn.Module, x: Tensor, y: Tensor, kind: str, queries: int, seed: int) -> Tensor:
    """float [n]: queries until the break, inf where there was none."""
    radius, _, name = SPACES[kind]
    victim = sp.victim(module, sp.image(*x.shape[1:]))
    threat, rng = getattr(sp, kind)(radius).seeing("scores").within(queries=queries), Rng.of(seed, range(len(x)))
    problem = Problem.open(victim, x, threat.goal.freeze(y, victim.task, rng), threat, rng)
    with victim.session():
        find("attack", name).configure(queries=queries).run(problem)
    return problem.ledger.cost.queries.float().where(problem.ledger.broken, torch.inf)


def original(module: nn.Module, x: Tensor, y: Tensor, kind: str, queries: int, seed: int) -> Tensor:
    radius, norm, _ = SPACES[kind]
    counter = Counter(module, y).eval()
    library = importlib.import_module("autoattack.square")
    library.SquareAttack(counter, norm=norm, eps=radius, n_queries=queries, seed=seed, device="cpu").perturb(x, y)
    return counter.broken_at.where(counter.broken_at <= queries, torch.inf)


def measure(network: str, kind: str, queries: int, seeds: int) -> dict[str, dict[str, Any]]:
    module = networks.load(network)
    x, y = (part[100:] for part in images(network, 200))
    with torch.no_grad():
        right = module(x).argmax(1) == y
    x, y, table = x[right], y[right], {}
    for name, search in (("ours", ours), ("autoattack", original)):
        try:
            search(module, x[:4], y[:4], kind, 3, 0)  # warms up
            began = time.process_time()
            at = torch.cat([search(module, x, y, kind, queries, seed) for seed in range(seeds)])
        except ImportError as error:
            sys.stderr.write(f"{name} is not installed: {error}\n")
            continue
        seconds = time.process_time() - began
        rates = {count: Rate.of(int((at <= count).sum()), len(at)) for count in AFTER if count <= queries}
        table[name] = {"images": len(x), "seconds": seconds, "broken": {count: asdict(rate) for count, rate in rates.items()}}
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--nets", nargs="+", default=["wong", "conv_adv03"])
    parser.add_argument("--spaces", nargs="+", default=["linf", "l2"], choices=SPACES)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    if not DATA.exists():
        print("skipped: the shared data is not beside the checkout")
        return
    result: dict[str, Any] = {"environment": environment(), "date": time.strftime("%Y-%m-%d"), "queries": options.queries, "tables": {}}
    for network in options.nets:
        for kind in options.spaces:
            table = measure(network, kind, options.queries, options.seeds)
            print(f"\n{network}, {kind} {SPACES[kind][0]:g}, {next(iter(table.values()))['images']} images, {options.seeds} seeds: % broken by so many queries")
            print(f"{'':12}" + "".join(f"{count:>20}" for count in AFTER if count <= options.queries) + f"{'CPU s':>9}")
            for name, row in table.items():
                cells = [f"{100 * rate['value']:.1f} ({100 * rate['low']:.1f}-{100 * rate['high']:.1f})" for rate in row["broken"].values()]
                print(f"{name:12}" + "".join(f"{cell:>20}" for cell in cells) + f"{row['seconds']:9.1f}", flush=True)
            result["tables"][f"{network} {kind}"] = table
    print(json.dumps(result))


if __name__ == "__main__":
    sys.exit(main())
