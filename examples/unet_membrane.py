"""A small U-Net that segments cell membranes, trained from scratch on 24 microscope images, then attacked on tiles of 6 others.

python examples/unet_membrane.py [FILE, membrane_30.npz with uint8 images x and masks of 256 x 256, 1 = cell, 0 = membrane] [--steps N] [--out FOLDER]
trains it (about two minutes on one core), writes weights and the held-out tiles into runs/unet_membrane, says how good it is on them,
and prints the commands that attack it: images in, one score per class and pixel out.
"""

import argparse
import os
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

NAMES = ["membrane", "cell"]
HELD_OUT = 6
TILE = 128


def folder() -> Path:
    """Return where weights and tiles lie: UNET_MEMBRANE, or runs/unet_membrane."""
    return Path(os.environ.get("UNET_MEMBRANE", "runs/unet_membrane"))


class Block(nn.Sequential):
    """Two convolutions of 3 x 3, each with batch normalisation and ReLU."""

    def __init__(self, channels: int, filters: int):
        parts: list[nn.Module] = []
        for given in (channels, filters):
            parts += [nn.Conv2d(given, filters, 3, padding=1, bias=False), nn.BatchNorm2d(filters), nn.ReLU()]
        super().__init__(*parts)


class UNet(nn.Module):
    """Represent a U-Net (Ronneberger et al. 2015, arXiv:1505.04597) of three levels, with padding, so that masks are as large as images."""

    def __init__(self, width: int = 12, classes: int = len(NAMES)):
        super().__init__()
        self.first, self.second, self.bottom = Block(1, width), Block(width, 2 * width), Block(2 * width, 4 * width)
        self.up_second, self.up_first = nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2), nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.join_second, self.join_first = Block(4 * width, 2 * width), Block(2 * width, width)
        self.out = nn.Conv2d(width, classes, 1)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x - 0.5)
        second = self.second(self.pool(first))
        up = self.up_second(self.bottom(self.pool(second)))
        up = self.up_first(self.join_second(torch.cat([up, second], 1)))
        return self.out(self.join_first(torch.cat([up, first], 1)))


def unet() -> UNet:
    """Return the trained network: `spar run model=examples.unet_membrane:unet ...`."""
    network = UNet()
    network.load_state_dict(load_file(folder() / "weights.safetensors"))
    return network.eval()


def crops(images: Tensor, masks: Tensor, count: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw tiles at random places, in a random one of the eight orientations."""
    high = images.shape[-1] - TILE + 1
    drawn = []
    for image, top, left, turns, mirrored in zip(
        torch.randint(len(images), (count,), generator=rng).tolist(),
        *(torch.randint(high, (count,), generator=rng).tolist() for _ in range(2)),
        torch.randint(4, (count,), generator=rng).tolist(),
        torch.randint(2, (count,), generator=rng).tolist(),
        strict=True,
    ):
        pair = torch.stack([images[image], masks[image].to(images.dtype)])[:, top : top + TILE, left : left + TILE].rot90(turns, (1, 2))
        drawn.append(pair.flip(2) if mirrored else pair)
    both = torch.stack(drawn)
    return both[:, :1], both[:, 1].long()


def train(images: Tensor, masks: Tensor, steps: int, batch: int = 8) -> UNet:
    """Train with Adam on the mean cross-entropy over pixels, from a fixed seed; the learning rate follows one cycle."""
    torch.manual_seed(0)
    rng, network = torch.Generator().manual_seed(0), UNet()
    optimiser = torch.optim.Adam(network.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, total_steps=steps)
    network.train()
    for step in range(steps):
        x, y = crops(images, masks, batch, rng)
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(network(x), y)
        loss.backward()
        optimiser.step()
        schedule.step()
        if (step + 1) % 50 == 0 or step + 1 == steps:
            print(f"step {step + 1} of {steps}: loss {loss.item():.3f}", flush=True)
    return network.eval()


def tiles(images: np.ndarray) -> np.ndarray:
    """Cut every image into four tiles that do not overlap."""
    return np.concatenate([images[:, top : top + TILE, left : left + TILE] for top in (0, TILE) for left in (0, TILE)])


def quality(network: UNet, images: np.ndarray, masks: np.ndarray) -> str:
    """Say how good the masks are: over all pixels, and for the class membrane."""
    with torch.no_grad():
        answers = network(torch.from_numpy(images)[:, None].float() / 255).argmax(1).numpy()
    said, true = answers == 0, masks == 0
    both = int((said & true).sum())
    union, sizes = int((said | true).sum()), int(said.sum() + true.sum())
    right = float((answers == masks).mean())
    return f"{right:.1%} of the held-out pixels are right; membrane: intersection over union {both / union:.3f}, Dice {2 * both / sizes:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, default=Path("../shared/data/images/membrane_30.npz"))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--out", type=Path, default=folder())
    options = parser.parse_args()
    if not options.file.exists():
        print(f"skipped: there is no {options.file}")
        return
    with np.load(options.file) as archive:
        images, masks = archive["x"], archive["mask"]
    learned, held = slice(0, len(images) - HELD_OUT), slice(len(images) - HELD_OUT, None)
    network = train(torch.from_numpy(images[learned]).float() / 255, torch.from_numpy(masks[learned]), options.steps)
    options.out.mkdir(parents=True, exist_ok=True)
    save_file(network.state_dict(), options.out / "weights.safetensors")
    x, y = tiles(images[held]), tiles(masks[held])
    np.savez_compressed(options.out / "tiles.npz", x=x, y=y)
    print(quality(network, x, y))
    given = "" if options.out == Path("runs/unet_membrane") else f"UNET_MEMBRANE={options.out} "
    run = f"{given}spar run model=examples.unet_membrane:unet data={options.out / 'tiles.npz'}"
    print(f"now: {run} 'task=mask(2, share=0.8, names=[\"membrane\", \"cell\"])' 'threat=linf 4/255'")
    print(f"and: {run} 'task=mask(2, names=[\"membrane\", \"cell\"])' 'threat=linf 8/255' 'goal=erase membrane'")


if __name__ == "__main__":
    main()
