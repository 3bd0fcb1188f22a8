"""Which digits are in the picture? A small network that answers sets of labels, trained on pairs of digits and then attacked.

Every picture shows two of scikit-learn's digits side by side, and its labels are the digits that occur: two of ten, or one where both are the same.

python examples/digit_pairs.py [--steps N] [--out FOLDER]
trains it (about fifteen seconds on one core), writes weights and the held-out pairs into runs/digit_pairs, evaluates the network and writes a report,
and prints the command that evaluates it again: pictures in, one logit per digit out.
"""

import argparse
import os
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import sparring as sp

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
HELD_OUT = 200


def folder() -> Path:
    """Return where weights and pairs lie: DIGIT_PAIRS, or runs/digit_pairs."""
    return Path(os.environ.get("DIGIT_PAIRS", "runs/digit_pairs"))


def pairs(images: Tensor, digits: Tensor, count: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw pictures of two digits side by side, [count, 1, 8, 16], and which digits they show, [count, 10] of 0 and 1."""
    left, right = torch.randint(len(images), (2, count), generator=rng)
    shown = torch.zeros(count, len(NAMES), dtype=torch.int64)
    shown.scatter_(1, torch.stack([digits[left], digits[right]], 1), 1)
    return torch.cat([images[left], images[right]], 3), shown


class PairNet(nn.Sequential):
    """Two convolutions, and a linear layer with one output per digit: the logit that it is in the picture."""

    def __init__(self, width: int = 24):
        super().__init__(
            nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(width, 2 * width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(2 * width * 2 * 4, 64), nn.ReLU(), nn.Linear(64, len(NAMES)),
        )  # fmt: skip


def network() -> PairNet:
    """Return the trained network: `spar run model=examples.digit_pairs:network ...`."""
    net = PairNet()
    net.load_state_dict(load_file(folder() / "weights.safetensors"))
    return net.eval()


def train(steps: int, batch: int = 128) -> PairNet:
    """Train with Adam on the mean binary cross-entropy over labels, from a fixed seed, on new pairs in every step."""
    torch.manual_seed(0)
    digits, rng, net = sp.load("digits", split="train"), torch.Generator().manual_seed(0), PairNet()
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    for step in range(steps):
        x, y = pairs(digits.x.float(), digits.y, batch, rng)
        optimiser.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(net(x), y.float())
        loss.backward()
        optimiser.step()
        if (step + 1) % 500 == 0 or step + 1 == steps:
            print(f"step {step + 1} of {steps}: loss {loss.item():.3f}", flush=True)
    return net.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=folder())
    options = parser.parse_args()
    net, digits = train(options.steps), sp.load("digits")
    x, y = pairs(digits.x.float(), digits.y, HELD_OUT, torch.Generator().manual_seed(1))
    options.out.mkdir(parents=True, exist_ok=True)
    save_file(net.state_dict(), options.out / "weights.safetensors")
    np.savez_compressed(options.out / "pairs.npz", x=(255 * x[:, 0]).round().numpy().astype(np.uint8), y=y.numpy().astype(np.int8))

    task = sp.tasks.labels(names=NAMES)
    data = sp.load(options.out / "pairs.npz", task=task, take=100)
    victim = sp.victim(net, data.domain, name="pairs", task=task)
    attacks = ["pgd(steps=20)", "pgd(steps=20, loss=margin)", "noise"]
    run = sp.evaluate(victim, data, sp.linf(0.05), attacks)
    for case in run.summary():
        measured = {one["metric"]: f"{one['value']:.1%}" for one in case["of_the_task"]}
        exact = f"{case['clean_accuracy']['value']:.1%}, under attack {case['robust_accuracy']['value']:.1%}"
        print(f"{case['case']}: exact sets {exact}; right labels {measured['label_accuracy']}, under attack {measured['attacked_label_accuracy']}")
    print(run.report())
    given = "" if options.out == Path("runs/digit_pairs") else f"DIGIT_PAIRS={options.out} "
    print(f"now: {given}spar run model=examples.digit_pairs:network data={options.out / 'pairs.npz'} 'task=labels(10)' 'threat=linf 0.05'")


if __name__ == "__main__":
    main()
