"""Trains a LeNet on MNIST under Gaussian noise: python scripts/train_smoothed.py FILE [--sigma 0.25] [--smoothadv RADIUS] [--epochs 15].

Reads the MNIST of the shared data, writes a safetensors file that `lenet()` loads, and prints what was measured.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from sparring.defences.training.noise import SmoothAdv, train_noise

MNIST = Path(__file__).parents[2] / "shared" / "data" / "images" / "mnist.npz"
SEED = 0


def lenet() -> nn.Module:
    """Two convolutions of 5 x 5 with pooling and three linear layers, as LeNet-5 has them, with ReLU and maximum pooling."""
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )


def mnist(split: str) -> tuple[Tensor, Tensor]:
    """Images float32 [n, 1, 28, 28] in [0, 1] and labels int64 [n] of a split, "train" or "test"."""
    held = np.load(MNIST)
    return torch.from_numpy(held[f"x_{split}"]).float().div(255)[:, None], torch.from_numpy(held[f"y_{split}"]).long()


def main() -> None:
    """Train, print what was measured on the test split under one noise vector an image, write the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--sigma", type=float, default=0.25)
    parser.add_argument("--smoothadv", type=float, default=0.0, help="L2 radius of SmoothAdv; 0 for noise alone")
    parser.add_argument("--epochs", type=int, default=15)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    net = lenet()
    adversary = SmoothAdv(asked.smoothadv) if asked.smoothadv else None
    began = time.process_time()
    train_noise(
        net, *mnist("train"), sigma=asked.sigma, adversary=adversary, epochs=asked.epochs, seed=SEED, listen=lambda event, told: print(told, flush=True)
    )
    seconds = time.process_time() - began
    x, y = mnist("test")
    noise = asked.sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(SEED + 1))
    with torch.no_grad():
        clean, noisy = (float((net(points).argmax(1) == y).double().mean()) for points in (x, x + noise))
    asked.file.parent.mkdir(parents=True, exist_ok=True)
    asked.file.write_bytes(safetensors.torch.save(net.state_dict()))
    print(f"sigma {asked.sigma:g}, {asked.epochs} epochs in {seconds:.0f} CPU s: clean {clean:.2%}, under noise {noisy:.2%}, {asked.file.stat().st_size} bytes")


if __name__ == "__main__":
    main()
