"""Auto-PGD beside the original and other libraries: 100 steps, cross-entropy, one start, same images, one process.

    python -m benchmarks.apgd [--net wong] [--n 200] [--radius 0.3] [--norms linf l2 l1]

The original is `autoattack` (github.com/fra31/auto-attack on PYTHONPATH), adversarial-library likewise; torchattacks and ART are on the
package index. Robust accuracy is asked of the network itself. Prints a table and, as its last line, one JSON object.
"""

import argparse
import datetime
import importlib
import json
import math
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import sparring as sp
from benchmarks import networks, peers
from benchmarks.evaluation import predicted
from benchmarks.steps import images
from sparring.bench.environment import environment

Competitor = Callable[[nn.Module, Tensor, Tensor, str, float], Tensor]
RADII = {"linf": 0.3, "l2": 2.0, "l1": 10.0}
STEPS = 100


def ours(module: nn.Module, x: Tensor, y: Tensor, norm: str, radius: float) -> Tensor:
    attack = sp.attacks.apgd_l1 if norm == "l1" else sp.attacks.apgd
    return attack(sp.victim(module, sp.image(*x.shape[1:])), x, y, getattr(sp, norm)(radius), steps=STEPS, restarts=1)


def original(module: nn.Module, x: Tensor, y: Tensor, norm: str, radius: float) -> Tensor:
    library = importlib.import_module("autoattack.autopgd_base")
    kind = {"linf": "Linf", "l2": "L2", "l1": "L1"}[norm]
    attack = library.APGDAttack(module, n_iter=STEPS, norm=kind, eps=radius, loss="ce", device="cpu", use_largereps=norm == "l1", seed=0)
    return torch.cat([attack.perturb(*part) for part in zip(x.split(250), y.split(250), strict=True)])


def adversarial_library(module: nn.Module, x: Tensor, y: Tensor, norm: str, radius: float) -> Tensor:
    peers._stand_in("torchvision", "torchvision.transforms", "torchvision.utils", "visdom")
    attack = importlib.import_module("adv_lib.attacks.auto_pgd").apgd
    order = {"linf": math.inf, "l2": 2, "l1": 1}[norm]
    return attack(module, x, y, eps=radius, norm=order, n_iter=STEPS, loss_function="ce", use_large_reps=norm == "l1")


def torchattacks(module: nn.Module, x: Tensor, y: Tensor, norm: str, radius: float) -> Tensor:
    if norm == "l1":
        raise ValueError("no L1")
    attack = importlib.import_module("torchattacks").APGD(module, norm={"linf": "Linf", "l2": "L2"}[norm], eps=radius, steps=STEPS, n_restarts=1, loss="ce")
    return attack(x, y)


def art(module: nn.Module, x: Tensor, y: Tensor, norm: str, radius: float) -> Tensor:
    estimators = importlib.import_module("art.estimators.classification")
    evasion = importlib.import_module("art.attacks.evasion")
    model = estimators.PyTorchClassifier(module, nn.CrossEntropyLoss(), tuple(x.shape[1:]), 10, clip_values=(0.0, 1.0), device_type="cpu")
    order = {"linf": "inf", "l2": 2, "l1": 1}[norm]
    attack = evasion.AutoProjectedGradientDescent(
        model, norm=order, eps=radius, eps_step=2 * radius, max_iter=STEPS, nb_random_init=1, batch_size=250, loss_type="cross_entropy", verbose=False
    )
    return torch.from_numpy(attack.generate(x.numpy(), y.numpy()))


COMPETITORS: dict[str, Competitor] = {"ours": ours, "original": original, "adversarial-library": adversarial_library, "torchattacks": torchattacks, "ART": art}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", default="wong")
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--norms", nargs="+", choices=RADII, default=list(RADII))
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    warnings.simplefilter("ignore")
    x, y = images(asked.net, asked.n)
    table: dict[str, dict[str, Any]] = {}
    for norm in asked.norms:
        radius = RADII[norm]
        for name, run in COMPETITORS.items():
            module = networks.load(asked.net)
            try:
                began = time.perf_counter()
                points = run(module, x, y, norm, radius)
                seconds = time.perf_counter() - began
            except Exception as error:  # a peer may fail in any way
                sys.stderr.write(f"{name} does not run here in {norm}: {type(error).__name__}: {error}\n")
                continue
            size = (points - x).flatten(1).norm(p={"linf": math.inf, "l2": 2, "l1": 1}[norm], dim=1)
            stands = (predicted(module, points) == y) | (size > radius * 1.001)
            row = {"robust": round(100 * float(stands.float().mean()), 2), "seconds": round(seconds, 2), "largest": round(float(size.max()), 4)}
            table.setdefault(norm, {})[name] = row
            print(f"{norm:5}{name:22}{row['robust']:8.1f} %{row['seconds']:9.2f} s   largest change {row['largest']}", flush=True)
    figures = {"net": asked.net, "n": len(x), "steps": STEPS, "radii": RADII, "threads": asked.threads, "date": datetime.date.today().isoformat()}
    print(json.dumps({**figures, "table": table, "environment": environment()}))


if __name__ == "__main__":
    main()
