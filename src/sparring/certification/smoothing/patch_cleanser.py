"""PatchCleanser: whatever the patch, some mask covers it, and what is seen under that mask and any other is what the clean image shows."""

import contextlib
import math
import time
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from sparring.certification.certificate import Certificate, Verdict
from sparring.certification.certifier import certifier
from sparring.certification.smoothing.patch_smoothing import EQUAL_ANSWERS, _check_images
from sparring.core.dice import Dice
from sparring.core.errors import AccessError, PlanError
from sparring.core.threat import Reference, Threat
from sparring.core.victim import Victim
from sparring.models.adapter import digest


def spans(length: int, patch: int, count: int) -> list[tuple[int, int]]:
    """At most `count` intervals [from, to) of one size within [0, length), such that every interval of `patch` places lies within one of them.

    Stride s = ceil((length - patch + 1) / count), size m = patch + s - 1 (Xiang et al. 2022, R-covering mask sets); the last one ends at the edge.

    >>> spans(10, 3, 3)
    [(0, 5), (3, 8), (5, 10)]
    """
    if not 1 <= patch <= length or count < 1:
        raise PlanError(f"masks for a patch of {patch} in {length} pixels, {count} a side: give 1 <= patch <= side of the image, and at least one mask")
    stride = math.ceil((length - patch + 1) / count)
    size = patch + stride - 1
    starts = sorted({min(start, length - size) for start in range(0, length - patch + 1, stride)})
    return [(start, start + size) for start in starts]


class CleansedVictim(Victim):
    """Another victim behind two rounds of masks (Xiang, Mahloujifar, Mittal 2022, arXiv:2108.09135, algorithm 1). Labels only.

    First round: one mask at a time. If all agree, that is the answer. Else each mask that disagrees with the majority gets a second round, one
    more mask at a time; the first whose second round agrees with it throughout is the answer, and without one the majority is.
    "No answer" counts as a class of its own.
    """

    exposes = frozenset({"labels"})

    def __init__(self, inner: Victim, patch: int, masks: int, fill: float):
        self.inner, self.patch, self.masks, self.fill = inner, patch, masks, fill
        self.name, self.domain, self.classes = inner.name, inner.domain, inner.classes
        self.price = len(self.covers) ** 2

    @cached_property
    def covers(self) -> Tensor:
        """bool [k, height, width]: the pixels that each mask hides."""
        height, width = self.domain.shape[1:]  # type: ignore[attr-defined]
        made = torch.zeros(0, height, width, dtype=torch.bool)
        for top, bottom in spans(height, self.patch, self.masks):
            for left, right in spans(width, self.patch, self.masks):
                one = torch.zeros(1, height, width, dtype=torch.bool)
                one[:, top:bottom, left:right] = True
                made = torch.cat([made, one])
        return made

    def scores(self, x: Tensor) -> Tensor:
        raise AccessError(f"{self.name} behind masks exposes labels, not scores")

    def label(self, x: Tensor) -> Tensor:
        answers = [self._label_of(image) for image in x]
        return torch.tensor(answers, dtype=torch.int64, device=x.device)

    def under(self, image: Tensor, first: int) -> Tensor:
        """int64 [k]: labels of an image [channels, height, width] under mask `first` and each of all masks."""
        covers = self.covers.to(image.device)
        hidden = (covers | covers[first])[:, None]
        return self.inner.label(torch.where(hidden, self.fill, image)).cpu()

    def alone(self, image: Tensor) -> Tensor:
        """int64 [k]: labels of an image under each mask."""
        return self.inner.label(torch.where(self.covers.to(image.device)[:, None], self.fill, image)).cpu()

    @contextlib.contextmanager
    def session(self, seed: int = 0) -> Iterator[None]:
        with self.inner.session(seed):
            yield

    @property
    def fingerprint(self) -> str:
        return digest(self.inner.fingerprint, f"patch cleanser {self.patch} {self.masks} {self.fill}")

    def describe(self) -> dict[str, Any]:
        how = {"patch": self.patch, "masks": len(self.covers), "fill": self.fill, "inner": type(self.inner).__name__}
        return {**self.inner.describe(), **super().describe(), **how}

    def _label_of(self, image: Tensor) -> int:
        first = self.alone(image)
        classes, counts = first.unique(return_counts=True)
        majority = int(classes[counts.argmax()])
        for place in (first != majority).nonzero().flatten().tolist():
            if bool((self.under(image, place) == first[place]).all()):
                return int(first[place])
        return majority


def patch_cleanser(victim: Victim, patch: int, *, masks: int = 6, fill: float = 0.0) -> CleansedVictim:
    """The same victim behind two rounds of masks, which certifies against one square patch of up to `patch` pixels a side.

    masks: a side; more of them are smaller, so less is hidden, and masks^4 passes of the model are the most an answer costs. fill: what the masks show.
    The model does best if it was trained on images with such masks.
    """
    _check_images("patch_cleanser", victim)
    height, width = victim.domain.shape[1:]  # type: ignore[attr-defined]
    if isinstance(patch, bool) or not isinstance(patch, int) or isinstance(masks, bool) or not isinstance(masks, int) or not math.isfinite(fill):
        raise PlanError(f"patch_cleanser(patch={patch!r}, masks={masks!r}, fill={fill!r}): the first two are whole numbers, the fill is finite")
    spans(min(height, width), patch, masks)  # refuses what does not fit
    return CleansedVictim(victim, patch, masks, fill)


def _misfit(victim: Victim, threat: Threat) -> str:
    if not isinstance(victim, CleansedVictim):
        return "it certifies victims behind masks: wrap the victim, patch_cleanser(victim, patch=5)"
    return "" if threat.space.kind == "patch" else "masks certify against patches: ask for sp.patch(5)"


@certifier("patch_cleanser", _misfit, cites="Xiang et al. 2022, arXiv:2108.09135", order=40)
def masks_agree(victim: Victim, x: Tensor, y: Tensor, threat: Threat, dice: Dice, *, seconds: float | None = None) -> list[Certificate]:
    """One certificate a sample for a `CleansedVictim` under a patch: under any two masks (and so under any one) the model says the same class.

    Theorem 1 of the paper: the mask over the patch then shows the class in the first round; whatever else disagrees with the majority
    meets that mask in its second round and is contradicted. radius: the side that the masks cover.
    """
    assert isinstance(victim, CleansedVictim)  # `check` refuses others
    reference, found = threat.goal.reference(y, dice, victim.classes), []
    with victim.session():
        for row, radius in enumerate(threat.space.radii(len(x)).tolist()):
            began = time.monotonic()
            deadline = math.inf if seconds is None else began + seconds
            found.append(_one(victim, x[row], reference.take(torch.tensor([row])), threat, math.floor(radius + 1e-9), began, deadline))
    return found


def _one(victim: CleansedVictim, x: Tensor, reference: Reference, threat: Threat, asked: int, began: float, deadline: float) -> Certificate:
    def unknown(reason: str, radius: float = 0.0) -> Certificate:
        return Certificate(Verdict.UNKNOWN, "patch_cleanser", radius, reason=reason, seconds=time.monotonic() - began, guarantee=EQUAL_ANSWERS)

    if not bool(torch.isfinite(x).all()):
        return unknown("the input has values that are NaN or infinite")
    label = int(victim.label(x[None]))
    if bool(threat.goal.done(torch.tensor([label], device=reference.anchor.device), reference)):
        reason, spent = f"class {label} without any change", time.monotonic() - began
        return Certificate(Verdict.REFUTED, "patch_cleanser", reason=reason, seconds=spent, guarantee=EQUAL_ANSWERS, witness=x)
    if label < 0:
        return unknown("the model gives no answer: NaN, or it abstains")
    for first in range(len(victim.covers)):
        if time.monotonic() > deadline:
            return unknown(f"time ended after {first} of {len(victim.covers)} masks: give more seconds")
        seen = victim.under(x, first)
        if bool((seen != label).any()):
            second = int((seen != label).nonzero()[0])
            return unknown(f"under masks {first} and {second} the model says {int(seen[second])}, not {label}")
    if asked > victim.patch:
        return unknown(f"the masks cover patches of up to {victim.patch}, asked {asked}: patch_cleanser(victim, patch={asked})", float(victim.patch))
    return Certificate(Verdict.PROVED, "patch_cleanser", float(victim.patch), seconds=time.monotonic() - began, guarantee=EQUAL_ANSWERS)
