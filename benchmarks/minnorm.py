"""Smallest changes: our attacks beside other libraries, per norm, on the same images and network.

python -m benchmarks.minnorm [--norms linf l2 l1] [--n 50] [--net wong] [--only NAME ...] [--seconds 5]

Columns: share of the images (those the network gets right) with a success; median size, failures counting as infinite; local
optimality against the smallest change that anyone in the table found; forwards and backwards an image, counted at the
network, ten classes being ten backwards; seconds for all. A returned point of a peer counts if the network itself errs on it and
it lies in [0, 1]; of ours the smallest success the problem holds, which the network was asked about too. Peers run with their own defaults,
except steps where named. Who takes more than --seconds for four images is left out and named.
Last line: one JSON object.
"""

import argparse
import importlib
import json
import math
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

import sparring as sp
from benchmarks import networks
from benchmarks.local_optimality import local_optimality
from benchmarks.peers import _stand_in as stand_in_for
from benchmarks.steps import images
from sparring.bench.environment import environment
from sparring.core.problem import Problem
from sparring.core.registry import everything
from sparring.core.rng import Rng
from sparring.core.threat import Threat
from sparring.threats.goals import Untargeted

LARGEST = {"linf": 1.0, "l2": 12.0, "l1": 150.0, "l0": 784.0}
ORDERS = {"linf": np.inf, "l2": 2, "l1": 1, "l0": 0}
OURS: dict[str, tuple[str, dict[str, Any]]] = {
    "deepfool": ("deepfool", {"search": 8}),
    "superdeepfool": ("superdeepfool", {}),
    "fab": ("fab", {"steps": 30}),
    "fab_t": ("fab_t", {"steps": 30}),
    "minimal(pgd)": ("minimal", {"attack": "pgd"}),
    "minimal(apgd)": ("minimal", {"attack": "apgd"}),
    **{name: (name, {}) for name in ("cw_linf", "pdpgd", "pdgd", "sigma_zero", "jsma")},
    "brendel_bethge": ("brendel_bethge", {"steps": 100}),
    "ddn": ("ddn", {"factor": 0.1}),
    "fmn": ("fmn", {"factor": 0.1}),
    "cw": ("cw", {"steps": 200, "turns": 4}),
    "ead": ("ead", {"steps": 200, "turns": 8}),
}
"""Our attacks by the name in the table: attack and settings. Those not registered, or not for the norm, are skipped."""

Peer = Callable[[nn.Module, Tensor, Tensor], Tensor]


class Found(NamedTuple):
    """size: [n], inf for none. forwards, backwards: an image. seconds: for all of them."""

    size: np.ndarray
    forwards: float
    backwards: float
    seconds: float


class Meter(nn.Module):
    """A network that counts the samples that go forward through it and the gradients that come back."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module, self.forwards, self.backwards = module, 0, 0

    def forward(self, x: Tensor) -> Tensor:
        self.forwards += len(x)
        if x.requires_grad:
            x = x.view_as(x)
            x.register_hook(self._count)
        return self.module(x)

    def _count(self, grad: Tensor) -> None:
        self.backwards += int(grad.flatten(1).any(1).sum())  # rows of a batch that others are differentiated in stay zero


def ours(name: str, settings: dict[str, Any], module: nn.Module, x: Tensor, y: Tensor, norm: str) -> Found | None:
    attack, space = everything("attack").get(name), everything("space").get(norm)
    if attack is None or space is None:
        return None
    victim = sp.victim(module, sp.image(*x.shape[1:]))
    threat = Threat(space(LARGEST[norm]), Untargeted()).smallest()
    if attack.misfit(victim, threat):
        return None
    rng = Rng.of(0, range(len(x)))
    with victim.session():
        victim.gradient(x[:2], lambda scores: scores[:, 0])  # the private copy is made outside the clock
        problem = Problem.open(victim, x, threat.goal.freeze(y, victim.task, rng), threat, rng)
        began = time.perf_counter()
        attack.configure(**settings).run(problem)
        seconds = time.perf_counter() - began
    cost = problem.ledger.cost
    return Found(problem.smallest().numpy(), float(cost.forwards.double().mean()), float(cost.backwards.double().mean()), seconds)


def judged(points: Tensor, module: nn.Module, x: Tensor, y: Tensor, norm: str) -> np.ndarray:
    """[n]: sizes of the changes, inf where the network is right or the point lies outside [0, 1]."""
    with torch.no_grad():
        points = points.detach()
        wrong = module(points).argmax(1) != y
    wrong &= (points.flatten(1).amin(1) >= -1e-6) & (points.flatten(1).amax(1) <= 1 + 1e-6) & points.isfinite().flatten(1).all(1)
    size = torch.linalg.vector_norm((points.double() - x.double()).flatten(1), ord=ORDERS[norm], dim=1)
    return size.where(wrong, torch.inf).numpy()


def _foolbox(name: str, settings: dict[str, Any], module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    library = importlib.import_module("foolbox")
    model = library.PyTorchModel(module, bounds=(0, 1), device="cpu")
    return getattr(library.attacks, name)(**settings)(model, x, y, epsilons=None)[1]


def _torchattacks(name: str, settings: dict[str, Any], module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return getattr(importlib.import_module("torchattacks"), name)(module, **settings)(x, y)


def _adversarial_library(place: str, name: str, settings: dict[str, Any], module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    stand_in_for("torchvision", "torchvision.transforms", "torchvision.utils", "visdom")
    return getattr(importlib.import_module(f"adv_lib.attacks.{place}"), name)(module, x.clone(), y, **settings)


def _art(name: str, settings: dict[str, Any], module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    estimators, evasion = importlib.import_module("art.estimators.classification"), importlib.import_module("art.attacks.evasion")
    model = estimators.PyTorchClassifier(module, nn.CrossEntropyLoss(), tuple(x.shape[1:]), 10, clip_values=(0.0, 1.0), device_type="cpu")
    return torch.from_numpy(getattr(evasion, name)(model, verbose=False, **settings).generate(x.numpy(), y.numpy()))


def peers(norm: str) -> dict[str, Peer]:
    """The competitors for a norm, in order of cost."""
    order, fool, ta, adv = ORDERS[norm], partial(partial, _foolbox), partial(partial, _torchattacks), partial(partial, _adversarial_library)
    fab_t = adv("fast_adaptive_boundary", "fab", {"norm": float(order), "n_iter": 30, "targeted_restarts": True})
    fab = adv("fast_adaptive_boundary", "fab", {"norm": float(order), "n_iter": 30})
    fmn = adv("fast_minimum_norm", "fmn", {"norm": order, "steps": 100})
    found: dict[str, dict[str, Peer]] = {
        "linf": {
            "foolbox deepfool": fool("LinfDeepFoolAttack", {}),
            "foolbox fmn": fool("LInfFMNAttack", {"steps": 100}),
            "adv_lib deepfool": adv("deepfool", "df", {"norm": np.inf}),
            "adv_lib fmn": fmn,
            "adv_lib fab": fab,
            "adv_lib fab_t": fab_t,
            "torchattacks fab": ta("FAB", {"norm": "Linf", "eps": 1.0, "steps": 30}),
            "torchattacks fab_t": ta("FAB", {"norm": "Linf", "eps": 1.0, "steps": 30, "multi_targeted": True, "n_restarts": 1}),
        },
        "l2": {
            "foolbox deepfool": fool("L2DeepFoolAttack", {}),
            "foolbox ddn": fool("DDNAttack", {"steps": 100}),
            "adv_lib deepfool": adv("deepfool", "df", {"norm": 2}),
            "adv_lib superdeepfool": adv("superdeepfool", "sdf", {}),
            "adv_lib ddn": adv("decoupled_direction_norm", "ddn", {"levels": None}),
            "adv_lib fmn": fmn,
            "torchattacks deepfool": ta("DeepFool", {}),
            "ART deepfool": partial(_art, "DeepFool", {"batch_size": 100}),
            "adv_lib fab": fab,
            "adv_lib fab_t": fab_t,
            "torchattacks fab_t": ta("FAB", {"norm": "L2", "eps": 12.0, "steps": 30, "multi_targeted": True, "n_restarts": 1}),
        },
        "l1": {
            "foolbox fmn": fool("L1FMNAttack", {"steps": 100}),
            "adv_lib fmn": fmn,
            "adv_lib fab": fab,
            "adv_lib fab_t": fab_t,
            "torchattacks fab_t": ta("FAB", {"norm": "L1", "eps": 150.0, "steps": 30, "multi_targeted": True, "n_restarts": 1}),
        },
        "l0": {"foolbox fmn": fool("L0FMNAttack", {"steps": 100}), "adv_lib fmn": fmn},
    }
    return found[norm]


def theirs(run: Peer, module: nn.Module, x: Tensor, y: Tensor, norm: str) -> Found:
    meter = Meter(module).eval()
    began = time.perf_counter()
    points = run(meter, x, y)
    seconds = time.perf_counter() - began
    return Found(judged(points, module, x, y, norm), meter.forwards / len(x), meter.backwards / len(x), seconds)


def measure(norm: str, network: str, count: int, only: list[str], limit: float) -> dict[str, dict[str, float]]:
    module = networks.load(network).eval()
    x, y = images(network, count)
    with torch.no_grad():
        right = module(x).argmax(1) == y
    x, y = x[right], y[right]
    runs: dict[str, Callable[[Tensor, Tensor], Found | None]] = {}
    for label, (name, settings) in OURS.items():
        runs[label] = lambda a, b, name=name, settings=settings: ours(name, settings, networks.load(network), a, b, norm)
    for label, run in peers(norm).items():
        runs[label] = lambda a, b, run=run: theirs(run, module, a, b, norm)
    found: dict[str, Found] = {}
    for label, go in runs.items():
        if only and not any(word in label for word in only):
            continue
        try:
            torch.manual_seed(0)
            tried = go(x[:4], y[:4])
            if tried is None:
                continue
            if tried.seconds > limit:
                sys.stderr.write(f"{norm} {label}: left out, 4 images took {tried.seconds:.1f} s\n")
                continue
            torch.manual_seed(0)
            done = go(x, y)
        except Exception as error:  # a peer may fail in any way
            sys.stderr.write(f"{norm} {label} does not run here: {type(error).__name__}: {str(error).splitlines()[:1]}\n")
            continue
        if done is not None:
            found[label] = done
    if not found:
        return {}
    optimal = local_optimality(np.stack([one.size for one in found.values()]))
    return {
        label: {
            "success": float(np.isfinite(one.size).mean()),
            "median": float(np.median(one.size)),
            "optimality": float(share),
            "forwards": one.forwards,
            "backwards": one.backwards,
            "seconds": one.seconds,
        }
        for (label, one), share in zip(found.items(), optimal, strict=True)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--norms", nargs="+", choices=LARGEST, default=["linf", "l2", "l1"])
    parser.add_argument("--net", default="wong")
    parser.add_argument("--n", type=int, default=50)
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    if not networks.WEIGHTS.exists():
        print("skipped: the shared data is not beside the checkout")
        return
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    result: dict[str, Any] = {"environment": environment(), "date": time.strftime("%Y-%m-%d"), "net": options.net, "n": options.n, "norms": {}}
    for norm in options.norms:
        table = measure(norm, options.net, options.n, options.only, options.seconds)
        print(f"{norm:24} {'success':>8} {'median':>8} {'optimal':>8} {'forwards':>9} {'backwards':>10} {'seconds':>8}")
        for name, row in sorted(table.items(), key=lambda item: -item[1]["optimality"]):
            figures = f"{row['success']:8.1%} {row['median']:8.4f} {row['optimality']:8.4f} {row['forwards']:9.1f} {row['backwards']:10.1f}"
            print(f"{name:24} {figures} {row['seconds']:8.2f}")
        sys.stdout.flush()
        result["norms"][norm] = {name: {key: one if math.isfinite(one) else None for key, one in row.items()} for name, row in table.items()}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
