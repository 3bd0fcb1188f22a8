"""De-randomised smoothing: every band of an image votes on its own, and a patch can change only the votes of the bands it touches."""

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from sparring.certification.certificate import Certificate, Verdict
from sparring.certification.certifier import certifier
from sparring.core.dice import Dice
from sparring.core.errors import PlanError
from sparring.core.threat import Threat
from sparring.core.victim import Victim
from sparring.models.adapter import digest

EQUAL_ANSWERS = "every change of the pixels of one square, none outside it; the model gives equal answers to equal inputs"


@dataclass(frozen=True)
class Bands:
    """Windows of `height` x `width` pixels at every place of an image, reaching round its edges; None is the whole side.

    Bands of columns span the whole height, blocks are squares.
    """

    height: int | None
    width: int | None

    def __post_init__(self) -> None:
        for side in (self.height, self.width):
            if side is not None and (isinstance(side, bool) or not isinstance(side, int) or side < 1):
                raise PlanError(f"a band of {self.height} x {self.width}: sides are whole numbers of at least 1")

    def windows(self, height: int, width: int) -> Tensor:
        """bool [k, height, width]: the pixels that each window keeps."""
        down, right = _windows(height, self.height), _windows(width, self.width)
        return (down[:, None, :, None] & right[None, :, None, :]).flatten(0, 1)

    def touched(self, side: int, height: int, width: int) -> int:
        """How many windows a square of `side` pixels meets at most; an empty one none."""
        return _touched(side, height, self.height) * _touched(side, width, self.width) if side else 0


def columns(width: int) -> Bands:
    """Bands of `width` columns."""
    return Bands(None, width)


def rows(height: int) -> Bands:
    """Bands of `height` rows."""
    return Bands(height, None)


def blocks(side: int) -> Bands:
    """Squares of `side` pixels."""
    return Bands(side, side)


class BandVictim(Victim):
    """Another victim, asked about every band of an image with all else replaced by `fill`: the class of most votes (Levine, Feizi 2020,
    arXiv:2002.10733). Of equal ones it is the lowest class, as the certificate counts.

    Where the inner victim gives scores, a band votes for every class whose softmax is at least `threshold`, so for none if it sees nothing (the
    paper's theta); else it votes for its label. A band whose scores are not all finite votes for none. scores: the votes.
    """

    def __init__(self, inner: Victim, bands: Bands, threshold: float, fill: float):
        self.inner, self.bands, self.threshold, self.fill = inner, bands, threshold, fill
        self.name, self.domain, self.classes = inner.name, inner.domain, inner.classes
        self.exposes = frozenset({"labels", "scores"})
        self.price = len(self.windows)

    @cached_property
    def windows(self) -> Tensor:
        return self.bands.windows(*self.domain.shape[1:])  # type: ignore[attr-defined]

    def votes(self, x: Tensor) -> Tensor:
        """int64 [n, classes]: one image after the other, so that rounding cannot depend on the batch."""
        windows = self.windows.to(x.device)[:, None]
        counted = [self._votes_of(torch.where(windows, image, self.fill)) for image in x]
        return torch.stack(counted).to(x.device) if counted else torch.zeros(0, self.classes, dtype=torch.int64)

    def scores(self, x: Tensor) -> Tensor:
        return self.votes(x).double()

    def label(self, x: Tensor) -> Tensor:
        return self.votes(x).argmax(1)

    @contextlib.contextmanager
    def session(self, seed: int = 0) -> Iterator[None]:
        with self.inner.session(seed):
            yield

    @property
    def fingerprint(self) -> str:
        return digest(self.inner.fingerprint, f"band vote {self.bands!r} {self.threshold} {self.fill}")

    def describe(self) -> dict[str, Any]:
        how = {"bands": [self.bands.height, self.bands.width], "threshold": self.threshold, "fill": self.fill, "inner": type(self.inner).__name__}
        return {**self.inner.describe(), **super().describe(), **how}

    def _votes_of(self, seen: Tensor) -> Tensor:
        if "scores" in self.inner.exposes:
            shares = self.inner.scores(seen).double().softmax(1)
            return ((shares >= self.threshold) & torch.isfinite(shares).all(1, keepdim=True)).sum(0)
        labels = self.inner.label(seen)
        answered = labels[(labels >= 0) & (labels < self.classes)]
        return torch.bincount(answered, minlength=self.classes)


def band_vote(victim: Victim, bands: Bands | None = None, *, threshold: float = 0.3, fill: float = 0.0) -> BandVictim:
    """The same victim, answering by the votes of all bands of an image, which certifies against patches.

    bands: `columns(4)` by default, `rows(4)` or `blocks(12)`. threshold: see `BandVictim`. fill: what stands for the pixels outside a band; a value
    beyond the bounds of the input lets a model see what is missing. The model should have been trained on single bands.
    """
    _check_images("band_vote", victim)
    if not 0 <= threshold <= 1 or not math.isfinite(fill):
        raise PlanError(f"band_vote(threshold={threshold}, fill={fill}): the threshold lies in [0, 1], the fill is a finite number")
    return BandVictim(victim, bands or columns(4), threshold, fill)


def _misfit(victim: Victim, threat: Threat) -> str:
    if not isinstance(victim, BandVictim):
        return "it certifies votes of bands: wrap the victim, band_vote(victim, columns(4))"
    return "" if threat.space.kind == "patch" else "votes of bands certify patches: ask for sp.patch(5)"


@certifier("band_vote", _misfit, cites="Levine, Feizi 2020, arXiv:2002.10733", order=40)
def bands_agree(victim: Victim, x: Tensor, y: Tensor, threat: Threat, dice: Dice, *, seconds: float | None = None) -> list[Certificate]:
    """One certificate a sample for a `BandVictim` under a patch: the first class leads the second by twice the bands that a patch touches.

    A patch of side p meets at most p + s - 1 bands of s columns and (p + s - 1)^2 blocks of side s; each of those can take one vote from
    the class and give one to any other. radius: the largest side that is proved. `seconds` is not looked at: a sample costs one pass
    a band.
    """
    assert isinstance(victim, BandVictim)  # `check` refuses others
    height, width = x.shape[2:]
    reference, found = threat.goal.reference(y, dice, victim.classes), []
    with victim.session():
        for row, radius in enumerate(threat.space.radii(len(x)).tolist()):
            began = time.monotonic()
            found.append(_one(victim, x[row], reference.take(torch.tensor([row])), threat, min(math.floor(radius + 1e-9), max(height, width)), began))
    return found


def _one(victim: BandVictim, x: Tensor, reference: Any, threat: Threat, asked: int, began: float) -> Certificate:
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
    if bool(threat.goal.done(torch.tensor([label], device=reference.anchor.device), reference)):
        return Certificate(Verdict.REFUTED, "band_vote", reason=f"class {label} without any change", witness=x, **known)
    if side >= asked:
        return Certificate(Verdict.PROVED, "band_vote", float(side), **known)
    needed = 2 * victim.bands.touched(asked, height, width)
    return Certificate(
        Verdict.UNKNOWN, "band_vote", float(side), reason=f"class {label} leads by {gap} of {len(victim.windows)} votes, {needed} are needed", **known
    )


def _windows(length: int, side: int | None) -> Tensor:
    """bool [k, length]: `side` places in a row from each place on, round the edge; one window where that is everything."""
    if side is None or side >= length:
        return torch.ones(1, length, dtype=torch.bool)
    at = torch.arange(length)
    return (at[None, :] - at[:, None]) % length < side


def _touched(patch: int, length: int, side: int | None) -> int:
    return 1 if side is None or side >= length else min(patch + side - 1, length)


def _check_images(name: str, victim: Any) -> None:
    if not isinstance(victim, Victim):
        raise PlanError(f"{name} takes a Victim, got {type(victim).__name__}: wrap the model first, sp.victim(model, domain)")
    if victim.domain.kind != "image":
        raise PlanError(f"{name} is about patches of images, and these are {victim.domain.say()}")
