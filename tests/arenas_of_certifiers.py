"""Arenas for the certifiers that the general ones leave out: smoothed and masked victims, whose answers are worked out here once more.

No attacks are tried on them, since some answer at random and all are dear; the laws of certificates ask them.
"""

import numpy as np
import torch
from support import BATCH, Arena, _labels, arena, ball_allows, patch_allows

from sparring.certification.smoothing.patch_cleanser import patch_cleanser
from sparring.certification.smoothing.patch_smoothing import band_vote, columns
from sparring.certification.smoothing.smoothed import smoothed
from sparring.core.threat import Threat
from sparring.domains.image import Image
from sparring.models.callable import CallableVictim
from sparring.threats.balls import L2
from sparring.threats.goals import Untargeted
from sparring.threats.patch import Patch


def plane(x: np.ndarray) -> np.ndarray:
    """int64 [n]: 1 where the left half of an image is brighter than the right one."""
    flat = x.reshape(len(x), 6, 6).astype(np.float64)
    return (flat[:, :, :3].sum((1, 2)) > flat[:, :, 3:].sum((1, 2))).astype(np.int64)


@arena("smoothed", attacks=(), certifiers={"smoothing": {"n": 1000, "alpha": 1e-6}})
def smoothed_plane(name: str) -> Arena:
    """A plane, whose smoothed form is the plane itself; each certificate is false with a probability of one in a million."""

    def own(x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(plane(x.numpy()))

    x = torch.rand(BATCH, 1, 6, 6, generator=torch.Generator().manual_seed(2)) * 0.5
    x[::2, :, :, :3] += 0.3
    x[1::2, :, :, 3:] += 0.2
    inner = CallableVictim(plane, Image((1, 6, 6)), name=name, classes=2, labels_only=True, fingerprint="a plane")
    return Arena(name, smoothed(inner, 0.25), x, _labels(own, x, 2), Threat(L2(0.35), Untargeted(), "labels"), own, ball_allows(2))


def bright(x: np.ndarray) -> np.ndarray:
    """float64 [n, 3]: how many of the pixels that are shown are dark, grey and bright; what is 0 is not shown."""
    flat = x.reshape(len(x), -1).astype(np.float64)
    kinds = [(flat > 0) & (flat < 0.35), (flat >= 0.35) & (flat < 0.65), flat >= 0.65]
    return np.stack([kind.sum(1) for kind in kinds], 1).astype(np.float64)


def patchy() -> torch.Tensor:
    """Images of pixels that are mostly of one kind; the first ones altogether."""
    random = torch.Generator().manual_seed(5)
    x = torch.tensor([0.2, 0.5, 0.8]).repeat(2)[:, None, None, None] + torch.zeros(BATCH, 1, 6, 6)
    x[3:] += (torch.rand(3, 1, 6, 6, generator=random) - 0.5) * torch.tensor([0.6, 0.8, 0.8])[:, None, None, None]
    return x.clamp(0.01, 1)


@arena("band-vote", attacks=(), certifiers={"band_vote": {}})
def bands(name: str) -> Arena:
    """Six bands of one column; a band votes for every class with a third of the softmax."""

    def own(x: torch.Tensor) -> torch.Tensor:
        votes = np.zeros((len(x), 3), dtype=np.int64)
        for place in range(6):
            seen = np.zeros_like(x.numpy())
            seen[..., place] = x.numpy()[..., place]
            scores = np.exp(bright(seen) - bright(seen).max(1, keepdims=True))
            votes += scores / scores.sum(1, keepdims=True) >= 0.3
        return torch.from_numpy(votes.argmax(1))

    x = patchy()
    inner = CallableVictim(bright, Image((1, 6, 6)), name=name, classes=3, fingerprint="counts of brightness")
    return Arena(name, band_vote(inner, columns(1)), x, _labels(own, x, 3), Threat(Patch(2.0), Untargeted(), "labels"), own, patch_allows)


@arena("patch-cleanser", attacks=(), certifiers={"patch_cleanser": {}})
def cleansed(name: str) -> Arena:
    """Masks for a patch of two pixels, three a side."""
    starts = [0, 2, 3]  # ceil((6 - 2 + 1) / 3) = 2 apart, 2 + 2 - 1 = 3 wide, the last at the edge

    def masked(image: np.ndarray, *masks: tuple[int, int]) -> int:
        seen = image.copy()
        for top, left in masks:
            seen[:, top : top + 3, left : left + 3] = 0
        return int(bright(seen[None]).argmax())

    def answer(image: np.ndarray) -> int:
        masks = [(top, left) for top in starts for left in starts]
        first = [masked(image, mask) for mask in masks]
        majority = int(np.bincount(first, minlength=3).argmax())
        for mask, label in zip(masks, first, strict=True):
            if label != majority and all(masked(image, mask, other) == label for other in masks):
                return label
        return majority

    def own(x: torch.Tensor) -> torch.Tensor:
        return torch.tensor([answer(image) for image in x.numpy()])

    x = patchy()
    inner = CallableVictim(bright, Image((1, 6, 6)), name=name, classes=3, fingerprint="counts of brightness")
    return Arena(name, patch_cleanser(inner, 2, masks=3), x, _labels(own, x, 3), Threat(Patch(2.0), Untargeted(), "labels"), own, patch_allows)
