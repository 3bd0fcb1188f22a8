"""Contrast, elastic, pixelate and JPEG. Each takes images float64 [n, C, H, W] in [0, 1], a severity and rng."""

import io

import numpy as np
import torch
from torch import Tensor

from sparring.core.rng import Rng
from sparring.domains.corruptions.fields import gaussian, lattice, published, resampled, small


def contrast(x: Tensor, severity: int, rng: Rng) -> Tensor:
    """Move every channel toward its mean."""
    kept = published(x, severity, (0.75, 0.5, 0.4, 0.3, 0.15), (0.4, 0.3, 0.2, 0.1, 0.05))
    mean = x.mean((2, 3), keepdim=True)
    return mean + kept * (x - mean)


def elastic(x: Tensor, severity: int, rng: Rng) -> Tensor:
    """Stretch each image by a random affine map, and locally by a smooth random field.

    The published tables begin with large affine maps and end with small ones and rough fields, so that images change less with
    severity; here both grow (from the third severity of large images on the table is the published one).
    """
    strength, sigma, corner = published(
        x,
        severity,
        ((0.04, 0.03, 0.02), (0.06, 0.03, 0.03), (0.08, 0.03, 0.04), (0.1, 0.03, 0.05), (0.12, 0.03, 0.06)),
        ((0.02, 0.01, 0.01), (0.035, 0.01, 0.015), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02)),
    )
    side = min(x.shape[-2:]) * (1 if small(x) else 244 / 224)  # the published set counts 244 pixels for a side
    down, right = lattice(x)
    height, width = x.shape[-2:]
    noise = rng.draw("field").uniform(2, height, width, dtype=x.dtype) * 2 - 1
    field = gaussian(noise, sigma * side, mirrored=True) * (strength * side)
    rows, columns = down + field[:, 0], right + field[:, 1]
    # three corners of a square in the middle move by up to `corner`; the affine map that does so moves everything else
    moved = (rng.draw("corners").uniform(3, 2, dtype=x.dtype) * 2 - 1) * (corner * side)
    third = max(1, min(height, width) // 3)
    by_column = (moved[:, 0] - moved[:, 1]) / (2 * third)
    by_row = (moved[:, 1] - moved[:, 2]) / (2 * third)
    start = moved[:, 0] - third * (by_column + by_row)
    away = rows - height // 2, columns - width // 2
    shift = [(start[:, axis, None, None] + by_row[:, axis, None, None] * away[0] + by_column[:, axis, None, None] * away[1]) for axis in (0, 1)]
    return resampled(x, rows + shift[0], columns + shift[1], padding="reflection")


def pixelate(x: Tensor, severity: int, rng: Rng) -> Tensor:
    """Make each image smaller and larger again, each time by boxes."""
    share = published(x, severity, (0.95, 0.9, 0.85, 0.75, 0.65), (0.6, 0.5, 0.4, 0.3, 0.25))
    for axis in (2, 3):
        size = x.shape[axis]
        blocks = max(1, int(size * share))
        centres = torch.arange(size, dtype=torch.float64) + 0.5
        block = (centres * blocks / size).long().clamp_max(blocks - 1)
        means = torch.zeros(blocks, size, dtype=torch.float64)
        means[block, torch.arange(size)] = 1.0
        means = means / means.sum(1, keepdim=True)
        x = torch.movedim(torch.movedim(x, axis, -1) @ means[block].T.to(x), -1, axis)
    return x


def jpeg(x: Tensor, severity: int, rng: Rng) -> Tensor:
    """Write each image as JPEG and read it again.

    Channels of other than three-channel images are each a grey image.
    """
    from PIL import Image as Picture

    quality = published(x, severity, (80, 65, 58, 50, 40), (25, 18, 15, 10, 7))
    levels = (x * 255).round().to(torch.uint8).cpu().numpy()
    colour = x.shape[1] == 3
    planes = levels.transpose(0, 2, 3, 1) if colour else levels.reshape(-1, *x.shape[2:])
    read = []
    for plane in planes:
        written = io.BytesIO()
        Picture.fromarray(plane).save(written, "JPEG", quality=quality)
        read.append(np.asarray(Picture.open(written)))
    stack = np.stack(read)
    stack = stack.transpose(0, 3, 1, 2) if colour else stack.reshape(x.shape)
    return torch.from_numpy(stack.astype(np.float64)).to(x) / 255
