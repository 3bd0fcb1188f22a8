"""Trains the two digits networks of the zoo and writes their weights: python scripts/train_zoo.py [folder]."""

import sys
import time
from pathlib import Path

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import sparring.models
from sparring.data.load import load
from sparring.models.zoo import DigitsNet

SEED = 0
BATCH = 100
RADII = (0.05, 0.1, 0.15, 0.2)


def pgd(net: nn.Module, x: Tensor, y: Tensor, radius: float, steps: int, step_size: float, generator: torch.Generator) -> Tensor:
    """Linf PGD with one random start on cross-entropy (Madry et al. 2018)."""
    point = (x + radius * (2 * torch.rand(x.shape, generator=generator) - 1)).clamp(0, 1)
    for _ in range(steps):
        point.requires_grad_(True)
        (gradient,) = torch.autograd.grad(F.cross_entropy(net(point), y, reduction="sum"), point)
        moved = point.detach() + step_size * gradient.sign()
        point = moved.clamp(x - radius, x + radius).clamp(0, 1)
    return point.detach()


def train(x: Tensor, y: Tensor, *, radius: float, epochs: int = 60, rate: float = 8e-3, steps: int = 7) -> nn.Module:
    """Adam with one cycle of the learning rate; the radius grows to its full size over the first half."""
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    net = DigitsNet()
    optimiser = torch.optim.Adam(net.parameters(), lr=rate)
    batches = -(-len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=epochs * batches)
    for epoch in range(epochs):
        reach = radius * min(1.0, 2 * (epoch + 1) / epochs)
        for rows in torch.randperm(len(x), generator=generator).split(BATCH):
            seen = pgd(net, x[rows], y[rows], reach, steps, 2.5 * reach / steps, generator) if radius else x[rows]
            optimiser.zero_grad()
            F.cross_entropy(net(seen), y[rows]).backward()
            optimiser.step()
            schedule.step()
    return net.eval()


def accuracy(net: nn.Module, x: Tensor, y: Tensor, radius: float) -> float:
    """Under PGD-40 where the radius is positive."""
    generator = torch.Generator().manual_seed(SEED)
    points = pgd(net, x, y, radius, 40, radius / 8, generator) if radius else x
    return float((net(points).argmax(1) == y).double().mean())


def main() -> None:
    """Train, print what was measured on the test split, write the weights."""
    torch.set_num_threads(1)
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(sparring.models.__path__[0]) / "weights"
    folder.mkdir(parents=True, exist_ok=True)
    training, test = load("digits", split="train"), load("digits", split="test")
    print(f"{len(training)} images to train on, {len(test)} to test on; seed {SEED}, torch {torch.__version__}")
    print(f"{'network':15} {'clean':>6} " + " ".join(f"{f'PGD {radius:g}':>8}" for radius in RADII) + f" {'bytes':>6} {'seconds':>7}")
    for name, radius in (("digits-plain", 0.0), ("digits-robust", 0.15)):
        began = time.monotonic()
        net = train(training.x, training.y, radius=radius)
        seconds = time.monotonic() - began
        file = folder / f"{name}.safetensors"
        file.write_bytes(safetensors.torch.save(net.state_dict()))
        measured = [accuracy(net, test.x, test.y, one) for one in (0.0, *RADII)]
        print(f"{name:15} {measured[0]:6.1%} " + " ".join(f"{one:8.1%}" for one in measured[1:]) + f" {file.stat().st_size:6} {seconds:7.1f}")


if __name__ == "__main__":
    main()
