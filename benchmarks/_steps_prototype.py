"""Prototype: PGD-40 over a prepared copy against the loops of the peers, interleaved, medians.

python benchmarks/_steps_prototype.py [--mallopt] [--threads 2] [--rounds 5] [network ...]
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from benchmarks import networks  # noqa: E402
from sparring.models.prepare import prepare, tune_allocator  # noqa: E402

IMAGES = ROOT.parent / "shared" / "data" / "images"


def images(name: str) -> tuple[Tensor, Tensor]:
    if name.startswith("cifar"):
        data = np.load(IMAGES / "cifar10_lossless_300.npz")
        return torch.tensor(data["x"]).permute(0, 3, 1, 2).contiguous() / 255, torch.tensor(data["y"]).long()
    data = np.load(IMAGES / "mnist.npz")
    return torch.tensor(data["x_test"][:1000])[:, None] / 255, torch.tensor(data["y_test"][:1000]).long()


def gradient(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(model(x), y), x)[0]


def pgd(model: nn.Module, x: Tensor, y: Tensor, radius: float, steps: int, backward: bool = False) -> Tensor:
    """Out-of-place as foolbox and torchattacks write it; `backward` also fills the parameters' gradients."""
    z = (x + torch.empty_like(x).uniform_(-radius, radius)).clamp(0, 1)
    for _ in range(steps):
        if backward:
            z = z.detach().requires_grad_()
            F.cross_entropy(model(z), y).backward()
            g = z.grad
            assert g is not None
        else:
            g = gradient(model, z, y)
        z = z.detach() + radius / 10 * g.sign()
        z = (x + (z - x).clamp(-radius, radius)).clamp(0, 1).detach()
    return z


def pgd_in_place(model: nn.Module, x: Tensor, y: Tensor, radius: float, steps: int) -> Tensor:
    low, high = (x - radius).clamp_(min=0), (x + radius).clamp_(max=1)
    z = torch.empty_like(x).uniform_(-radius, radius).add_(x).clamp_(0, 1)
    for _ in range(steps):
        g = gradient(model, z, y)
        z.add_(g.sign_(), alpha=radius / 10)
        torch.maximum(z, low, out=z)
        torch.minimum(z, high, out=z)
    return z


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=["wong", "trades", "cifar_resnet20", "cifar_resnet8"])
    parser.add_argument("--mallopt", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.mallopt:
        print("mallopt", tune_allocator())
    for name in options.names:
        compare(name, options)


def compare(name: str, options: argparse.Namespace) -> None:
    x, y = images(name)
    batch = 150 if name.startswith("cifar") else options.batch
    batches = list(zip(x.split(batch), y.split(batch), strict=True))
    clock = time.process_time if options.threads == 1 else time.perf_counter  # processor time ignores neighbours
    radius = 8 / 255 if name.startswith("cifar") else 0.3
    live, frozen = networks.load(name), networks.load(name).requires_grad_(False)
    start = time.perf_counter()
    exact = prepare(frozen, batches[0][0])
    seconds = time.perf_counter() - start
    half = prepare(frozen, batches[0][0], precision="bfloat16")
    loops: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "H0 naive": lambda a, b: pgd(live, a, b, radius, options.steps, backward=True),
        "H1 live": lambda a, b: pgd(live, a, b, radius, options.steps),
        "H1 frozen": lambda a, b: pgd(frozen, a, b, radius, options.steps),
        "exact": lambda a, b: pgd_in_place(exact, a, b, radius, options.steps),
        "bfloat16": lambda a, b: pgd_in_place(half, a, b, radius, options.steps),
    }
    times: dict[str, list[float]] = {key: [] for key in loops}
    robust: dict[str, float] = {}
    for _ in range(options.rounds):
        for key, loop in loops.items():
            torch.manual_seed(0)
            start = clock()
            found = [loop(a, b) for a, b in batches]
            times[key].append(clock() - start)
            with torch.no_grad():
                robust[key] = (frozen(torch.cat(found)).argmax(1) == y).float().mean().item()
    medians = {key: statistics.median(values) for key, values in times.items()}
    z = x + 0.1 * torch.rand_like(x)
    reference = gradient(frozen, z, y).sign()
    print(f"{name}: {len(x)} images, {options.steps} steps, prepared in {seconds:.2f} s")
    for key, median in medians.items():
        model = {"exact": exact, "bfloat16": half}.get(key, frozen)
        same = (gradient(model, z, y).sign() == reference).float().mean().item()
        ratios = "  ".join(f"{medians[other] / median:5.2f}x {other}" for other in list(loops)[:3])
        print(f"  {key:10s} {median:7.2f} s  {ratios}  signs {100 * same:.3f} %  robust {100 * robust[key]:.1f} %")


if __name__ == "__main__":
    main()
