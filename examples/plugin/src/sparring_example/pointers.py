"""Pointers: small images of a clock hand, and a network that finds its direction. Both are computed by a formula."""

import numpy as np
import torch
from torch import nn

from sparring.core.registry import register
from sparring.data.dataset import Data
from sparring.data.embedded.split import rows_of
from sparring.domains.image import image
from sparring.models.zoo import entry

from .angle import Angle

SIDE = 8
COUNT = 360


@register("dataset", "pointers")
def pointers(split: str) -> Data:
    """Return images of a hand that points in one of 360 directions: x float32 [n, 1, 8, 8].

    The truth is the direction in degrees, counterclockwise from the right. Every third image is for testing.
    """
    rows, parts = rows_of(split, COUNT)
    turned = np.deg2rad(rows)[:, None, None]
    across, up = _coordinates()
    along = np.clip(across * np.cos(turned) + up * np.sin(turned), 0, 3.5)
    away = np.hypot(across - along * np.cos(turned), up - along * np.sin(turned))
    return Data.of(
        np.clip(1.5 - away, 0, 1)[:, None].astype(np.float32),
        rows.astype(np.float64),
        image(1, SIDE, SIDE),
        name="pointers",
        task=Angle(),
        ids=[f"pointers/{part}/{row:03d}" for row, part in zip(rows, parts, strict=True)],
        licence="CC0: made by a formula",
        source=f"sparring_example, split {split}",
    )


@entry("pointers-net", data="pointers")
def pointers_net() -> nn.Module:
    """Return a network that finds where the hand points.

    It takes the difference of weighted sums over opposite sides of the image, so nothing needs to be trained.
    """
    across, up = (torch.from_numpy(one).float().flatten() for one in _coordinates())
    net = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 4), nn.ReLU(), nn.Linear(4, 2))
    with torch.no_grad():
        net[1].weight.copy_(torch.stack([across, -across, up, -up]) / SIDE)
        net[1].bias.zero_()
        net[3].weight.copy_(torch.tensor([[1.0, -1.0, 0.0, 0.0], [0.0, 0.0, 1.0, -1.0]]))
        net[3].bias.zero_()
    return net.eval()


def _coordinates() -> tuple[np.ndarray, np.ndarray]:
    """How far each pixel lies to the right of the centre, and above it."""
    place = np.arange(SIDE) - (SIDE - 1) / 2
    return np.broadcast_to(place, (SIDE, SIDE)).copy(), np.broadcast_to(-place[:, None], (SIDE, SIDE)).copy()
