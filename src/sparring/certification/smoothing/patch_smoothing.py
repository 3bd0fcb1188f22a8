"""Certify patches by the votes of bands, of which a patch changes only those it touches.

This is de-randomised smoothing: every band of an image votes on its own.
"""

import math
import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from sparring.certification.certificate import Certificate, Verdict
from sparring.certification.certifier import Limit, certifier
from sparring.core.errors import PlanError
from sparring.core.foreign import in_our_words
from sparring.core.rng import Rng
from sparring.core.threat import Threat
from sparring.core.victim import Victim
from sparring.core.wrapped import Wrapped
from sparring.models.wanted import VictimLike, victim_of
from sparring.tasks.classes import of_classes
from sparring.threats.patch import Patch

EQUAL_ANSWERS = "every change of the pixels of one square, none outside it; the model gives equal answers to equal inputs"


@dataclass(frozen=True)
class Bands:
    """Describe the windows that vote.

    Windows of `height` x `width` pixels at every place of an image, reaching round its edges; None is the whole side.

    Bands of columns span the whole height, blocks are squares.
    """

    height: int | None
    width: int | None

    def __post_init__(self) -> None:
        for side in (self.height, self.width):
            if side is not None and (isinstance(side, bool) or not isinstance(side, int) or side < 1):
                raise PlanError(f"a band of {self.height} x {self.width}: give whole numbers of at least 1 for its sides")

    def windows(self, height: int, width: int) -> Tensor:
        """Return the pixels that each window keeps, bool [k, height, width]."""
        down, right = _windows(height, self.height), _windows(width, self.width)
        return (down[:, None, :, None] & right[None, :, None, :]).flatten(0, 1)

    def touched(self, side: int, height: int, width: int) -> int:
        """Return how many windows a square of `side` pixels meets at most; an empty one none."""
        return _touched(side, height, self.height) * _touched(side, width, self.width) if side else 0


def columns(width: int) -> Bands:
    """Return bands of `width` columns."""
    return Bands(None, width)


def rows(height: int) -> Bands:
    """Return bands of `height` rows."""
    return Bands(height, None)


def blocks(side: int) -> Bands:
    """Return squares of `side` pixels."""
    return Bands(side, side)


class BandVictim(Wrapped):
    """Represent a victim that answers by the votes of bands.

    Another victim, asked about every band of an image with all else replaced by `fill`: the class of most votes (Levine, Feizi 2020,
    arXiv:2002.10733). Of equal ones it is the lowest class, as the certificate counts.

    Where the inner victim gives scores, a band votes for every class whose softmax is at least `threshold`, so for none if it sees nothing (the
    paper's theta); else it votes for its label. A band whose scores are not all finite votes for none. scores: the votes.
    """

    def __init__(self, inner: Victim, bands: Bands, threshold: float, fill: float):
        super().__init__(inner)
        self.bands, self.threshold, self.fill = bands, threshold, fill
        self.exposes, self.exact, self.slack = frozenset({"labels", "scores"}), True, math.inf
        self.price = len(self.windows)

    @cached_property
    def windows(self) -> Tensor:
        """Return the windows of an image of the domain's size."""
        return self.bands.windows(*self.domain.shape[1:])  # type: ignore[attr-defined]

    def votes(self, x: Tensor) -> Tensor:
        """Return the votes of all bands, int64 [n, classes].

        One image is asked after the other, so that rounding cannot depend on the batch.
        """
        windows = self.windows.to(x.device)[:, None]
        counted = [self._votes_of(torch.where(windows, image, self.fill)) for image in x]
        return torch.stack(counted).to(x.device) if counted else torch.zeros(0, self.classes, dtype=torch.int64)

    def scores(self, x: Tensor) -> Tensor:
        return self.votes(x).double()

    def answer(self, x: Tensor) -> Tensor:
        return self.votes(x).argmax(1)

    @property
    def settings(self) -> dict[str, Any]:
        return {"bands": [self.bands.height, self.bands.width], "threshold": self.threshold, "fill": self.fill}

    def _votes_of(self, seen: Tensor) -> Tensor:
        if "scores" in self.inner.exposes:
            shares = self.inner.scores(seen).double().softmax(1)
            return ((shares >= self.threshold) & torch.isfinite(shares).all(1, keepdim=True)).sum(0)
        labels = self.inner.label(seen)
        answered = labels[(labels >= 0) & (labels < self.classes)]
        return torch.bincount(answered, minlength=self.classes)


@in_our_words
def band_vote(victim: VictimLike, bands: Bands | None = None, *, threshold: float = 0.3, fill: float = 0.0) -> BandVictim:
    """Return the victim that answers by the votes of all bands, which certifies patches.

    Args:
        victim: A model of images that was trained on single bands.
        bands: `columns(4)` if left out, `rows(4)` or `blocks(12)` of `sparring.certification.smoothing.patch_smoothing`.
        threshold: In [0, 1]; a band votes for every class whose probability is above it.
        fill: What stands for the pixels outside a band. A value beyond the bounds of the input lets a model see what is missing.

    Returns:
        The victim that answers by votes, to attack and to certify.

    Raises:
        PlanError: For inputs that are no images, and for settings out of range.

    Example:
        >>> from sparring.models.load import load_model
        >>> band_vote(load_model("zoo:digits-plain")).classes
        10

    Source: Levine, Feizi 2020, arXiv:2002.10733.
    """
    victim = victim_of(victim)
    _check_images("band_vote", victim)
    if not 0 <= threshold <= 1 or not math.isfinite(fill):
        raise PlanError(f"band_vote(threshold={threshold}, fill={fill}): give a threshold in [0, 1] and a finite fill")
    return BandVictim(victim, bands or columns(4), threshold, fill)


@certifier(
    "band_vote",
    spaces=Limit((Patch,), "band_vote certifies patch threats only: use sp.patch(5)"),
    victims=Limit((BandVictim,), "it certifies band votes only: wrap the victim, band_vote(victim, columns(4))"),
    cites="Levine, Feizi 2020, arXiv:2002.10733",
    order=40,
)
def bands_agree(victim: Victim, x: Tensor, y: Tensor, threat: Threat, rng: Rng, *, seconds: float | None = None) -> list[Certificate]:
    """Certify samples whose first class is ahead by twice the bands that a patch touches.

    There is one certificate per sample, for a `BandVictim` under a patch.

    A patch of side p meets at most p + s - 1 bands of s columns and (p + s - 1)^2 blocks of side s; each of those can take one vote from
    the class and give one to any other. radius: the largest side that is proved. `seconds` is not looked at: a sample costs one pass
    a band.
    """
    assert isinstance(victim, BandVictim)  # `check` refuses others
    height, width = x.shape[2:]
    criterion, found = of_classes(threat.goal.freeze(y, victim.task, rng)), []
    with victim.session():
        for row, radius in enumerate(threat.space.radii(len(x)).tolist()):
            began = time.monotonic()
            found.append(_one(victim, x[row], criterion.take(torch.tensor([row])), threat, min(math.floor(radius + 1e-9), max(height, width)), began))
    return found


def _one(victim: BandVictim, x: Tensor, criterion: Any, threat: Threat, asked: int, began: float) -> Certificate:
    height, width = x.shape[1:]
    if not bool(torch.isfinite(x).all()):
        return Certificate(Verdict.UNKNOWN, "band_vote", reason="the input has values that are NaN or infinite", guarantee=EQUAL_ANSWERS)
    votes = victim.votes(x[None])[0].cpu()
    label = int(votes.argmax())
    others = votes + (torch.arange(len(votes)) < label)
    gap = int(votes[label]) - int(others[torch.arange(len(votes)) != label].max())
    side = 0
    while side < max(height, width) and gap >= 2 * victim.bands.touched(side + 1, height, width):
        side += 1
    known = {"seconds": time.monotonic() - began, "guarantee": EQUAL_ANSWERS}
    if bool(criterion.met(torch.tensor([label], device=criterion.reference_class.device))):
        return Certificate(Verdict.REFUTED, "band_vote", reason=f"class {label} already without a change", counterexample=x, **known)
    if side >= asked:
        return Certificate(Verdict.PROVED, "band_vote", float(side), **known)
    needed = 2 * victim.bands.touched(asked, height, width)
    return Certificate(
        Verdict.UNKNOWN, "band_vote", float(side), reason=f"class {label} is ahead by {gap} of {len(victim.windows)} votes, {needed} are needed", **known
    )


def _windows(length: int, side: int | None) -> Tensor:
    """bool [k, length]: `side` places in a row from each place on, round the edge; one window where that is everything."""
    if side is None or side >= length:
        return torch.ones(1, length, dtype=torch.bool)
    at = torch.arange(length)
    return (at[None, :] - at[:, None]) % length < side


def _touched(patch: int, length: int, side: int | None) -> int:
    return 1 if side is None or side >= length else min(patch + side - 1, length)


def _check_images(name: str, victim: Victim) -> None:
    if victim.domain.kind != "image":
        raise PlanError(f"{name} needs images, the inputs are {victim.domain}")
