"""Trains a small network on MNIST to be certified: python scripts/train_certified.py FILE [--radius 0.1] [--recipe ibp] [--epochs 12]
[--widths 16 32 100].

Reads the MNIST of the shared data, writes a safetensors file that `network()` loads, and prints what was measured on the 10,000 test images. A
checkpoint is kept beside the file after every epoch; the same command goes on from it.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import safetensors.torch
import torch
from torch import Tensor, nn

import sparring as sp
from sparring.certification.networks.bounds.interval import intervals, margins
from sparring.certification.networks.bounds.threat import input_set
from sparring.cli.process import tune_allocator
from sparring.core.registry import everything
from sparring.data.dataset import Data
from sparring.defences.training.harden import harden
from sparring.defences.training.optimiser import Adam, Cycle
from sparring.defences.training.radius_schedule import RadiusSchedule
from sparring.defences.training.worst import rivals
from sparring.graph.from_torch import from_torch
from sparring.graph.network import Network
from sparring.threats.balls import Linf

MNIST = Path(__file__).parents[2] / "shared" / "data" / "images" / "mnist.npz"
SEED = 0


class Settings(NamedTuple):
    """Of `harden`, the same for all recipes."""

    batch: int = 256
    optimiser: Adam = Adam(3e-3)
    schedule: Cycle = Cycle(0.3)
    radius_schedule: RadiusSchedule = RadiusSchedule(0.0, 0.4)


def network(widths: tuple[int, int, int] = (16, 32, 100)) -> nn.Module:
    """Two convolutions of 4 x 4 with stride 2 and two linear layers, batch normalisation before each ReLU; 166,554 parameters at these widths."""
    first, second, third = widths
    return nn.Sequential(
        *(nn.Conv2d(1, first, 4, 2, 1, bias=False), nn.BatchNorm2d(first), nn.ReLU()),
        *(nn.Conv2d(first, second, 4, 2, 1, bias=False), nn.BatchNorm2d(second), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(49 * second, third, bias=False), nn.BatchNorm1d(third), nn.ReLU(), nn.Linear(third, 10)),
    )


def natural(module: nn.Module, data: Data) -> float:
    """Share of the images that are right without attack."""
    with torch.no_grad():
        return float((torch.cat([module(part) for part in data.x.split(1000)]).argmax(1) == data.y).double().mean())


def interval_certified(module: nn.Module, data: Data, radius: float) -> float:
    """Share of the images for which intervals in float64 prove that the label leads within the radius."""
    graph = from_torch(module, tuple(data.x.shape[1:]))
    return float(torch.cat([leads.amin(1) > 0 for leads in _leads(graph, data, radius)]).double().mean())


def _leads(graph: Network, data: Data, radius: float) -> Iterator[Tensor]:
    with torch.no_grad():
        for x, y in zip(data.x.split(500), data.y.split(500), strict=True):
            yield margins(graph, intervals(graph, input_set(Linf(radius), x, data.domain)), rivals(y, graph.outputs, torch.float64))


def main() -> None:
    """Train, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--radius", type=float, default=0.1)
    parser.add_argument("--recipe", choices=everything("recipe"), default="ibp")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--widths", type=int, nargs=3, default=(16, 32, 100), help="channels of the convolutions, and hidden numbers")
    asked = parser.parse_args()
    tune_allocator()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    training, test = sp.load(MNIST, split="train"), sp.load(MNIST, split="test")
    began = time.process_time()
    module = harden(
        network(tuple(asked.widths)), training, sp.linf(asked.radius), asked.recipe, epochs=asked.epochs, seed=SEED, **Settings()._asdict(),
        folder=asked.file.with_suffix(""), listen=lambda event, told: print({name: round(value, 4) for name, value in told.items()}, flush=True),
    )  # fmt: skip
    seconds = time.process_time() - began
    asked.file.parent.mkdir(parents=True, exist_ok=True)
    asked.file.write_bytes(safetensors.torch.save(module.state_dict()))
    figures = f"natural {natural(module, test):.2%}, certified by intervals {interval_certified(module, test, asked.radius):.2%}"
    print(f"{asked.recipe} at {asked.radius:g}, {asked.epochs} epochs in {seconds:.0f} CPU s: {figures}, {asked.file.stat().st_size} bytes")


if __name__ == "__main__":
    main()
