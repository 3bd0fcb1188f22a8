"""Bounds beside auto_LiRPA: seconds, mean lower bound of the margins and images proved, of the same networks in one process.

python -m benchmarks.bounds [--nets wk17a wong01 ...] [--n 100] [--rounds 3] [--double]

Methods: interval (theirs IBP), crown (theirs CROWN: intermediate bounds by CROWN too), alpha (theirs CROWN-Optimized, 20 iterations; ours 20 steps on
the final rows over CROWN's intermediate bounds, while theirs optimises those bounds as well). Margins are those of the label against each other class;
an image is proved if all are above 0; mean: over all margins. Ours computes in float64, theirs in float32 unless --double.
Rounds are interleaved, medians are printed. auto_LiRPA must be importable (PYTHONPATH); else it is left out and named.
Last line: one JSON object.
"""

import argparse
import importlib
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks import networks
from benchmarks.steps import images
from sparring.bench.environment import environment
from sparring.certification.networks.bounds.ascent import optimised
from sparring.certification.networks.bounds.crown import lower, preactivation_bounds, relaxations
from sparring.certification.networks.bounds.inputs import InputSet
from sparring.certification.networks.bounds.interval import intervals, margins
from sparring.graph.from_torch import from_torch
from sparring.graph.network import Network

RADII = {"wk17a": 0.1, "wong01": 0.1, "conv_ibp": 0.3, "cifar_conv_adv2": 2 / 255, "cifar_conv_mix4": 2 / 255}
THEIRS = {"interval": "IBP", "crown": "CROWN", "alpha": "CROWN-Optimized"}


class Case(NamedTuple):
    """x [n, *in] float32 in [0, 1], rows [n, 9, 10] float64: the label's score minus each other one."""

    module: nn.Module
    network: Network
    x: Tensor
    rows: Tensor
    radius: float


def case(name: str, count: int) -> Case:
    module = networks.load(name).eval()
    x, y = images(name, count)
    others = torch.arange(9).expand(len(y), 9) + (torch.arange(9) >= y[:, None])
    eye = torch.eye(10, dtype=torch.float64)
    return Case(module, from_torch(module, tuple(x.shape[1:])), x, eye[y][:, None] - eye[others], RADII[name])


def ours(method: str, one: Case) -> Tensor:
    x = one.x.double()
    inputs = InputSet((x - one.radius).clamp(0, 1), (x + one.radius).clamp(0, 1))
    if method == "interval":
        return margins(one.network, intervals(one.network, inputs), one.constraints)
    last = len(one.network.nodes) - 1
    with torch.no_grad():
        bounds = preactivation_bounds(one.network, inputs)
        found = lower(one.network, inputs, last, one.constraints, relaxations(one.network, bounds))
    if method == "crown":
        return found
    jobs, row = (found <= 0).nonzero().unbind(1)  # what CROWN proves needs no search
    if len(jobs):
        better = optimised(one.network, inputs, last, one.constraints[jobs, row], bounds, samples=jobs).lower
        found[jobs, row] = torch.maximum(found[jobs, row], better)
    return found


def theirs(method: str, one: Case, kind: torch.dtype) -> Tensor:
    library, perturbations = importlib.import_module("auto_LiRPA"), importlib.import_module("auto_LiRPA.perturbations")
    x = one.x.to(kind)
    low, high = (x - one.radius).clamp(0, 1), (x + one.radius).clamp(0, 1)
    normalise = getattr(one.module, "normalise", None)
    if normalise is not None:  # its convolutional rows fail on the constants: it is given the normalised box
        normalise = normalise.to(kind)
        x, low, high = (normalise(part) for part in (x, low, high))
        one.module.normalise = nn.Identity()
    options = {"optimize_bound_args": {"iteration": 20}}
    module = library.BoundedModule(one.module.to(kind), x, bound_opts=options, device="cpu", verbose=False)
    ball = perturbations.PerturbationLpNorm(norm=float("inf"), x_L=low, x_U=high)
    bounded = library.BoundedTensor(x, ball)
    found = module.compute_bounds(x=(bounded,), C=one.constraints.to(kind), method=THEIRS[method], bound_upper=False)[0]
    return found.detach().double()


class Timed(NamedTuple):
    seconds: float
    found: Tensor


def timed(run: Callable[[], Tensor]) -> Timed:
    began = time.perf_counter()
    found = run()
    return Timed(time.perf_counter() - began, found)


def figures(seconds: list[float], found: Tensor) -> dict[str, float]:
    return {"seconds": statistics.median(seconds), "mean": float(found.mean()), "proved": int((found > 0).all(1).sum())}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--nets", nargs="+", choices=RADII, default=list(RADII))
    parser.add_argument("--methods", nargs="+", choices=THEIRS, default=list(THEIRS))
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--double", action="store_true")
    options = parser.parse_args()
    if not networks.WEIGHTS.exists():
        print("skipped: the shared data is not beside the checkout")
        return
    warnings.simplefilter("ignore")
    version = None
    try:
        version = importlib.import_module("auto_LiRPA").__version__
    except ImportError as error:
        sys.stderr.write(f"auto_LiRPA is left out: {error}\n")
    kind = torch.float64 if options.double else torch.float32
    result: dict[str, Any] = {
        "environment": environment(), "date": time.strftime("%Y-%m-%d"), "n": options.n, "seed": 0,
        "auto_LiRPA": version, "theirs": str(kind), "threads": torch.get_num_threads(), "nets": {},
    }  # fmt: skip
    print(f"{'':28} {'ours: seconds':>14} {'mean':>9} {'proved':>7} {'theirs: seconds':>16} {'mean':>9} {'proved':>7} {'time':>6} {'gain':>9}")
    for name in options.nets:
        one = case(name, options.n)
        for method in options.methods:
            torch.manual_seed(0)
            competitors: dict[str, Callable[[], Tensor]] = {"ours": lambda method=method, one=one: ours(method, one)}
            if version:
                competitors["theirs"] = lambda method=method, one=one, name=name: theirs(method, one._replace(module=networks.load(name).eval()), kind)
            rounds = [{who: timed(run) for who, run in competitors.items()} for _ in range(options.rounds)]
            row = {who: figures([turn[who].seconds for turn in rounds], rounds[-1][who].found) for who in competitors}
            mine, other = row["ours"], row.get("theirs")
            text = f"{name + ' ' + method:28} {mine['seconds']:14.3f} {mine['mean']:9.4f} {mine['proved']:7d}"
            if other:
                text += f" {other['seconds']:16.3f} {other['mean']:9.4f} {other['proved']:7d}"
                text += f" {mine['seconds'] / other['seconds']:6.2f} {mine['mean'] - other['mean']:9.2e}"
            print(text)
            sys.stdout.flush()
            result["nets"].setdefault(name, {})[method] = row
    print(json.dumps(result))


if __name__ == "__main__":
    main()
