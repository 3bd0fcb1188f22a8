"""Attacks that see labels only: ours beside foolbox and ART at equal queries, in one process.

python -m benchmarks.labels [--net wong] [--n 40] [--few 2] [--queries 1000]

Columns: share of the rightly classified images broken within the radius by the first so many queries of each image, seconds of
CPU for all images, and milliseconds an image. Peers are asked through a counter that ends them when the queries are used up
and sees every point they ask about, so they get the success of any of these and the queries of their own start; ART searches
one image after the other and gets `few` images, of which the time is scaled. The floor is the network alone, asked as
often, in batches of 250.
"""

import argparse
import contextlib
import importlib
import json
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import sparring as sp
from benchmarks import networks
from benchmarks.steps import DATA, images
from sparring.bench.environment import environment
from sparring.core.problem import Problem
from sparring.core.registry import find
from sparring.core.rng import Rng

RADII = {"linf": 0.3, "l2": 2.0}
OURS = {"linf": ("hopskipjump", "rays", "sign_flip", "boundary"), "l2": ("hopskipjump", "surfree", "boundary")}
SETTINGS: dict[str, dict[str, Any]] = {"boundary": {"aside": 0.1, "closer": 0.03}}
"""Ours, where they are not the defaults."""

Search = Callable[[nn.Module, Tensor, Tensor, str, int], Any]


class OutOfQueries(BaseException):
    """Not an Exception, so that no peer catches it."""


class Counter(nn.Module):
    """A network that counts what it is asked about a group of images, notes successes within the radius and stops at the limit."""

    def __init__(self, module: nn.Module, x: Tensor, y: Tensor, kind: str, queries: int):
        super().__init__()
        self.module, self.x, self.y, self.kind, self.queries = module, x, y, kind, queries
        self.asked, self.broken = 0, torch.zeros(len(x), dtype=torch.bool)

    def forward(self, points: Tensor) -> Tensor:
        points = points.float()  # ART asks in float64
        scores = self.module(points)
        count = len(self.x)
        if len(points) % count:
            raise ValueError(f"{len(points)} points for {count} images: cannot tell whose they are")
        owner = torch.arange(len(points)) % count
        allowed = torch.arange(len(points)) // count + self.asked < self.queries
        change = (points - self.x[owner]).flatten(1)
        size = change.abs().amax(1) if self.kind == "linf" else change.norm(dim=1)
        good = allowed & (scores.argmax(1) != self.y[owner]) & (size <= RADII[self.kind] * (1 + 1e-5))
        self.broken[owner[good]] = True
        self.asked += len(points) // count
        if self.asked >= self.queries:
            raise OutOfQueries
        return scores


def ours(name: str, module: nn.Module, x: Tensor, y: Tensor, kind: str, queries: int) -> tuple[float, float, float]:
    """(share broken, seconds, queries per image)."""
    victim = sp.victim(module, sp.image(*x.shape[1:]))
    threat, rng = getattr(sp, kind)(RADII[kind]).seeing("labels").within(queries=queries), Rng.of(0, range(len(x)))
    problem = Problem.open(victim, x, threat.goal.freeze(y, victim.task, rng), threat, rng)
    began = time.process_time()
    with victim.session():
        find("attack", name).configure(**SETTINGS.get(name, {})).run(problem)
    return float(problem.ledger.broken.float().mean()), time.process_time() - began, float(problem.ledger.cost.queries.double().mean())


def foolbox(attack: str) -> Search:
    def run(module: nn.Module, x: Tensor, y: Tensor, kind: str, queries: int) -> None:
        library = importlib.import_module("foolbox")
        model = library.PyTorchModel(module, bounds=(0, 1), device="cpu")
        made = library.attacks.BoundaryAttack(steps=25000) if attack == "boundary" else library.attacks.HopSkipJumpAttack(constraint=kind)
        made(model, x, y, epsilons=None)

    return run


def art(attack: str) -> Search:
    def run(module: nn.Module, x: Tensor, y: Tensor, kind: str, queries: int) -> None:
        estimators, evasion = importlib.import_module("art.estimators.classification"), importlib.import_module("art.attacks.evasion")
        model = estimators.PyTorchClassifier(module, nn.CrossEntropyLoss(), tuple(x.shape[1:]), 10, clip_values=(0.0, 1.0), device_type="cpu")
        if attack == "boundary":
            made = evasion.BoundaryAttack(model, targeted=False, max_iter=5000, verbose=False)
        else:
            made = evasion.HopSkipJump(model, norm=2 if kind == "l2" else "inf", max_iter=50, init_eval=100, verbose=False)
        made.generate(x.numpy())

    return run


PEERS: dict[str, dict[str, tuple[Search, bool]]] = {
    "linf": {"foolbox hopskipjump": (foolbox("hopskipjump"), True), "ART hopskipjump": (art("hopskipjump"), False)},
    "l2": {
        "foolbox hopskipjump": (foolbox("hopskipjump"), True),
        "foolbox boundary": (foolbox("boundary"), True),
        "ART hopskipjump": (art("hopskipjump"), False),
        "ART boundary": (art("boundary"), False),
    },
}
"""Per norm: name, search (OutOfQueries ends it), and whether it takes all images together."""


def peer(search: Search, together: bool, module: nn.Module, x: Tensor, y: Tensor, kind: str, queries: int) -> tuple[float, float, float]:
    broken, used, seconds = [], [], 0.0
    with contextlib.suppress(OutOfQueries):  # importing the library is not its search
        search(Counter(module, x[:1], y[:1], kind, 20).eval(), x[:1], y[:1], kind, 20)
    for part, label in zip(x.split(len(x) if together else 1), y.split(len(x) if together else 1), strict=True):
        counter = Counter(module, part, label, kind, queries).eval()
        began = time.process_time()
        with contextlib.suppress(OutOfQueries):
            search(counter, part, label, kind, queries)
        seconds += time.process_time() - began
        broken.append(counter.broken)
        used.append(min(counter.asked, queries))
    return float(torch.cat(broken).float().mean()), seconds, sum(used) / len(used)


def floor(module: nn.Module, x: Tensor, queries: float) -> float:
    """Seconds of so many forwards an image, nothing else."""
    batch = x.repeat(-(-250 // len(x)), 1, 1, 1)[:250]
    began = time.process_time()
    with torch.no_grad():
        for _ in range(max(1, round(queries * len(x) / 250))):
            module(batch)
    return time.process_time() - began


def measure(network: str, kind: str, count: int, few: int, queries: int) -> dict[str, dict[str, float]]:
    module = networks.load(network)
    x, y = images(network, 2 * count)
    with torch.no_grad():
        right = (module(x).argmax(1) == y).nonzero().squeeze(1)[:count]
    x, y = x[right], y[right]
    table: dict[str, dict[str, float]] = {}

    def enter(name: str, asked: int, row: tuple[float, float, float]) -> None:
        table[name] = {"images": asked, "broken": row[0], "seconds": row[1] * len(x) / asked, "queries": row[2]}

    ours("hopskipjump", module, x[:4], y[:4], kind, 50)  # warms up
    for name in OURS[kind]:
        enter(name, len(x), ours(name, module, x, y, kind, queries))
    for name, (search, together) in PEERS[kind].items():
        part = len(x) if together else min(few, len(x))
        try:
            enter(name, part, peer(search, together, module, x[:part], y[:part], kind, queries))
        except Exception as error:  # a peer may fail in any way
            sys.stderr.write(f"{name} does not run here: {type(error).__name__}: {error}\n")
    used = table["hopskipjump"]["queries"]
    enter("floor", len(x), (0.0, floor(module, x, used), used))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--net", default="wong")
    parser.add_argument("--n", type=int, default=40)
    parser.add_argument("--few", type=int, default=2)
    parser.add_argument("--queries", type=int, default=1000)
    options = parser.parse_args()
    if not DATA.exists():
        print("skipped: the shared data is not beside the checkout")
        return
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    result: dict[str, Any] = {"environment": environment(), "date": time.strftime("%Y-%m-%d"), "queries": options.queries, "spaces": {}}
    for kind, radius in RADII.items():
        table = measure(options.net, kind, options.n, options.few, options.queries)
        print(f"\n{options.net}, {kind} {radius:g}, {options.queries} queries an image")
        print(f"{'':22}{'images':>7}{'broken':>9}{'queries':>9}{'CPU s':>9}{'ms/image':>10}")
        for name, row in table.items():
            each = 1000 * row["seconds"] / table["floor"]["images"]
            print(f"{name:22}{row['images']:7.0f}{row['broken']:9.1%}{row['queries']:9.0f}{row['seconds']:9.2f}{each:10.1f}")
        result["spaces"][kind] = table
        rate = {name: row["seconds"] for name, row in table.items()}
        result[f"{kind}_cost_over_floor"] = rate["hopskipjump"] / rate["floor"]
        if "ART hopskipjump" in rate:
            result[f"{kind}_times_faster_than_art"] = rate["ART hopskipjump"] / rate["hopskipjump"]
    print(json.dumps(result))


if __name__ == "__main__":
    sys.exit(main())
