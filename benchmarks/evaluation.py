"""Our evaluation beside the original AutoAttack, on the same images of the same network, in one process.

    python benchmarks/evaluation.py --net wong --n 1000 --radius 0.3 [--norm linf] [--attacks fast] [--search fast] [--threads 1]

--net: a network of `benchmarks/networks.py`, or the path of an exported program (.pt2) that takes [0, 1] images; --data: an npz
with x and y for it (default: MNIST or CIFAR-10 by the shape of the input). AutoAttack runs where `autoattack` can be imported (clone
github.com/fra31/auto-attack and put it on PYTHONPATH); `--no-autoattack` leaves it out. Its seed is 0, its batch 250, its weights are
frozen. Both are charged alike: a forward counts one, a backward two; ours from its meter, AutoAttack's from hooks on the module.
Robust accuracies are asked of the network itself. Prints a table and, as its last line, one JSON object.
"""

import argparse
import datetime
import json
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import sparring as sp
from benchmarks import networks
from benchmarks.steps import images
from sparring.bench.environment import environment
from sparring.metrics.outcome import CLEAN

SPACES = {"linf": sp.linf, "l2": sp.l2, "l1": sp.l1}


class Counted(nn.Module):
    """A network that counts the inputs that pass forward and backward through it."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner, self.forwards, self.backwards = inner, 0, 0

    def forward(self, x: Tensor) -> Tensor:
        self.forwards += len(x)
        scores = self.inner(x)
        if scores.requires_grad:
            scores.register_hook(self._count)
        return scores

    def _count(self, g: Tensor) -> None:
        self.backwards += len(g)

    @property
    def equivalents(self) -> int:
        return self.forwards + 2 * self.backwards


def ours(module: nn.Module, x: Tensor, y: Tensor, asked: argparse.Namespace) -> tuple[Tensor, int, float, Any]:
    """(bool [n] robust, forward-equivalents, seconds, table by stage)."""
    victim = sp.victim(module, sp.image(*x.shape[1:]), search=asked.search)
    threat = SPACES[asked.norm](asked.radius)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        run = sp.evaluate(victim, (x, y), threat, asked.attacks, out=folder, seed=asked.seed, batch=asked.batch, points="none")
        seconds = time.perf_counter() - began
        rows = run.table()
    rows["equivalents"] = rows.forwards + 2 * rows.backwards
    fallen = rows[(rows.status == "broken")].groupby("position").size().index
    robust = torch.ones(len(x), dtype=torch.bool)
    robust[torch.tensor(sorted(fallen), dtype=torch.int64)] = False
    searches = rows[~rows.attack.str.startswith("noise")]
    stages = searches.groupby("attack", sort=False).agg(
        tried=("status", lambda one: int((one != "skipped").sum())),
        broken=("status", lambda one: int((one == "broken").sum())),
        equivalents=("equivalents", "sum"),
        seconds=("seconds", "sum"),
    )
    return robust, int(rows.equivalents.sum()), seconds, stages.drop(index=CLEAN, errors="ignore")


def autoattack(module: nn.Module, x: Tensor, y: Tensor, asked: argparse.Namespace) -> tuple[Tensor, int, float]:
    """(bool [n] robust, forward-equivalents, seconds) of the original."""
    from autoattack import AutoAttack  # type: ignore[import-not-found]

    for parameter in module.parameters():
        parameter.requires_grad_(False)
    counted = Counted(module)
    norm = {"linf": "Linf", "l2": "L2", "l1": "L1"}[asked.norm]
    adversary = AutoAttack(counted, norm=norm, eps=asked.radius, version="standard", device="cpu", seed=asked.seed, verbose=asked.verbose)
    began = time.perf_counter()
    points = adversary.run_standard_evaluation(x, y, bs=250)
    seconds = time.perf_counter() - began
    spent = counted.equivalents
    return predicted(module, points) == y, spent, seconds


def predicted(module: nn.Module, x: Tensor) -> Tensor:
    """Classes of the network itself."""
    with torch.no_grad():
        return torch.cat([module(part).argmax(1) for part in x.split(250)])


def opened(asked: argparse.Namespace) -> tuple[nn.Module, Tensor, Tensor]:
    """The network and its images."""
    if asked.net in networks.NETWORKS:
        if not networks.WEIGHTS.exists():
            sys.exit(f"no shared data at {networks.WEIGHTS}: the networks live there; or give the path of a .pt2 file")
        return networks.load(asked.net), *images(asked.net, asked.n)
    if not Path(asked.net).is_file():
        sys.exit(f"--net {asked.net}: no such network or file; networks: {', '.join(networks.NETWORKS)}")
    module = torch.export.load(asked.net).module()
    if asked.data:
        stored = np.load(asked.data)
        x = torch.from_numpy(stored["x"][: asked.n]).float()
        return module, x / 255 if stored["x"].dtype == np.uint8 else x, torch.from_numpy(stored["y"][: asked.n]).long()
    for kind in ("mnist", "cifar"):
        x, y = images(kind, asked.n)
        try:
            module(x[:1])
        except Exception:  # of another shape: try the next
            continue
        return module, x, y
    sys.exit(f"--net {asked.net} takes neither MNIST nor CIFAR-10 images: give --data FILE.npz with x and y")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", default="wong")
    parser.add_argument("--data")
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--radius", type=float, default=0.3)
    parser.add_argument("--norm", choices=SPACES, default="linf")
    parser.add_argument("--attacks", default="fast")
    parser.add_argument("--search", choices=("fast", "bfloat16", "plain"), default="fast")
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-autoattack", action="store_true")
    parser.add_argument("--verbose", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    module, x, y = opened(asked)
    right = predicted(module, x) == y
    robust, spent, seconds, stages = ours(module, x, y, asked)
    figures: dict[str, Any] = {
        "net": asked.net,
        "n": len(x),
        "threat": f"{asked.norm} {asked.radius:g}",
        "clean": percent(right),
        "ours": percent(robust),
        "autoattack": None,
        "forward_equivalents_ours": spent,
        "forward_equivalents_autoattack": None,
        "seconds_ours": round(seconds, 1),
        "seconds_autoattack": None,
        "missed_by_ours": None,
        "missed_by_autoattack": None,
        "attacks": asked.attacks,
        "search": asked.search,
        "seed": asked.seed,
        "threads": asked.threads,
        "date": datetime.date.today().isoformat(),
        "environment": environment(),
    }
    print(stages.to_string(float_format=lambda one: f"{one:.1f}"))
    if not asked.no_autoattack:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                held, other, other_seconds = autoattack(module, x, y, asked)
        except ImportError:
            print("autoattack cannot be imported: clone github.com/fra31/auto-attack and put it on PYTHONPATH", file=sys.stderr)
        else:
            figures |= {
                "autoattack": percent(held),
                "forward_equivalents_autoattack": other,
                "seconds_autoattack": round(other_seconds, 1),
                "missed_by_ours": int((robust & ~held).sum()),
                "missed_by_autoattack": int((held & ~robust).sum()),
            }
    print(f"\n{'':12}{'robust %':>10}{'forward-equivalents':>22}{'seconds':>10}{'missed':>8}")
    for name in ("ours", "autoattack"):
        cells = (figures[name], figures[f"forward_equivalents_{name}"], figures[f"seconds_{name}"], figures[f"missed_by_{name}"])
        print(f"{name:12}{cells[0]!s:>10}{cells[1]!s:>22}{cells[2]!s:>10}{cells[3]!s:>8}")
    print(json.dumps(figures))


def percent(rows: Tensor) -> float:
    """Share of true rows, in percent."""
    return round(100 * float(rows.double().mean()), 3)


if __name__ == "__main__":
    main()
