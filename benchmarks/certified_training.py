"""Recipes of certified training side by side: the same network, images, epochs and radius.

python -m benchmarks.certified_training [--data mnist] [--recipes ibp ...] [--radius 0.1] [--n 10000] [--epochs 10] [--certify 1000] [--checkpoints FOLDER]
python -m benchmarks.certified_training --weights FILE [--radius 0.1]

Trains the network of `scripts/train_certified.py` on the first --n images of MNIST with its settings, or a smaller one on the embedded digits (--data digits,
batches of 50), or loads weights that the script wrote. Columns: share of all test images that are right (natural) and certified by intervals (ibp); of the
first --certify of them, certified by intervals or CROWN (crown), by the portfolio of an evaluation (portfolio: alpha-CROWN and a few splits too) and right
under PGD of 40 steps (pgd); CPU seconds of training and of these. "plain" is training without a threat. Certificates are computed in float64. With
--checkpoints a training goes on where it was interrupted, and seconds are of the last part. Last line: one JSON object.
"""

import argparse
import importlib.util
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

import sparring as sp
from sparring.bench.environment import environment
from sparring.certification.networks.bounds.threat import input_set
from sparring.certification.networks.decide import decide
from sparring.certification.networks.portfolio import at_effort
from sparring.certification.networks.query import Query
from sparring.cli.process import tune_allocator
from sparring.core.registry import everything
from sparring.data.dataset import Data
from sparring.defences.training.harden import harden
from sparring.defences.training.step import Step
from sparring.graph.from_torch import from_torch
from sparring.threats.balls import Linf

COLUMNS = ("natural", "ibp", "crown", "portfolio", "pgd")


def script() -> Any:
    """The module of `scripts/train_certified.py`."""
    place = Path(__file__).resolve().parents[1] / "scripts" / "train_certified.py"
    spec = importlib.util.spec_from_file_location("train_certified", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def digits_network() -> nn.Module:
    """A convolution of 3 x 3, one of 4 x 4 with stride 2 and two linear layers, batch normalisation before each ReLU, for images of 8 x 8."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 32, 4, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(512, 100, bias=False), nn.BatchNorm1d(100), nn.ReLU(), nn.Linear(100, 10)),
    )


def plain(step: Step) -> Tensor:
    """Cross-entropy without a threat."""
    return F.cross_entropy(step.scores, step.y)


def crown_certified(module: nn.Module, data: Data, radius: float) -> float:
    """Share of the images for which intervals or CROWN prove that the label leads within the radius."""
    return certified(module, data, radius, at_effort("bounds"))


def portfolio_certified(module: nn.Module, data: Data, radius: float) -> float:
    """Share of the images proved by the verifiers of an evaluation."""
    return certified(module, data, radius, at_effort("quick"))


def certified(module: nn.Module, data: Data, radius: float, verifiers: Mapping[str, Mapping[str, Any]]) -> float:
    """Share of the images proved by these verifiers."""
    graph = from_torch(module, tuple(data.x.shape[1:]))
    proved = 0
    for x, y in zip(data.x.split(100), data.y.split(100), strict=True):
        answers = decide(Query.robustness(graph, input_set(Linf(radius), x, data.domain), y), verifiers=verifiers)
        proved += sum(answer.verdict == "proved" for answer in answers)
    return proved / len(data)


def pgd_accuracy(module: nn.Module, data: Data, radius: float) -> float:
    """Share of the images that are right under PGD of 40 steps, one start."""
    victim = sp.victim(module, data.domain)
    points = sp.attacks.pgd(victim, data.x, data.y, sp.linf(radius), steps=40)
    with torch.no_grad():
        return float(((module(points).argmax(1) == data.y) & (module(data.x).argmax(1) == data.y)).double().mean())


def measured(module: nn.Module, test: Data, radius: float, count: int, trained: float) -> dict[str, float]:
    """One row of the table."""
    own, some = script(), test.take(count)
    row = {"natural": own.natural(module, test), "ibp": own.interval_certified(module, test, radius), "seconds": trained}
    for name, measure in (("crown", crown_certified), ("portfolio", portfolio_certified), ("pgd", pgd_accuracy)):
        began = time.process_time()
        row[name] = measure(module, some, radius)
        row[f"{name}_seconds"] = time.process_time() - began
    return row


def settings_for(source: str) -> dict[str, Any]:
    """Of `harden`, for both sets those of the script but for the batch."""
    return {**script().Settings()._asdict(), **({"batch": 50} if source == "digits" else {})}


def trained(recipe: str, source: str, data: Data, radius: float, epochs: int, folder: Path | None) -> nn.Module:
    own = script()
    torch.manual_seed(own.SEED)
    settings = {**settings_for(source), "epochs": epochs, "seed": own.SEED, "folder": folder and folder / f"{source}-{recipe}-{radius:g}"}
    module = digits_network() if source == "digits" else own.network()
    return harden(module, data, sp.linf(radius), plain if recipe == "plain" else recipe, **settings)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", choices=["mnist", "digits"], default="mnist")
    parser.add_argument("--recipes", nargs="+", choices=["plain", *everything("recipe")], default=["plain", *everything("recipe")])
    parser.add_argument("--radius", type=float, default=0.1)
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--certify", type=int, default=1000)
    parser.add_argument("--checkpoints", type=Path)
    parser.add_argument("--weights", type=Path)
    options = parser.parse_args()
    tune_allocator()
    torch.set_num_threads(1)
    own = script()
    source = own.MNIST if options.data == "mnist" else "digits"
    if options.data == "mnist" and not own.MNIST.exists():
        print("skipped: the shared data is not beside the checkout")
        return
    training, test = sp.load(source, split="train", take=options.n), sp.load(source, split="test")
    rows: dict[str, dict[str, float]] = {}
    print(f"{'recipe':12} " + " ".join(f"{name:>11}" for name in (*COLUMNS, "train s", "crown s", "portfolio s", "pgd s")))
    for name in [options.weights.stem] if options.weights else options.recipes:
        began = time.process_time()
        if options.weights:
            state = load_file(options.weights)
            module = own.network((len(state["0.weight"]), len(state["3.weight"]), len(state["7.weight"]))).eval()
            module.load_state_dict(state)
        else:
            module = trained(name, options.data, training, options.radius, options.epochs, options.checkpoints)
        row = rows[name] = measured(module, test, options.radius, options.certify, 0.0 if options.weights else time.process_time() - began)
        seconds = " ".join(f"{row[key]:11.1f}" for key in ("seconds", "crown_seconds", "portfolio_seconds", "pgd_seconds"))
        print(f"{name:12} " + " ".join(f"{row[key]:11.2%}" for key in COLUMNS) + " " + seconds)
        sys.stdout.flush()
    settings = {name: repr(value) for name, value in settings_for(options.data).items()}
    said = {
        "data": options.data,
        "n": len(training),
        "epochs": options.epochs,
        "radius": options.radius,
        "certify": min(options.certify, len(test)),
        "seed": own.SEED,
        "settings": settings,
    }
    print(json.dumps({"environment": environment(), "date": time.strftime("%Y-%m-%d"), **said, "recipes": rows}))


if __name__ == "__main__":
    main()
