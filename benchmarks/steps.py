"""PGD-40, ours beside other libraries, a naive loop and the floor, in one process.

python -m benchmarks.steps [--nets wong trades cifar_resnet20 cifar_resnet8] [--n 1000] [--rounds 5]

Columns: seconds; images x steps per second, from the passes really made, so that samples which stop
early do not count as speed; passes per image; robust accuracy, asked of the network itself in full precision; growth of
the peak memory over the run. The floor is a loop of forward and input gradient over our prepared copy, in place, without
any bookkeeping. Rounds are interleaved; medians are printed.
"""

import argparse
import json
import resource
import statistics
import sys
import time
import warnings
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import sparring as sp
from benchmarks import networks, peers
from sparring.bench.environment import environment
from sparring.core.problem import Problem
from sparring.core.registry import find
from sparring.core.rng import Rng
from sparring.models.prepare import prepare

STEPS = 40
DATA = networks.WEIGHTS.parent
NETS = {
    "wong": (0.3, 1000),
    "trades": (0.3, 1000),
    "cifar_resnet20": (2 / 255, 300),
    "cifar_resnet8": (2 / 255, 300),
}


def images(network: str, count: int) -> tuple[Tensor, Tensor]:
    """(x, y) of the first images of the set the network belongs to, in [0, 1]."""
    if not network.startswith("cifar"):
        stored = np.load(DATA / "images" / "mnist.npz")
        return torch.from_numpy(stored["x_test"][:count]).float()[:, None] / 255, torch.from_numpy(stored["y_test"][:count]).long()
    stored = np.load(DATA / "images" / "cifar10_lossless_300.npz")
    x, y = (stored[name] for name in ("x", "y"))
    x = torch.from_numpy(x[:count]).float() / 255
    return (x.permute(0, 3, 1, 2).contiguous() if x.shape[-1] == 3 else x), torch.from_numpy(y[:count]).long()


def measure(network: str, radius: float, count: int, rounds: int) -> dict[str, dict[str, float]]:
    """Per competitor the figures of the table."""
    module = networks.load(network).eval()
    x, y = images(network, count)
    step, domain = radius / 30, sp.image(*x.shape[1:])
    passes = {}

    def ours(search: str) -> Any:
        victim = sp.victim(networks.load(network).eval(), domain, search=search)
        attack = find("attack", "pgd").configure(steps=STEPS, step_size=1 / 30)

        def run() -> Tensor:
            points, backwards = [], 0
            threat = sp.linf(radius)
            with victim.session():
                for rows in torch.arange(len(x)).split(peers.BATCH):
                    rng = Rng.of(0, rows.tolist())
                    problem = Problem.open(victim, x[rows], threat.goal.freeze(y[rows], victim.task, rng), threat, rng)
                    points.append(attack.run(problem))
                    backwards += int(problem.ledger.cost.backwards.sum())
            passes[search] = backwards / len(x)
            return torch.cat(points)

        return run

    prepared = prepare(module, x[:8])
    runs = {
        "ours": ours("fast"),
        "ours, bfloat16 search": ours("bfloat16"),
        "floor": partial(peers.floor, prepared, x, y, radius, step, STEPS),
        **{name: partial(run, module, x, y, radius, step, STEPS) for name, run in peers.available(module, x, y, radius).items()},
        "naive loop": partial(peers.naive, module, x, y, radius, step, STEPS),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    robust, memory = {}, {}
    for turn in range(rounds + 1):  # the first round warms up
        for name, run in runs.items():
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            began = time.perf_counter()
            points = run()
            taken = time.perf_counter() - began
            if turn:
                seconds[name].append(taken)
                continue
            memory[name] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
            with torch.no_grad():
                inside = ((points - x).abs().amax((1, 2, 3)) <= radius + 1e-6) & (points.amin((1, 2, 3)) >= 0) & (points.amax((1, 2, 3)) <= 1)
                robust[name] = float(((module(points).argmax(1) == y) | (~inside & (module(x).argmax(1) == y))).float().mean())
    named = {"ours": "fast", "ours, bfloat16 search": "bfloat16"}
    table = {}
    for name, times in seconds.items():
        each = passes[named[name]] if name in named else STEPS
        median = statistics.median(times)
        table[name] = {
            "seconds": median,
            "image_steps_per_second": each * len(x) / median,
            "passes_per_image": each,
            "robust": robust[name],
            "memory_mib": memory[name],
        }
    return table


def sign_agreement(network: str, radius: float, count: int) -> float:
    """Share of equal gradient signs of prepared copy and original at random points."""
    module = networks.load(network).eval()
    x, y = images(network, count)
    point = (x + radius * (torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1)).clamp(0, 1)

    def signs(one: nn.Module) -> Tensor:
        asked = point.clone().requires_grad_(True)
        return torch.autograd.grad(nn.functional.cross_entropy(one(asked), y, reduction="sum"), asked)[0].sign()

    return float((signs(module) == signs(prepare(module, x[:8]))).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS))
    parser.add_argument("--n", type=int, default=None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tuned-allocator", action="store_true", help="keep large blocks in the process, for all competitors")
    options = parser.parse_args()
    if not DATA.exists():
        print("skipped: the shared data is not beside the checkout")
        return
    if options.tuned_allocator:
        from sparring.cli.process import tune_allocator

        tune_allocator()
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    result: dict[str, Any] = {"environment": environment(), "date": time.strftime("%Y-%m-%d"), "tuned_allocator": options.tuned_allocator, "nets": {}}
    for network in options.nets:
        radius, count = NETS[network]
        table = measure(network, radius, options.n or count, options.rounds)
        agree = sign_agreement(network, radius, 200)
        rate = {name: row["image_steps_per_second"] for name, row in table.items()}
        rivals = [name for name in table if name in peers.PEERS]
        best = max(rivals, key=lambda name: rate[name]) if rivals else "naive loop"
        print(f"\n{network}, Linf {radius:.4g}, {options.n or count} images, PGD-{STEPS}; equal gradient signs {agree:.3%}")
        print(f"{'':24}{'seconds':>9}{'img·steps/s':>13}{'passes':>8}{'robust':>8}{'MiB':>8}{'rate of ours / this':>22}")
        for name, row in table.items():
            print(
                f"{name:24}{row['seconds']:9.2f}{row['image_steps_per_second']:13,.0f}{row['passes_per_image']:8.1f}{row['robust']:8.1%}"
                f"{row['memory_mib']:8.0f}{rate['ours'] / rate[name]:22.2f}"
            )
        result["nets"][network] = {
            "ratio_best_peer": rate["ours"] / rate[best],
            "best_peer": best,
            "ratio_best_peer_bfloat16": rate["ours, bfloat16 search"] / rate[best],
            "ratio_seconds_best_peer": min(table[name]["seconds"] for name in (rivals or ["naive loop"])) / table["ours"]["seconds"],
            "ratio_floor": rate["ours"] / rate["floor"],
            "robust": table["ours"]["robust"],
            "robust_best_peer": table[best]["robust"],
            "equal_signs": agree,
            "table": table,
        }
    first = result["nets"][options.nets[0]]
    print(json.dumps({**{key: first[key] for key in ("ratio_best_peer", "ratio_floor", "robust")}, **result}))


if __name__ == "__main__":
    sys.exit(main())
